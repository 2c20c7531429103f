/*!
 * catamaran.io.js: requests and events over one socket, in the place of sails.io.js. MIT OR Apache-2.0
 *
 * Guide: README.md. Methods, with examples: catamaran.io.d.ts.
 */
(() => {
'use strict';

/** @typedef {import('./catamaran.io.js').RequestOptions} RequestOptions */
/** @typedef {import('./catamaran.io.js').State} State */
/** @typedef {Record<string, any>} Dictionary */
/** @typedef {{ (...args: any[]): void, handler?: Handler }} Handler `handler`: what `once` wraps */

/** Where neither the socket nor `io.sails` says otherwise. @type {Dictionary} */
const DEFAULTS = {
  path: '/socket.io',
  transports: ['websocket'],
  useCORSRouteToGetCookie: true,
  timeout: 20000,
  reconnection: true,
  reconnectionAttempts: Infinity,
  reconnectionDelay: 300,
  reconnectionDelayMax: 5000,
  requestTimeout: 60000,
  queueLimit: 1000,
  queueExpiry: 60000,
  resume: true,
};

const OPTIONS = [...Object.keys(DEFAULTS), 'url', 'multiplex', 'query', 'headers', 'initialConnectionHeaders',
  'rejectUnauthorized', 'randomizationFactor', 'auth', 'WebSocket', 'io'];

const STABLE_AFTER = 10000;
const PROBE_TIMEOUT = 5000;
const DRAIN_TIMEOUT = 10000;
const BUFFER_LIMIT = 1 << 20;
const REPEATS_AT_ONCE = 8;
const REPEAT_TIMEOUT = 30000;
const SERVER_JOINS_WITHIN = 2000;

// The words of the wire stand here only.

const ENGINE = { open: '0', close: '1', ping: '2', pong: '3', message: '4' };
const PACKET = { connect: '0', disconnect: '1', event: '2', ack: '3', refused: '4', binaryEvent: '5' };
/** Nobody serves it, and every server says so. */
const PROBE_NAMESPACE = '/catamaran-probe';
const PARSE_ERROR = 'sails:parseError';
const DELIVERY = { entry: '$', replay: '$replay', gap: '$gap', join: '$join', left: '$left', drain: '$drain' };
const RESUME_QUERY = 'catamaran=1';

const global = /** @type {any} */ (globalThis);

/** A global variable of the page or its loader. An element of that id, which anybody's HTML may have, is inherited. @param {string} name */
const ownGlobal = (name) => (Object.prototype.hasOwnProperty.call(global, name) ? global[name] : undefined);

const page = typeof document === 'object' ? document : undefined;

/** What the document itself has of that name: `document.head` may be an `<img name=head>`. @param {string} name @returns {any} */
const ofPage = (name) => Reflect.get(Document.prototype, name, page);

const platform = typeof module === 'object' && module.exports && (module !== global.module || ownGlobal('module')) ? 'node' : 'browser';
const SDK = {
  version: '1.2.1',
  platform,
  language: 'javascript',
  versionString: `__sails_io_sdk_version=1.2.1&__sails_io_sdk_platform=${platform}&__sails_io_sdk_language=javascript`,
};

/** @param {PendingRequest} request @param {Dictionary} [resume] */
const requestPacket = ({ method, headers, data, url }, resume) => [method, { method, headers, data, url, resume }];

/** @param {string} client @param {number} connection @param {Dictionary} resume */
const connectPayload = (client, connection, resume) => ({ catamaran: { client, connection, resume } });

/** The server sends words alone: `401 Unauthorized: log in`. @param {Dictionary} error */
const refusal = ({ message, data = parseInt(message) ? { status: parseInt(message) } : undefined }) =>
  Object.assign(new Error(message), { data, refused: true });

/** Whether the request did not begin, so may be repeated. @param {Dictionary} ack */
const notRun = ({ statusCode, headers }) => statusCode === 503 && headers?.['x-catamaran-not-run'] === '1';

/** @param {string} json @param {unknown[]} attachments */
const decode = (json, attachments) => (attachments[0]
  ? JSON.parse(json, (_, value) => (value?._placeholder ? attachments[value.num] : value))
  : JSON.parse(json));

const PACKET_SYNTAX = /^(?<type>[0-6])((?<count>\d{1,3})-)?((?<namespace>\/[^,]*),?)?(?<id>\d{0,15})(?<json>[^]*)$/;

// Requests.

class JWR {
  /** @param {Dictionary} ack */
  constructor({ body, headers = {}, statusCode = 200 }) {
    this.body = body;
    this.headers = headers;
    this.statusCode = statusCode;
    if (statusCode < 200 || statusCode >= 400) {
      const json = `\n\`\`\`\n${JSON.stringify(body, null, 2)}\n\`\`\``;
      this.error = new Error(statusCode ? `Server responded with a ${statusCode} status code:${json}` : 'The socket request failed.');
    }
  }

  toString() {
    return `[ResponseFromSails]  -- Status: ${this.statusCode}  -- Headers: ${this.headers}  -- Body: ${this.body}`;
  }

  toPOJO() {
    return { body: this.body, headers: this.headers, statusCode: this.statusCode };
  }

  pipe() {
    return new Error('Client-side streaming support not implemented yet.');
  }
}

class RequestError extends Error {
  /** @param {string} code @param {string} message @param {boolean} sent whether the server may have run it */
  constructor(code, message, sent = false) {
    super(message);
    Object.assign(this, { name: 'RequestError', code, sent });
  }
}

class PendingRequest {
  /** @param {RequestOptions} options @param {Handler} [callback] */
  constructor(options, callback) {
    this.options = options;
    this.callback = callback;
    this.url = options.url;
    this.method = (options.method || 'get').toLowerCase();
    this.data = options.params || options.data || {};
    this.repeats = 0;
    this.sent = this.done = this.preparing = this.recovered = false;
    /** @type {Dictionary | undefined} */
    this.headers = undefined;
    /** @type {(() => void)[]} */
    this.cleanups = [];
    this.resolve = this.reject = /** @type {Handler} */ (() => {});
    /** @type {Promise<JWR> | undefined} */
    this.promise = callback ? undefined : new Promise((resolve, reject) => Object.assign(this, { resolve, reject }));
    // A page may drop the promise.
    this.promise?.catch(() => {});
  }

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

  finish() {
    if (this.done) return false;
    this.done = true;
    this.cleanups.forEach((cleanup) => cleanup());
    return true;
  }
}

/** What a handler throws is for the page to see. @param {Handler} handler @param {any[]} args */
function run(handler, ...args) {
  try {
    handler(...args);
  } catch (error) {
    queueMicrotask(() => { throw error; });
  }
}

class Socket {
  /** @param {Dictionary} defaults `io.sails` @param {Dictionary} options @param {boolean} [eager] whether it is `io.socket` */
  constructor(defaults, options, eager = false) {
    this._defaults = defaults;
    /** @type {Dictionary} */
    this._options = {};
    for (const name of OPTIONS) this._options[name] = options[name];
    /** @type {Map<string, Handler[]>} */
    this._listeners = new Map();
    /** @type {PendingRequest[]} */
    this._queue = [];
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
    this._submit(request, this._option('queueLimit'));
    return request.promise;
  }

  /** @param {string} event @param {Handler} handler */
  on(event, handler) {
    this._listeners.set(event, [...this._handlers(event), handler]);
    return this;
  }

  /** @param {string} event @param {Handler} handler */
  once(event, handler) {
    /** @type {Handler} */
    const once = (...args) => {
      this.off(event, once);
      handler(...args);
    };
    return this.on(event, Object.assign(once, { handler }));
  }

  /** @param {string} event @param {Handler} [handler] */
  off(event, handler) {
    const handlers = this._handlers(event);
    const index = handlers.findIndex((each) => each === handler || each.handler === handler);
    this._listeners.set(event, handlers.filter((_, i) => handler && i !== index));
    return this;
  }

  removeAllListeners() {
    this._listeners.clear();
    return this;
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
    this._connect('connecting');
  }

  replay() {
    this._pump();
    return this;
  }

  get _raw() { return this._connection || this._next; }

  /** @param {PendingRequest} request @param {number} limit */
  _submit(request, limit) {
    const { signal, timeout = request.callback ? 0 : this._option('requestTimeout') } = request.options;
    this._queue = this._queue.filter(({ done }) => !done);
    if (this._queue.length >= limit) {
      return request.fail(new RequestError('overflow', 'Too many requests wait for a connection.'));
    }
    if (signal) {
      const abort = () => request.fail(signal.reason || new Error('The request was aborted.'));
      if (signal.aborted) return abort();
      signal.addEventListener('abort', abort);
      request.cleanups.push(() => signal.removeEventListener('abort', abort));
    }
    /** @type {Handler} */
    const failAfter = (ms, code, message) => {
      const expire = () => (code === 'timeout' || !request.sent) && request.fail(new RequestError(code, message, request.sent));
      const timer = ms > 0 && ms < 2 ** 31 ? setTimeout(expire, ms) : 0;
      request.cleanups.push(() => clearTimeout(timer));
    };
    this._queue.push(request);
    this._pump();
    if (request.done) return;
    failAfter(timeout, 'timeout', 'The request timed out.');
    if (!request.sent) failAfter(this._option('queueExpiry'), 'expired', 'No connection came in time.');
    request.cleanups.push(() => this._pump());
  }

  /** Sends what it can, from the head of the queue. */
  _pump() {
    while (this._queue[0] && this.isConnected() && !this._draining) {
      const [request] = this._queue;
      const connection = /** @type {Connection} */ (this._connection);
      if (connection.socket?.bufferedAmount > BUFFER_LIMIT) {
        clearTimeout(this._pumpTimer);
        this._pumpTimer = setTimeout(() => this._pump(), 50);
        return;
      }
      if (!request.done && !this._prepare(request)) return;
      this._queue.shift();
      if (!request.done) this._send(connection, request);
    }
  }

  /** Whether its headers are known; a callback may promise them. @param {PendingRequest} request */
  _prepare(request) {
    if (request.headers || request.preparing) return !request.preparing;
    /** @type {(common: any) => void} */
    const merge = (common) => { request.headers = { ...common, ...request.options.headers }; };
    try {
      const common = this._value('headers');
      request.preparing = typeof common?.then === 'function';
      if (!request.preparing) merge(common);
      else common.then(merge).catch(request.fail.bind(request)).then(() => {
        request.preparing = false;
        this._pump();
      });
    } catch (error) {
      request.fail(error);
    }
    return !request.preparing;
  }

  /** @param {Connection} connection @param {PendingRequest} request */
  _send(connection, request) {
    try {
      const packet = requestPacket(request, this._subscriptions.positionsFor(request));
      connection.emit(...packet, (/** @type {any} */ ack) => this._answered(connection, request, ack));
      request.sent = true;
      connection.requests.add(request);
    } catch (error) {
      request.fail(error);
    }
  }

  /** @param {Connection} connection @param {PendingRequest} request @param {any} ack */
  _answered(connection, request, ack) {
    connection.requests.delete(request);
    if (!ack || typeof ack !== 'object') {
      request.fail(new RequestError('malformed', 'The server sent no readable answer.', true));
    } else if (notRun(ack) && request.repeats++ < 3) {
      Object.assign(request, { sent: false, headers: undefined });
      this._queue.unshift(request);
      this._drain(0);
    } else {
      // However late: entries follow it.
      this._subscriptions.acked(request, ack);
      request.succeed(ack);
    }
    this._moveOn();
  }

  /** @param {string} event */
  _handlers(event) { return this._listeners.get(event) || []; }

  /** @param {string} event @param {any[]} args */
  _emit(event, ...args) {
    for (const handler of this._handlers(event)) run(handler, ...args);
  }

  /** @param {any[]} packet */
  _received([event, ...args]) {
    const local = /^(connect|disconnect|connect_error|error|reconnect(ing|_failed)?)$/.test(event);
    if (!local && !this._subscriptions.received(event, args)) this._emit(event, ...args);
  }

  // The connection: made, lost, made again.

  /** @param {string} name */
  _option(name) {
    const value = this._options[name];
    return value === undefined ? DEFAULTS[name] : value;
  }

  /** Of an option that may be a function. @param {string} name */
  _value(name) {
    const value = this._option(name);
    return typeof value === 'function' ? value() : value;
  }

  /** @param {string} name @param {unknown} value */
  _setOption(name, value) {
    if (name === 'headers') {
      // Read anew for each request.
    } else if (this.isConnected() && this._defaults.strict !== false && value != this._options[name]) {
      throw new Error(`Cannot change value of \`${name}\` while socket is connected.`);
    } else if (this._state === 'reconnecting') {
      this.disconnect();
    }
    this._options[name] = value;
  }

  /** @param {State} state */
  _setState(state) {
    const previous = this._state;
    this._state = state;
    if (state !== previous) this._emit('state', { state, previous });
  }

  /** @param {State} state */
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

  /** @param {Address} address */
  async _open(address) {
    const connection = this._next = new (this._option('io') ? InjectedConnection : Connection)(address, this);
    this._deadline = setTimeout(() => connection.end('timeout'), this._option('timeout'));
    try {
      await fetchCookie(address, this._option('useCORSRouteToGetCookie'));
      const payload = { ...await this._value('auth'), ...this._subscriptions.connectPayload() };
      if (connection === this._next) connection.open(payload);
    } catch (error) {
      connection.end('transport error', error);
    }
  }

  /** @param {Connection} connection */
  _opened(connection) {
    this._next = undefined;
    if (this._connection) this._leave('reconnecting', 'transport close');
    // Unless a handler has seen to it.
    if (this._next || this._state === 'disconnected') return connection.close();
    this._connection = connection;
    const again = this._connectedAt > 0;
    clearTimeout(this._deadline);
    this._connectedAt = Date.now();
    this._setState('connected');
    if (connection !== this._connection) return;
    // As in Sails: later the handlers of `connect` go first, which may log in again.
    if (!again && !this._eager) this._pump();
    const waiting = this._queue;
    this._queue = [];
    if (again) this._emit('reconnect', this._attempts);
    this._emit('connect');
    this._queue.push(...waiting);
    if (again && connection === this._connection) this._subscriptions.restore();
    this._pump();
  }

  /** @param {Connection} connection @param {string} reason @param {any} error */
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
    // Unless a handler has seen to it.
    if (!over && this._state === 'reconnecting' && !this._next) {
      const delay = Math.min(this._option('reconnectionDelay') * 2 ** this._attempts++, this._option('reconnectionDelayMax'));
      // Else all come at once when a server restarts.
      this._retryTimer = setTimeout(() => this._retry(), atOnce ? 0 : Math.random() * delay);
    }
  }

  _retry() {
    this._emit('reconnecting', this._attempts);
    if (this._state === 'reconnecting') this._connect('reconnecting');
  }

  /** @param {State} state @param {string} reason */
  _leave(state, reason) {
    const connected = this.isConnected();
    if (state === 'disconnected') active.delete(this);
    this._hangUp();
    this._setState(state);
    if (connected) this._emit('disconnect', reason);
  }

  /** At once: a browser may report the end a minute later. */
  _hangUp() {
    for (const timer of [this._deadline, this._retryTimer, this._drainTimer, this._pumpTimer]) clearTimeout(timer);
    this._draining = false;
    this._subscriptions.pause();
    const { _connection: old, _next: next } = this;
    this._connection = this._next = undefined;
    next?.close();
    old?.close();
    for (const request of old?.requests || []) {
      request.fail(new RequestError('disconnected', 'The socket disconnected before the request completed.', true));
    }
  }

  /** Those in flight get their answers, then we go elsewhere. @param {number} delay */
  _drain(delay) {
    if (this._draining) return;
    clearTimeout(this._drainTimer);
    this._draining = !(delay > 0);
    this._drainTimer = setTimeout(() => (this._draining ? this._moveOn(true) : this._drain(0)), delay || DRAIN_TIMEOUT);
    this._moveOn();
  }

  /** The old connection serves until the next is there. @param {boolean} [anyway] */
  _moveOn(anyway) {
    const connection = this._connection;
    if (!this._draining || !connection) return;
    if (anyway) connection.end('transport close');
    else if (connection.requests.size === 0 && !this._next) this._open(connection.address);
  }

  /** The page is back, or the network. */
  _wake() {
    if (this.isConnected()) /** @type {Connection} */ (this._connection).probe();
    else if (!this._next) this._retry();
  }

  /** @param {unknown[]} words */
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

for (const method of ['get', 'post', 'put', 'patch', 'delete']) {
  Object.assign(Socket.prototype, {
    /** @this {Socket} @param {string} url @param {any} data @param {any} last a callback, or more options */
    [method](url, data, last) {
      if (typeof data === 'function') [data, last] = [{}, data];
      const more = typeof last === 'object' ? last : {};
      return this.request({ ...more, method, url, [method === 'post' ? 'data' : 'params']: data }, last === more ? undefined : last);
    },
  });
}

/** @param {any} options @param {unknown} callback */
function checkRequest(options, callback) {
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
  check('headers', 'object', 'dictionary with string values');
  for (const name of ['params', 'data']) check(name, 'object', 'dictionary with JSON-serializable values');
  refuse(options.data && options.params, 'Cannot specify both `params` and `data`!  They are aliases of each other.');
}

// Resume: how far each channel has been heard, and the requests that subscribe again.

/** @typedef {{ epoch: string, offset: number, since: number, live: boolean }} Position `live`: on this connection */

class Subscriptions {
  /** @param {Socket} socket */
  constructor(socket) {
    this.socket = socket;
    /** @type {Map<string, Position>} */
    this.positions = new Map();
    /** @type {Map<string, Dictionary>} */
    this.made = new Map();
    /** @type {Set<any>} */
    this.timers = new Set();
    this.duplicates = this.connections = 0;
    this.connected = new AbortController();
  }

  /** By the client id, a secret, a connection takes the place of those before. */
  connectPayload() {
    if (!this.socket._option('resume')) return {};
    this.client = this.client || crypto.getRandomValues(new Uint32Array(4)).join('-');
    return connectPayload(this.client, ++this.connections, this.held(this.positions.keys(), true));
  }

  /** Where those channels stand that this connection has not. @param {Iterable<string>} channels @param {boolean} [all] */
  held(channels, all) {
    /** @type {Dictionary} */
    const held = {};
    for (const channel of channels) {
      const position = this.positions.get(channel);
      if (position && (all || !position.live)) held[channel] = [position.epoch, position.offset, position.since];
    }
    return held;
  }

  /** What a request is known by. @param {PendingRequest} request */
  key({ method, options, url, data }) {
    return method === 'get' && options.resume !== false ? JSON.stringify([url, data]) : '';
  }

  /** @param {PendingRequest} request */
  positionsFor(request) {
    const subscription = this.made.get(this.key(request));
    if (subscription) subscription.asked = request;
    // A new one may name any channel.
    const held = this.held(subscription ? subscription.channels : this.positions.keys());
    return Object.keys(held).length === 0 ? undefined : held;
  }

  /** @param {PendingRequest} request @param {Dictionary} ack */
  acked(request, { channels, left, statusCode }) {
    if (statusCode >= 400) return;
    const named = Object.entries(channels || {}).filter(([, state]) => Array.isArray(state));
    request.recovered = !!named[0] && named.every(([, state]) => state[2] === 'recovered');
    for (const [channel, [epoch, offset, outcome]] of named) {
      const position = this.positions.get(channel);
      // Only entries move it: a replay may be cut in its middle.
      if (position && position.epoch === epoch && (position.live || outcome === 'recovered')) position.live = true;
      else this.start(channel, epoch, offset, position || outcome === 'gap' ? 'not retained' : '');
    }
    const key = this.key(request);
    const before = this.made.get(key);
    this.made.delete(key);
    if (key && named.length > 0) {
      this.made.set(key, { key, options: request.options, channels: new Set(named.map(([channel]) => channel)) });
    }
    if (before) this.reportUnrestored(before.channels);
    for (const channel of left || []) this.forget(channel);
  }

  /** @param {string} event @param {any[]} args */
  received(event, [channel, ...args]) {
    if (!this.socket._option('resume')) return false;
    const position = this.positions.get(channel);
    if (event === DELIVERY.entry) {
      this.deliver(channel, args);
    } else if (event === DELIVERY.replay) {
      for (const entry of args[0]) this.deliver(channel, entry);
    } else if (event === DELIVERY.gap) {
      this.start(channel, args[0], args[1], args[2] || 'not retained');
    } else if (event === DELIVERY.join) {
      // The old connection may have heard more.
      if (position && position.epoch === args[0] && position.offset >= args[1]) position.live = true;
      else this.start(channel, args[0], args[1], position && !position.live ? 'not retained' : '');
    } else if (event === DELIVERY.left) {
      this.left(channel, args[0]);
    } else if (event === DELIVERY.drain) {
      this.socket._drain(/** @type {any} */ (channel).after_ms);
    } else {
      return false;
    }
    return true;
  }

  /** @param {string} channel @param {any[]} entry */
  deliver(channel, [offset, event, ...data]) {
    const position = this.positions.get(channel);
    if (position && offset <= position.offset) {
      this.duplicates += 1;
      return;
    }
    if (position) position.offset = offset;
    this.socket._received([event, ...data]);
  }

  /** @param {string} channel @param {string} epoch @param {number} offset @param {string} gap */
  start(channel, epoch, offset, gap) {
    this.positions.set(channel, { epoch, offset, since: offset, live: true });
    if (gap) this.socket._emit('gap', { channel, reason: gap });
  }

  /** @param {string} channel @param {string} reason */
  left(channel, reason) {
    const position = this.positions.get(channel);
    const again = this.askingFor(channel);
    if (reason === 'expired' && position && again[0]) {
      position.live = false;
      this.repeat(again);
    } else {
      const channels = channel ? [channel] : [...this.positions.keys()];
      channels.forEach(this.forget, this);
      this.socket._emit('lost', { channels, reason });
    }
  }

  /** @param {string} channel */
  askingFor(channel) {
    return [...this.made.values()].filter(({ channels }) => channels.has(channel));
  }

  /** @param {string} channel */
  forget(channel) {
    this.positions.delete(channel);
    for (const { key, channels } of this.askingFor(channel)) {
      channels.delete(channel);
      if (channels.size === 0) this.made.delete(key);
    }
  }

  pause() {
    for (const position of this.positions.values()) position.live = false;
    this.timers.forEach(clearTimeout);
    this.timers.clear();
    this.connected.abort();
    this.connected = new AbortController();
  }

  async restore() {
    this.repeat(this.made.values());
    await this.later(SERVER_JOINS_WITHIN);
    this.reportUnrestored(this.positions.keys());
  }

  /** So authorization runs again. @param {Iterable<Dictionary>} subscriptions */
  repeat(subscriptions) {
    const waiting = [...subscriptions];
    const work = async () => {
      for (let next; (next = waiting.shift());) await this.ask(next);
    };
    for (let i = 0; i < REPEATS_AT_ONCE; i++) work();
  }

  /** @param {Dictionary} subscription */
  async ask(subscription) {
    const { socket } = this;
    const { key, options, channels } = subscription;
    const { signal } = this.connected;
    for (let backoff = 100, wait = 0, tried; ; backoff = Math.min(Math.max(backoff * 2, 1000), 30000)) {
      await this.later(wait + Math.random() * backoff);
      const { asked } = subscription;
      if (asked?.done === false) continue;
      // The page may have done it; another request may see less.
      if (tried ? !this.made.has(key) : this.made.get(key) !== subscription) return;
      tried = true;
      const request = new PendingRequest({ ...options, timeout: REPEAT_TIMEOUT, signal });
      socket._submit(request, Infinity);
      const jwr = await /** @type {Promise<JWR>} */ (request.promise).catch(() => undefined);
      if (signal.aborted) return;
      wait = jwr?.headers['retry-after'] * 1000 || 0;
      if (!jwr || jwr.statusCode === 429 || jwr.statusCode >= 500) continue;
      if (jwr.statusCode < 400) {
        socket._emit('resubscribed', { url: options.url, recovered: request.recovered, body: jwr.body, jwr });
      } else {
        this.made.delete(key);
        for (const channel of channels) if (!this.askingFor(channel)[0]) this.positions.delete(channel);
        socket._emit('lost', { url: options.url, channels: [...channels], reason: `status ${jwr.statusCode}`, jwr });
      }
      return;
    }
  }

  /** @param {Iterable<string>} channels */
  reportUnrestored(channels) {
    for (const channel of channels) {
      const position = this.positions.get(channel);
      if (!position || position.live || this.askingFor(channel)[0]) continue;
      this.positions.delete(channel);
      this.socket._emit('gap', { channel, reason: 'not-repeatable' });
    }
  }

  /** Or for ever, if the connection goes. @param {number} delay */
  later(delay) {
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(this.timers.delete(timer)), delay);
      this.timers.add(timer);
    });
  }
}

// Engine.IO 4 and Socket.IO 5 over a WebSocket. An ended connection is silent.

/** @typedef {{ origin: string, path: string, query: string }} Address */

class Connection {
  /** @param {Address} address @param {Socket} owner */
  constructor(address, owner) {
    this.address = address;
    this.owner = owner;
    this.ended = false;
    /** @type {string | undefined} set once the server has accepted us */
    this.id = undefined;
    this.requests = /** @type {Set<PendingRequest>} */ (new Set());
    this.acks = /** @type {Map<number, Handler>} */ (new Map());
    this.acksAsked = 0;
    this.maxPayload = Infinity;
    this.heard = Date.now();
    this.patience = Infinity;
    /** @type {Dictionary | undefined} its attachments are to come */
    this.incomplete = undefined;
  }

  /** @param {Dictionary} payload what to say when connecting */
  open(payload) {
    const { origin, path, query } = this.address;
    const WebSocket = this.owner._option('WebSocket') || globalThis.WebSocket;
    if (!WebSocket) throw new Error('There is no `WebSocket`.');
    const url = `${origin.replace(/^http/, 'ws')}${path}/?${query}&EIO=4&transport=websocket`;
    const headers = this.owner._option('initialConnectionHeaders');
    const rejectUnauthorized = this.owner._option('rejectUnauthorized');
    // Browsers know no such argument.
    const extra = !page && (headers || rejectUnauthorized !== undefined);
    const socket = this.socket = extra ? new WebSocket(url, { headers, rejectUnauthorized }) : new WebSocket(url);
    if (socket.binaryType === 'blob') socket.binaryType = 'arraybuffer';
    this.payload = payload;
    socket.onmessage = (/** @type {Dictionary} */ { data }) => this.frame(data);
    socket.onclose = () => this.end('transport close');
    socket.onerror = (/** @type {Dictionary} */ { error }) => this.end('transport error', error);
  }

  get connected() { return !!this.id && !this.ended; }

  /** @param {any[]} args the event, its arguments, perhaps a handler of the ack */
  emit(...args) {
    const ack = typeof args[args.length - 1] === 'function' ? args.pop() : undefined;
    if (!this.connected) return;
    this.send(PACKET.event, ack ? this.acksAsked : '', args);
    if (ack) this.acks.set(this.acksAsked++, ack);
  }

  /** @param {string} type @param {number | string} id @param {any[]} args */
  send(type, id, args) {
    const frame = ENGINE.message + type + id + JSON.stringify(args);
    if (new TextEncoder().encode(frame).length > this.maxPayload) {
      throw new RequestError('too_large', `The server takes at most ${this.maxPayload} bytes.`);
    }
    this.socket.send(frame);
  }

  /** @param {any} data */
  frame(data) {
    if (this.ended) return;
    this.heard = Date.now();
    clearTimeout(this.probeTimer);
    this.probeTimer = undefined;
    try {
      if (typeof data !== 'string') this.attachment(data);
      else if (data[0] === ENGINE.message) this.message(data.slice(1));
      else if (data[0] === ENGINE.ping) this.socket.send(ENGINE.pong + data.slice(1));
      else if (data[0] === ENGINE.open) this.handshake(JSON.parse(data.slice(1)));
      else if (data[0] === ENGINE.close) this.end('transport close');
    } catch (error) {
      this.end('parse error', error);
    }
  }

  /** @param {Dictionary} handshake */
  handshake({ pingInterval, pingTimeout, maxPayload }) {
    // No number may leave us deaf or spinning.
    this.patience = Math.min(Math.max(pingInterval + pingTimeout, 1000), 300000) || 45000;
    if (maxPayload > 0) this.maxPayload = maxPayload;
    this.socket.send(ENGINE.message + PACKET.connect + JSON.stringify(this.payload));
    this.watch();
  }

  /** @param {string} text */
  message(text) {
    const { groups: packet } = /** @type {any} */ (PACKET_SYNTAX.exec(text));
    if (this.incomplete) throw new Error('an attachment is missing');
    // Only the answer to a probe has a namespace.
    if (packet.namespace) return;
    packet.attachments = [];
    if (packet.count > 0) this.incomplete = packet;
    else this.packet(packet);
  }

  /** @param {unknown} bytes */
  attachment(bytes) {
    const packet = /** @type {Dictionary} */ (this.incomplete);
    if (packet.attachments.push(bytes) < packet.count) return;
    this.incomplete = undefined;
    this.packet(packet);
  }

  /** @param {Dictionary} packet */
  packet({ type, id, json, attachments }) {
    if (type === PACKET.disconnect) return this.end('io server disconnect');
    const content = decode(json, attachments);
    if (!this.id && type === PACKET.connect) {
      this.id = String(content.sid);
      this.owner._opened(this);
    } else if (!this.id && type === PACKET.refused) {
      this.end('refused', refusal(content));
    } else if (!this.id || !Array.isArray(content)) {
      throw new Error('unexpected packet');
    } else if (type === PACKET.event || type === PACKET.binaryEvent) {
      if (id) content.push((/** @type {any[]} */ ...args) => this.ended || this.send(PACKET.ack, id, args));
      this.owner._received(content);
    } else {
      const ack = this.acks.get(Number(id));
      this.acks.delete(Number(id));
      ack?.(content[0]);
    }
  }

  /** By the clock: a hidden page has late timers, a sleeping machine none. */
  watch() {
    clearTimeout(this.watchTimer);
    this.heard = Math.min(this.heard, Date.now());
    const left = this.heard + this.patience - Date.now();
    if (left <= 0) this.end('ping timeout');
    else this.watchTimer = setTimeout(() => this.watch(), left);
  }

  probe() {
    this.watch();
    if (this.ended || this.probeTimer) return;
    this.socket.send(ENGINE.message + PACKET.connect + PROBE_NAMESPACE + ',');
    this.probeTimer = setTimeout(() => this.end('ping timeout'), PROBE_TIMEOUT);
  }

  /** @param {string} reason @param {unknown} [error] */
  end(reason, error = new Error(reason)) {
    if (!this.ended) this.owner._closed(this, reason, error);
    this.close();
  }

  close() {
    const { socket, ended } = this;
    this.ended = true;
    clearTimeout(this.watchTimer);
    clearTimeout(this.probeTimer);
    if (!socket || ended) return;
    socket.onmessage = socket.onclose = null;
    // `ws` throws what nobody listens to.
    socket.onerror = () => {};
    if (this.id && socket.readyState === 1) socket.send(ENGINE.message + PACKET.disconnect);
    socket.close();
  }
}

/** By a socket.io-client of any version, which watches the connection itself. */
class InjectedConnection extends Connection {
  /** @param {Dictionary} auth */
  open(auth) {
    const { address: { origin, path, query }, owner } = this;
    const option = owner._option.bind(owner);
    const raw = this.raw = option('io')(origin, {
      path, query, auth,
      extraHeaders: option('initialConnectionHeaders'),
      transports: option('transports'),
      rejectUnauthorized: option('rejectUnauthorized'),
      timeout: option('timeout'),
      forceNew: true,
      reconnection: false,
    });
    /** @type {Record<string, Handler>} */
    const handlers = {
      connect: () => {
        this.id = raw.id;
        owner._opened(this);
      },
      connect_error: (error) => this.end('transport error', parseInt(error.message) ? refusal(error) : error),
      disconnect: (reason) => this.end(reason),
      // Below version 3 this tells a refusal, and there is no `onAny`.
      error: (error) => this.id || this.end('refused', refusal(error.message ? error : { message: error })),
    };
    for (const event of Object.keys(handlers)) raw.on(event, handlers[event]);
    if (raw.onAny) raw.onAny((/** @type {any[]} */ ...args) => owner._received(args));
    else raw.onevent = (/** @type {Dictionary} */ { data }) => owner._received(data);
  }

  /** @param {any[]} args */
  emit(...args) { this.raw.emit(...args); }

  probe() {}

  close() {
    if (this.raw && !this.ended) this.raw.off().disconnect();
    this.ended = true;
  }
}

// Where to connect to, and the cookie that another origin needs.

/** @param {Socket} socket @returns {Address} */
function resolveAddress(socket) {
  const option = socket._option.bind(socket);
  const query = option('query') || '';
  if (typeof query !== 'string') throw new Error('`query` setting does not currently support configuration as a dictionary');
  const { origin, pathname } = new URL(option('url') || '/', page?.location.origin);
  if (pathname !== '/') throw new Error('`url` has a path, instead of the option `path`.');
  const words = [query.replace(/^\?/, ''), SDK.versionString, option('resume') && RESUME_QUERY];
  return { origin: origin.replace(/^ws/, 'http'), path: option('path').replace(/\/$/, ''), query: words.filter(Boolean).join('&') };
}

/** The script sets a cookie for its origin. @param {Address} address @param {boolean | string} route */
async function fetchCookie({ origin }, route) {
  if (!page || !route || origin === page.location.origin) return;
  const script = ofPage('createElement').call(page, 'script');
  global._sailsIoJSConnect = () => {};
  script.src = origin + (route === true ? '/__getcookie' : route);
  await new Promise((resolve) => {
    script.onload = script.onerror = resolve;
    ofPage('head').append(script);
  });
  script.remove();
}

/** The sockets that have a connection or want one. @type {Set<Socket>} */
const active = new Set();

if (page) {
  const wake = () => active.forEach((socket) => socket._wake());
  for (const event of ['pageshow', 'online', 'offline']) addEventListener(event, wake);
  const listen = ofPage('addEventListener').bind(page);
  listen('resume', wake);
  listen('visibilitychange', () => ofPage('hidden') || wake());
  // A browser keeps no page that has an open socket.
  addEventListener('pagehide', () => active.forEach((socket) => socket._leave('reconnecting', 'transport close')));
}

// `io.sails`, `io.socket`, and how this file was loaded.

/** @param {any} url @param {any} options @param {Dictionary} defaults */
function connect(url, options, defaults = {}) {
  const given = typeof url === 'string' ? { ...options, url } : url || options || {};
  const socket = new Socket(defaults, given);
  socket._connect('connecting');
  return socket;
}

/** @param {any} io @param {Dictionary} settings */
function augment(io, settings) {
  if (io.sails) throw new Error('The socket.io client (`io`) has already been augmented.');
  /** @type {Dictionary} */
  const sails = io.sails = {
    autoConnect: true,
    reconnection: true,
    useCORSRouteToGetCookie: true,
    environment: 'development',
    sdk: SDK,
    transports: ['websocket'],
    ...settings,
    connect: (/** @type {any} */ url, /** @type {any} */ options) => connect(url, options, sails),
  };
  const socket = io.socket = new Socket(sails, {}, true);
  setTimeout(() => {
    socket._mightBeAboutToAutoConnect = false;
    if (sails.autoConnect === false || sails.autoconnect === false) delete io.socket;
    else if (socket.state === 'disconnected') socket.reconnect();
  }, 0);
  return io;
}

/** @param {any} script */
function scriptSettings(script) {
  const { _environment } = ownGlobal('SAILS_LOCALS') || {};
  const quiet = /#production|\.min\.js/.test(script.src) || /^(production|staging)$/.test(_environment);
  /** @type {Dictionary} */
  const settings = { environment: quiet ? 'production' : 'development' };
  /** @type {Dictionary} */
  const types = { autoConnect: 'boolean', environment: 'string', headers: 'object', url: 'string' };
  for (const name of ['autoConnect', 'reconnection', 'environment', 'headers', 'url', 'transports', 'path']) {
    const text = script.getAttribute(`data-${name}`) || script.getAttribute(name);
    if (text === null) continue;
    let value = text;
    try { value = JSON.parse(text); } catch { /* Not JSON. */ }
    if (name === 'autoConnect' && text === '') value = true;
    if ((types[name] && typeof value !== types[name]) || (name === 'headers' && Array.isArray(value))) {
      throw new Error(`catamaran.io.js :: Unexpected/invalid configuration for \`${name}\` provided in script tag: \`${value}\` (a \`${typeof value}\`). Should be a ${types[name]}.`);
    }
    settings[name] = value;
  }
  return settings;
}

/** @param {any} [io] */
function catamaran(io) {
  return augment(io || {}, io ? { io } : {});
}

// catamaran.io.mjs finds it there.
global[Symbol.for('catamaran.io.js')] = Object.assign(catamaran, { connect, JWR, RequestError });
const script = page && ofPage('currentScript');
if (platform === 'node') module.exports = catamaran;
else if (script) global.io = augment(ownGlobal('io') || {}, scriptSettings(script));
})();
