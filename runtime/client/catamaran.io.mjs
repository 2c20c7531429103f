import './catamaran.io.js';
export const { connect, JWR, RequestError } = globalThis[Symbol.for('catamaran.io.js')];
