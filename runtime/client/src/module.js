// The entry of catamaran.io.mjs, and of a page or program that imports the plain modules.

export { catamaran as default } from './catamaran.js';
export { connect } from './connect.js';
export { JWR } from './jwr.js';
export { RequestError } from './request-error.js';
