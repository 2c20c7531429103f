import { run } from './emitter.js';
import { encode } from './encode.js';
import { JWR } from './jwr.js';

/** @typedef {import('../catamaran.io.js').RequestOptions} RequestOptions */
/** @typedef {import('./emitter.js').Handler} Handler */
/** @typedef {Record<string, any>} Dictionary */

/** A request from its call to its answer or failure. It ends once. */
export class PendingRequest {
  /** @param {RequestOptions} options @param {Handler} [callback] */
  constructor(options, callback) {
    this.callback = callback;
    this.url = options.url;
    this.method = (options.method || 'get').toLowerCase();
    this.repeats = 0;
    this.sent = this.done = this.preparing = this.recovered = false;
    /** @type {Dictionary | undefined} the socket's and its own, once they are known */
    this.headers = undefined;
    /** @type {(() => void)[]} called when it ends */
    this.cleanups = [];
    this.resolve = this.reject = /** @type {Handler} */ (() => {});
    /** @type {Promise<JWR> | undefined} */
    this.promise = callback ? undefined : new Promise((resolve, reject) => Object.assign(this, { resolve, reject }));
    // A page may drop the promise.
    this.promise?.catch(() => {});
    // A copy: the page may change its objects later, but what was sent is what is repeated after a reconnect.
    this.options = { ...options, headers: { ...options.headers } };
    /** The data as JSON, by which the request is known. @type {string | undefined} */
    this.json = undefined;
    try {
      this.json = encode(options.params || options.data || {}, options.params ? 'params' : 'data');
      this.options.data = this.json && JSON.parse(this.json);
      delete this.options.params;
    } catch (error) {
      this.fail(error);
    }
  }

  /** Resolves when it has ended, in whatever way. */
  ended() {
    return new Promise((resolve) => this.cleanups.push(() => resolve(undefined)));
  }

  get data() { return this.options.data; }

  /** @param {Dictionary} ack */
  succeed(ack) {
    const jwr = new JWR(ack);
    if (this.finish()) this.callback ? run(this.callback, jwr.body, jwr) : this.resolve(jwr);
  }

  /** @param {unknown} error */
  fail(error) {
    if (!this.finish()) return;
    // Not before `request` has returned.
    queueMicrotask(() => run(this.callback || this.reject, error, new JWR({ body: null, statusCode: 0 })));
  }

  /** Whether this call is what ends it. */
  finish() {
    if (this.done) return false;
    this.done = true;
    this.cleanups.forEach((cleanup) => cleanup());
    return true;
  }
}

/**
 * Throws if `request` is called with arguments of a wrong type.
 * @param {any} options
 * @param {unknown} callback
 */
export function checkRequest(options, callback) {
  /** @type {Handler} */
  const refuse = (wrong, message) => {
    if (wrong) throw new Error(`${message}\nUsage: socket.request({ url, method, data, headers }, [callback])`);
  };
  /** @type {Handler} */
  const check = (name, type, words) =>
    refuse(options[name] && typeof options[name] !== type, `Invalid \`${name}\` provided (should be a ${words})`);
  refuse(callback !== undefined && typeof callback !== 'function', 'Invalid callback function!');
  refuse(!options || typeof options.url !== 'string', 'Invalid or missing URL!');
  check('method', 'string', 'string like "post" or "put"');
  // It names the event: a server may close the connection for a name with escapes, and with it all other requests.
  refuse(options.method && !/^[\w-]+$/.test(options.method), 'Invalid `method` provided (should be a string like "post" or "put")');
  check('headers', 'object', 'dictionary with string values');
  for (const name of ['params', 'data']) check(name, 'object', 'dictionary with JSON-serializable values');
  refuse(options.data && options.params, 'Cannot specify both `params` and `data`!  They are aliases of each other.');
}
