import { fetchCookie, resolveAddress } from './address.js';
import { Connection } from './connection.js';
import { Emitter } from './emitter.js';
import { encode } from './encode.js';
import { InjectedConnection } from './injected-connection.js';
import { DEFAULTS, OPTIONS } from './options.js';
import { LOCAL_EVENT, PARSE_ERROR } from './protocol.js';
import { disconnected } from './request-error.js';
import { RequestQueue } from './request-queue.js';
import { PendingRequest, checkRequest } from './request.js';
import { Subscriptions } from './subscriptions.js';
import { active } from './wake.js';

/** @typedef {import('../catamaran.io.js').RequestOptions} RequestOptions */
/** @typedef {import('../catamaran.io.js').State} State */
/** @typedef {import('./address.js').Address} Address */
/** @typedef {import('./emitter.js').Handler} Handler */
/** @typedef {Record<string, any>} Dictionary */

/**
 * After a connection that lasted so long, the waits between attempts begin anew. It is shorter than the idle limits of proxies, so a
 * connection that one of these ends is made again soon. A server that ends each connection at once is asked less and less often.
 */
const STABLE_AFTER = 2000;
/** How long a server that stops may take to answer what is in flight. */
const DRAIN_TIMEOUT = 10000;

/** The socket of a page or program: its requests and events, and its connection, which is made again when it is lost. */
export class Socket extends Emitter {
  /** @param {Dictionary} defaults `io.sails` @param {Dictionary} options @param {boolean} [eager] whether it is `io.socket` */
  constructor(defaults, options, eager = false) {
    super();
    this._defaults = defaults;
    /** @type {Dictionary} */
    this._options = {};
    for (const name of OPTIONS) this._options[name] = options[name];
    this._requests = new RequestQueue(this);
    /** @type {State} */
    this._state = 'disconnected';
    this._connection = this._next = /** @type {Connection | undefined} */ (undefined);
    this._connectedAt = 0;
    this._attempts = 0;
    this._eager = this._mightBeAboutToAutoConnect = eager;
    this._draining = false;
    this._subscriptions = new Subscriptions(this);
    this.on(PARSE_ERROR, (error) => this._log(PARSE_ERROR, error));
  }

  /** @param {RequestOptions} options @param {Handler} [callback] */
  request(options, callback) {
    checkRequest(options, callback);
    const request = new PendingRequest(options, callback);
    this._requests.submit(request);
    return request.promise;
  }

  /** @param {string} url @param {any} [data] @param {any} [last] a callback, or more options */
  get(url, data, last) { return this._verb('get', url, data, last); }

  /** @param {string} url @param {any} [data] @param {any} [last] */
  post(url, data, last) { return this._verb('post', url, data, last); }

  /** @param {string} url @param {any} [data] @param {any} [last] */
  put(url, data, last) { return this._verb('put', url, data, last); }

  /** @param {string} url @param {any} [data] @param {any} [last] */
  patch(url, data, last) { return this._verb('patch', url, data, last); }

  /** @param {string} url @param {any} [data] @param {any} [last] */
  delete(url, data, last) { return this._verb('delete', url, data, last); }

  /** @param {string} method @param {string} url @param {any} data @param {any} last */
  _verb(method, url, data, last) {
    if (typeof data === 'function') [data, last] = [{}, data];
    const more = typeof last === 'object' ? last : {};
    // A wrong argument is called what the caller calls it.
    return this.request({ ...more, method, url, [method === 'post' ? 'data' : 'params']: data }, last === more ? undefined : last);
  }

  isConnected() { return this._state === 'connected'; }

  isConnecting() { return this._state === 'connecting'; }

  mightBeAboutToAutoConnect() { return this._mightBeAboutToAutoConnect; }

  get state() { return this._state; }

  get duplicates() { return this._subscriptions.duplicates; }

  disconnect() {
    if (this._state === 'disconnected') throw new Error('Cannot disconnect- socket is already disconnected');
    this._leave('disconnected', 'io client disconnect');
  }

  reconnect() {
    if (this.isConnecting()) throw new Error('Cannot connect- socket is already connecting');
    if (this.isConnected()) throw new Error('Cannot connect- socket is already connected');
    this._attempts = 0;
    this._mightBeAboutToAutoConnect = false;
    this._connect('connecting');
  }

  replay() {
    this._requests.pump();
    return this;
  }

  get _raw() { return this._connection || this._next; }

  /** Called with each event of the server. @param {any[]} packet */
  _received([event, ...args]) {
    if (!LOCAL_EVENT.test(event) && !this._subscriptions.received(event, args)) this._emit(event, ...args);
  }

  /** The value of an option: the socket's, or the default. @param {string} name */
  _option(name) {
    const value = this._options[name];
    return value === undefined ? DEFAULTS[name] : value;
  }

  /** The value of an option that may be a function. @param {string} name */
  _value(name) {
    const value = this._option(name);
    return typeof value === 'function' ? value() : value;
  }

  /** Sets an option. Those of the connection are fixed while it is there. @param {string} name @param {unknown} value */
  _setOption(name, value) {
    if (name === 'headers') {
      // Read for each request.
    } else if (this.isConnected() && this._defaults.strict !== false && value != this._options[name]) {
      throw new Error(`Cannot change value of \`${name}\` while socket is connected.`);
    } else if (this._state === 'reconnecting') {
      this.disconnect();
    }
    this._options[name] = value;
  }

  /** Raises `state` if it changes, and returns what the handlers return. @param {State} state @returns {unknown[]} */
  _setState(state) {
    const previous = this._state;
    this._state = state;
    return state === previous ? [] : this._emit('state', { state, previous });
  }

  /** Begins to connect, with the options of this moment. @param {State} state */
  _connect(state) {
    for (const name of OPTIONS) {
      if (this._options[name] === undefined) this._options[name] = this._defaults[name];
    }
    const address = resolveAddress(this);
    this._hangUp();
    active.add(this);
    this._open(address);
    this._setState(state);
  }

  /** Opens a connection. It becomes the socket's once the server has accepted it. @param {Address} address */
  async _open(address) {
    const connection = this._next = new (this._option('io') ? InjectedConnection : Connection)(address, this);
    this._deadline = setTimeout(() => connection.end('timeout'), this._option('timeout'));
    try {
      await fetchCookie(address, this._option('useCORSRouteToGetCookie'));
      const auth = encode({ ...await this._value('auth') }, 'auth');
      const payload = { ...JSON.parse(/** @type {string} */ (auth)), ...this._subscriptions.connectPayload() };
      if (connection === this._next) connection.open(payload);
    } catch (error) {
      connection.end('transport error', error);
    }
  }

  /** The server has accepted a connection. @param {Connection} connection */
  _opened(connection) {
    this._next = undefined;
    if (this._connection) this._leave('reconnecting', 'transport close');
    // A handler of `disconnect` may have connected or disconnected.
    if (this._next || this._state === 'disconnected') return connection.close();
    this._connection = connection;
    const again = this._connectedAt > 0;
    clearTimeout(this._deadline);
    this._connectedAt = Date.now();
    if (again) this._requests.recent.clear();
    const returned = this._setState('connected');
    if (connection !== this._connection) return;
    // As in Sails: on later connections the handlers of `connect` go first, which may log in again.
    if (!again && !this._eager) this._requests.pump();
    const waiting = this._requests.waiting;
    this._requests.waiting = [];
    if (again) returned.push(...this._emit('reconnect', this._attempts));
    returned.push(...this._emit('connect'));
    this._requests.waiting.push(...waiting);
    if (again && connection === this._connection) this._subscriptions.restore(returned);
    this._requests.pump();
  }

  /** A connection has ended, or could not be made. @param {Connection} connection @param {string} reason @param {any} error */
  _closed(connection, reason, error) {
    const { _connection: old, _next: next } = this;
    if (old && connection === next) return old.end('transport close');
    if (connection !== (old || next)) return;
    const connected = this.isConnected();
    const status = error?.data?.status;
    if (connected && Date.now() - this._connectedAt >= STABLE_AFTER) this._attempts = 0;
    const unwanted = status === 401 || status === 403 || (reason === 'io server disconnect' && !this._draining);
    const gaveUp = this._attempts >= this._option('reconnectionAttempts');
    const over = unwanted || gaveUp || !this._option('reconnection');
    const atOnce = this._attempts === 0 && (this._draining || reason === 'ping timeout');
    this._leave(over ? 'disconnected' : 'reconnecting', reason);
    if (!connected) {
      this._log(`${error}`);
      this._emit('connect_error', error);
      if (error.refused) this._emit('error', error);
    }
    if (gaveUp && !unwanted) this._emit('reconnect_failed');
    // A handler may have connected or disconnected.
    if (!over && this._state === 'reconnecting' && !this._next) {
      const delay = Math.min(this._option('reconnectionDelay') * 2 ** this._attempts++, this._option('reconnectionDelayMax'));
      // At random, so that not all clients come at once when a server restarts.
      this._retryTimer = setTimeout(() => this._retry(), atOnce ? 0 : Math.random() * delay);
    }
  }

  /** Makes the next attempt. */
  _retry() {
    this._emit('reconnecting', this._attempts);
    if (this._state === 'reconnecting') this._connect('reconnecting');
  }

  /** Ends the connection for good, or until the next attempt. @param {State} state @param {string} reason */
  _leave(state, reason) {
    const connected = this.isConnected();
    if (state === 'disconnected') active.delete(this);
    this._hangUp();
    this._setState(state);
    if (connected) this._emit('disconnect', reason);
  }

  /** Ends the connection without waiting for its close: a browser may report its end a minute later. */
  _hangUp() {
    for (const timer of [this._deadline, this._retryTimer, this._drainTimer]) clearTimeout(timer);
    const { _connection: old, _next: next } = this;
    // First, because requests that fail make room for those that wait, which must not go out any more.
    this._connection = this._next = undefined;
    this._draining = false;
    this._requests.pause();
    this._subscriptions.pause();
    next?.close();
    old?.close();
    for (const request of old?.requests || []) request.fail(disconnected());
  }

  /** The server stops: requests in flight get their answers, then the socket connects elsewhere. @param {number} delay */
  _drain(delay) {
    if (this._draining) return;
    clearTimeout(this._drainTimer);
    this._draining = !(delay > 0);
    this._drainTimer = setTimeout(() => (this._draining ? this._moveOn(true) : this._drain(0)), delay || DRAIN_TIMEOUT);
    this._moveOn();
  }

  /** Opens the next connection once the old one owes no answer. The old one serves until then. @param {boolean} [anyway] */
  _moveOn(anyway) {
    const connection = this._connection;
    if (!this._draining || !connection) return;
    if (anyway) connection.end('transport close');
    else if (connection.requests.size === 0 && !this._next) this._open(connection.address);
  }

  /** The page is shown again, or the network is back. */
  _wake() {
    if (this.isConnected()) /** @type {Connection} */ (this._connection).probe();
    else if (!this._next) this._retry();
  }

  /** Writes to the console, except in production. @param {unknown[]} words */
  _log(...words) {
    const { environment = 'production' } = this._defaults;
    if (environment !== 'production') console.log('catamaran.io.js:', ...words);
  }
}

for (const name of OPTIONS) {
  Object.defineProperty(Socket.prototype, name, {
    get() { return this._options[name]; },
    set(value) { this._setOption(name, value); },
  });
}
