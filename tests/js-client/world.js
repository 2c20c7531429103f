// The client in a world of its own: a clock that moves when told, WebSockets that a test plays the server of, and a page.
const vm = require('node:vm');
const { text } = require('./client.js');

const SCRIPT = new vm.Script(text('catamaran.io.js'), { filename: 'catamaran.io.js' });
/** What imports it finds in `found`. */
const MODULE = new vm.Script(text('catamaran.io.mjs').replace(/export\s*\{([^}]*)\}/, (_, names) =>
  `globalThis.found = {${names.split(',').map((name) => name.trim().split(' as ').reverse().join(': ')).filter(Boolean)}}`));
const HANDSHAKE = { sid: 'engine', upgrades: [], pingInterval: 25000, pingTimeout: 20000, maxPayload: 1000000 };

/** Lets everything happen that needs no clock. */
const settle = () => new Promise((resolve) => setImmediate(resolve));

/** A value without the prototypes of the other world, for comparing. */
const plain = (value) => (value === undefined ? undefined : JSON.parse(JSON.stringify(value)));

class Listeners {
  constructor() {
    this.listeners = new Map();
  }

  addEventListener(name, listener) {
    this.listeners.set(name, [...(this.listeners.get(name) || []), listener]);
  }

  removeEventListener(name, listener) {
    this.listeners.set(name, (this.listeners.get(name) || []).filter((each) => each !== listener));
  }

  fire(name, event = {}) {
    for (const listener of this.listeners.get(name) || []) listener(event);
  }
}

/** A document, with its properties on its prototype, where the client looks for them. */
class Document extends Listeners {
  constructor(fields) {
    super();
    this.fields = fields;
  }
}
for (const name of ['hidden', 'head', 'readyState', 'currentScript', 'createElement']) {
  Object.defineProperty(Document.prototype, name, {
    get() { return this.fields[name]; },
    set(value) { this.fields[name] = value; },
  });
}

class FakeWebSocket {
  constructor(world, url, options) {
    Object.assign(this, { world, url, options, readyState: 0, bufferedAmount: 0, binaryType: 'blob', sent: [], closed: false });
    world.sockets.push(this);
  }

  send(frame) {
    this.sent.push(frame);
  }

  // As in a browser whose network is gone: no `onclose` comes of it.
  close() {
    this.closed = true;
    this.readyState = 2;
  }

  /** What the server sends. */
  receive(frame) {
    if (this.onmessage) this.onmessage({ data: frame });
  }

  emit(...args) {
    this.receive(`42${JSON.stringify(args)}`);
  }

  /** The server accepts the connection. */
  accept(handshake = {}, sid = `id-${this.world.sockets.length}`) {
    this.readyState = 1;
    this.receive(`0${JSON.stringify({ ...HANDSHAKE, ...handshake })}`);
    this.receive(`40${JSON.stringify({ sid })}`);
    return this;
  }

  /** The server, or the network, ends the connection. */
  drop() {
    this.readyState = 3;
    if (this.onclose) this.onclose({});
  }

  /** The requests that were sent: `[ack id, event, envelope]`. */
  get requests() {
    return this.sent.map((frame) => /^42(\d+)(\[.*)$/s.exec(frame)).filter(Boolean)
      .map(([, id, json]) => [Number(id), ...JSON.parse(json)]);
  }

  /** Answers the last request, or the one with that URL. */
  answer(ack, url) {
    const found = this.requests.filter(([, , envelope]) => url === undefined || envelope.url === url).pop();
    this.receive(`43${found[0]}${JSON.stringify([ack])}`);
  }

  /** What was said when connecting. */
  get payload() {
    return JSON.parse(this.sent.find((frame) => frame.startsWith('40{')).slice(2));
  }
}

class World {
  /**
   * @param {{ script?: Record<string, string>, page?: boolean, module?: boolean, globals?: object, document?: object }} options
   *   a `script` tag makes a page; `module`: imported, so neither a script tag nor CommonJS
   */
  constructor({ script, page = !!script, module = false, globals = {}, document } = {}) {
    this.now = 1000000;
    this.timers = [];
    this.sockets = [];
    this.uncaught = [];
    this.logged = [];
    this.random = 1;
    const world = this;
    const math = Object.create(Math);
    math.random = () => this.random;
    const sandbox = {
      console: { log: (...words) => this.logged.push(words.join(' ')) },
      setTimeout: (action, delay) => this.setTimeout(action, delay),
      clearTimeout: (timer) => this.clearTimeout(timer),
      queueMicrotask: (action) => queueMicrotask(() => {
        try { action(); } catch (error) { this.uncaught.push(error); }
      }),
      Date: { now: () => this.now },
      Math: math,
      WebSocket: function WebSocket(url, options) { return new FakeWebSocket(world, url, options); },
      AbortController, TextEncoder, URL, crypto,
      // Workers have it, and hear nothing of pages.
      addEventListener() {},
      ...globals,
    };
    if (page) this.furnish(sandbox, script, document);
    if (!script && !module) sandbox.module = { exports: {} };
    this.global = vm.createContext(sandbox);
    (module ? MODULE : SCRIPT).runInContext(this.global);
    this.catamaran = sandbox.module && sandbox.module.exports;
  }

  /** A page, whose script tag has these attributes. */
  furnish(sandbox, attributes, fields) {
    this.window = new Listeners();
    this.scripts = [];
    this.document = new Document({
      hidden: false,
      readyState: 'complete',
      head: { append: (element) => this.scripts.push(element) },
      createElement: () => ({ remove: () => { this.scripts.pop(); } }),
      currentScript: attributes && {
        src: attributes.src || 'https://page.example/catamaran.io.js',
        getAttribute: (name) => (name in attributes ? attributes[name] : null),
      },
      ...fields,
    });
    Object.assign(sandbox, {
      location: { origin: 'https://page.example' },
      Document,
      document: this.document,
      addEventListener: this.window.addEventListener.bind(this.window),
    });
  }

  setTimeout(action, delay) {
    const timer = { action, at: this.now + (delay || 0) };
    this.timers.push(timer);
    return timer;
  }

  clearTimeout(timer) {
    this.timers = this.timers.filter((each) => each !== timer);
  }

  /** Moves the clock, and lets happen on the way what is due. */
  async advance(ms) {
    const end = this.now + ms;
    await settle();
    for (let fired = 0; ; fired++) {
      if (fired > 10000) throw new Error('the client spins');
      const [next] = this.timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at);
      if (!next) break;
      this.clearTimeout(next);
      this.now = Math.max(this.now, next.at);
      next.action();
      await settle();
    }
    this.now = end;
  }

  /** The newest WebSocket. */
  get socket() {
    return this.sockets[this.sockets.length - 1];
  }

  /** A client socket, not yet accepted. */
  async connect(options = {}) {
    const socket = this.catamaran.connect('http://server.example', { resume: false, useCORSRouteToGetCookie: false, ...options });
    await settle();
    return socket;
  }

  /** A connected client socket. */
  async connected(options, handshake) {
    const socket = await this.connect(options);
    this.socket.accept(handshake);
    await settle();
    return socket;
  }
}

/** Everything a socket raises, in order. */
const record = (socket, ...events) => {
  const heard = [];
  for (const event of events) socket.on(event, (...args) => heard.push([event, ...args.map(readable)]));
  return heard;
};

const readable = (value) => (value instanceof Error || (value && value.message !== undefined) ? value.message : plain(value));

module.exports = { World, settle, plain, record };
