import { DELIVERY, connectPayload } from './protocol.js';
import { disconnected } from './request-error.js';
import { PendingRequest } from './request.js';

/** @typedef {import('./jwr.js').JWR} JWR */
/** @typedef {import('./socket.js').Socket} Socket */
/** @typedef {Record<string, any>} Dictionary */

/** Half of what a server runs of a socket by default (`App::max_in_flight`), so the page has room for requests of its own. */
const REPEATS_AT_ONCE = 32;
const REPEAT_TIMEOUT = 30000;
/** At random up to this, because many clients may reconnect at once. */
const REPEAT_DELAY = 100;
/** How long repeats wait for what the handlers of `connect` have begun. */
const HANDLERS_WITHIN = 10000;
/** How long after a reconnect the server may take to join the socket to channels by itself. */
const SERVER_JOINS_WITHIN = 2000;

/**
 * `live`: the server delivers it on this connection. `viewer`: the server's number of the viewer who receives a filtered channel.
 * @typedef {{ epoch: string, offset: number, since: number, live: boolean, viewer?: number }} Position
 */

/** The channels that the server has subscribed the socket to, and the requests that did it. They survive a reconnect. */
export class Subscriptions {
  /** @param {Socket} socket */
  constructor(socket) {
    this.socket = socket;
    /** How far each channel was delivered. @type {Map<string, Position>} */
    this.positions = new Map();
    /**
     * The requests that subscribed, by their keys: `named` are the channels of the answer, `channels` those that it restores after a
     * reconnect. A channel is restored by the newest request alone, unless it is filtered.
     * @type {Map<string, Dictionary>}
     */
    this.made = new Map();
    /** Those of this connection. @type {Set<any>} */
    this.timers = new Set();
    /** The repeats under way. @type {Set<PendingRequest>} */
    this.repeats = new Set();
    this.duplicates = this.connections = 0;
    /** The time of one connection. */
    this.lifetime = { over: false };
  }

  /** The client id is a secret: a connection that says it takes the place of the one before. */
  connectPayload() {
    if (!this.socket._option('resume')) return {};
    this.client = this.client || crypto.getRandomValues(new Uint32Array(4)).join('-');
    return connectPayload(this.client, ++this.connections, this.held(this.positions.keys(), true));
  }

  /** The positions of channels that the server does not deliver on this connection. @param {Iterable<string>} channels @param {boolean} [all] */
  held(channels, all) {
    /** @type {Dictionary} */
    const held = {};
    for (const channel of channels) {
      const position = this.positions.get(channel);
      if (!position || (position.live && !all)) continue;
      const { epoch, offset, since, viewer } = position;
      // What this viewer has received does not help another one, who may log in before the page is back.
      held[channel] = viewer === undefined ? [epoch, offset, since] : [epoch, offset, since, viewer];
    }
    return held;
  }

  /** The key of a request that subscribes again after a reconnect. @param {PendingRequest} request */
  key({ method, options, url, json }) {
    return method === 'get' && options.resume !== false ? `${json} ${url}` : '';
  }

  /** The positions that a request tells the server, so that it replays what was missed. @param {PendingRequest} request */
  positionsFor(request) {
    const subscription = this.made.get(this.key(request));
    if (subscription) subscription.asked = request;
    // A new one may name any channel.
    const held = this.held(subscription ? subscription.named : this.positions.keys());
    return Object.keys(held).length === 0 ? undefined : held;
  }

  /** Notes the channels that an answer says it subscribed to or left. @param {PendingRequest} request @param {Dictionary} ack */
  acked(request, { channels, left, statusCode }) {
    if (statusCode >= 400) return;
    const named = Object.entries(channels || {}).filter(([, state]) => Array.isArray(state));
    request.recovered = !!named[0] && named.every(([, state]) => state[2] === 'recovered');
    for (const [channel, [epoch, offset, outcome, , viewer]] of named) {
      const position = this.positions.get(channel);
      // Only entries move it: a replay may be cut in its middle.
      if (position && position.epoch === epoch && (position.live || outcome === 'recovered')) position.live = true;
      else this.start(channel, epoch, offset, position || outcome === 'gap' ? 'not retained' : '');
      const counted = this.positions.get(channel);
      if (counted && viewer !== undefined) counted.viewer = viewer;
    }
    const key = this.key(request);
    const before = this.made.get(key);
    this.made.delete(key);
    if (key) this.note(key, request, named);
    if (before) this.reportUnrestored(before.channels);
    for (const channel of left || []) this.forget(channel);
  }

  /**
   * Notes what to send again after a reconnect.
   * @param {string} key
   * @param {PendingRequest} request
   * @param {[string, any[]][]} named
   */
  note(key, request, named) {
    const channels = new Set();
    for (const [channel, [, , , filtered]] of named) {
      const others = filtered ? [] : this.askingFor(channel);
      // A repeat is not newer than what the page has asked for since.
      if (others[0] && this.repeats.has(request)) continue;
      others.forEach((other) => this.release(other, channel));
      channels.add(channel);
    }
    if (channels.size > 0) {
      this.made.set(key, { key, options: request.options, channels, named: named.map(([channel]) => channel) });
    }
  }

  /** Leaves a channel to another request. @param {Dictionary} subscription @param {string} channel */
  release({ key, channels }, channel) {
    channels.delete(channel);
    if (channels.size === 0) this.made.delete(key);
  }

  /** Takes an event about channels, and returns whether it was one. @param {string} event @param {any[]} args */
  received(event, [channel, ...args]) {
    if (!this.socket._option('resume')) return false;
    const position = this.positions.get(channel);
    if (event === DELIVERY.entry) {
      this.deliver(channel, args);
    } else if (event === DELIVERY.replay) {
      const { lifetime } = this;
      // A handler may disconnect. The rest comes again after a reconnect.
      for (const entry of args[0]) if (!lifetime.over) this.deliver(channel, entry);
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

  /** Passes an entry on, unless it came before. @param {string} channel @param {any[]} entry */
  deliver(channel, [offset, event, ...data]) {
    const position = this.positions.get(channel);
    if (position && offset <= position.offset) {
      this.duplicates += 1;
      return;
    }
    if (position) position.offset = offset;
    this.socket._received([event, ...data]);
  }

  /**
   * Counts a channel from this position, with a gap before it or none.
   * @param {string} channel
   * @param {string} epoch
   * @param {number} offset
   * @param {string} gap
   */
  start(channel, epoch, offset, gap) {
    const { viewer } = this.positions.get(channel) || {};
    this.positions.set(channel, { epoch, offset, since: offset, live: true, viewer });
    if (gap) this.socket._emit('gap', { channel, reason: gap });
  }

  /** The server has ended a subscription, or all. One that expired is renewed. @param {string} channel @param {string} reason */
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

  /** The requests that subscribed to a channel. @param {string} channel */
  askingFor(channel) {
    return [...this.made.values()].filter(({ channels }) => channels.has(channel));
  }

  /** Drops a channel, and the requests that subscribed to nothing else. @param {string} channel */
  forget(channel) {
    this.positions.delete(channel);
    for (const subscription of this.askingFor(channel)) this.release(subscription, channel);
  }

  /** The connection has ended. */
  pause() {
    for (const position of this.positions.values()) position.live = false;
    this.timers.forEach(clearTimeout);
    this.timers.clear();
    this.lifetime.over = true;
    this.lifetime = { over: false };
    this.repeats.forEach((request) => request.fail(disconnected()));
  }

  /**
   * After a reconnect: sends requests again once the handlers of the page have done what they began, such as a login.
   * @param {unknown[]} returned what they returned
   */
  async restore(returned) {
    const { lifetime } = this;
    // Those that the handlers make are no repeats.
    const before = [...this.made.values()];
    await Promise.race([this.handlersDone(returned), this.later(HANDLERS_WITHIN)]);
    if (lifetime.over) return;
    this.repeat(before);
    await this.later(SERVER_JOINS_WITHIN);
    this.reportUnrestored(this.positions.keys());
  }

  /**
   * Resolves when the promises of handlers have settled, and the requests that the page made since, also in their callbacks.
   * @param {unknown[]} returned
   */
  async handlersDone(returned) {
    let pending = returned.filter((each) => typeof (/** @type {any} */ (each)?.then) === 'function').map(settled);
    for (;;) {
      pending.push(...[...this.socket._requests.recent].map((request) => request.ended()));
      if (pending.length === 0) return;
      await Promise.all(pending.splice(0));
      // The page goes on in its callbacks and promises first.
      await this.later(0);
    }
  }

  /** Sends requests again, so authorization runs again. @param {Iterable<Dictionary>} subscriptions */
  repeat(subscriptions) {
    const waiting = [...subscriptions];
    const work = async () => {
      await this.later(Math.random() * REPEAT_DELAY);
      for (let next; (next = waiting.shift());) await this.ask(next);
    };
    for (let i = Math.min(REPEATS_AT_ONCE, waiting.length); i > 0; i--) work();
  }

  /** Sends one request again, until it is answered for good. @param {Dictionary} subscription */
  async ask(subscription) {
    const { socket } = this;
    const { key, options } = subscription;
    const { lifetime } = this;
    let backoff = REPEAT_DELAY;
    for (let tried = false; ;) {
      const { asked } = subscription;
      if (asked?.done === false) {
        await asked.ended();
        if (lifetime.over) return;
      }
      // The page may have repeated it. Another request for the channel is no repeat, because it may see less.
      if (tried ? !this.made.has(key) : this.made.get(key) !== subscription) return;
      tried = true;
      // Its signal was for the page's request.
      const request = new PendingRequest({ ...options, timeout: REPEAT_TIMEOUT, signal: undefined });
      this.repeats.add(request);
      request.cleanups.push(() => this.repeats.delete(request));
      socket._requests.submit(request, Infinity);
      const jwr = await /** @type {Promise<JWR>} */ (request.promise).catch(() => undefined);
      if (lifetime.over) return;
      if (jwr && jwr.statusCode !== 429 && jwr.statusCode < 500) {
        this.answered(subscription, request, jwr);
        return;
      }
      const wait = Number(jwr?.headers['retry-after']) * 1000 || 0;
      backoff = Math.min(Math.max(backoff * 2, 1000), 30000);
      await this.later(wait + Math.random() * backoff);
    }
  }

  /** Raises the outcome of a repeat. @param {Dictionary} subscription @param {PendingRequest} request @param {JWR} jwr */
  answered({ key, options: { url }, channels }, request, jwr) {
    if (jwr.statusCode < 400) {
      this.socket._emit('resubscribed', { url, recovered: request.recovered, body: jwr.body, jwr });
      return;
    }
    this.made.delete(key);
    for (const channel of channels) {
      // The server may have subscribed the socket meanwhile.
      if (!this.askingFor(channel)[0] && !this.positions.get(channel)?.live) this.positions.delete(channel);
    }
    this.socket._emit('lost', { url, channels: [...channels], reason: `status ${jwr.statusCode}`, jwr });
  }

  /** Raises a gap for each channel that neither the server nor a request has restored. @param {Iterable<string>} channels */
  reportUnrestored(channels) {
    for (const channel of channels) {
      const position = this.positions.get(channel);
      if (!position || position.live || this.askingFor(channel)[0]) continue;
      this.positions.delete(channel);
      this.socket._emit('gap', { channel, reason: 'not-repeatable' });
    }
  }

  /** Waits, for ever if the connection ends. @param {number} delay */
  later(delay) {
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(this.timers.delete(timer)), delay);
      this.timers.add(timer);
    });
  }
}

/** Resolves when a handler's promise settles. Its rejection stays unhandled, for the page to see. @param {any} promise */
const settled = (promise) => new Promise((resolve) => { Promise.resolve(promise).finally(() => resolve(undefined)); });
