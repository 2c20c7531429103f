/** @typedef {import('../catamaran.io.js').RequestErrorCode} RequestErrorCode */

/** The reason why a request has no answer. */
export class RequestError extends Error {
  /**
   * @param {RequestErrorCode} code
   * @param {string} message
   * @param {boolean} sent whether the server may have run the request
   */
  constructor(code, message, sent = false) {
    super(message);
    this.name = 'RequestError';
    this.code = code;
    this.sent = sent;
  }
}

/** The error of a request that was in flight when its connection ended. */
export const disconnected = () => new RequestError('disconnected', 'The socket disconnected before the request completed.', true);
