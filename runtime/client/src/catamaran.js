import { connect } from './connect.js';
import { JWR } from './jwr.js';
import { RequestError } from './request-error.js';
import { augment } from './sails.js';

/**
 * Puts `io.sails` and `io.socket` on a socket.io-client, or on a new object.
 * @param {any} [io]
 */
const augmented = (io) => augment(io || {}, io ? { io } : {});

/** What `require('catamaran.io.js')` returns, and the default export. A bundler leaves it out where only `connect` is used. */
export const catamaran = /* @__PURE__ */ Object.assign(augmented, { connect, JWR, RequestError });
