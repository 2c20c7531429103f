import { encode } from './encode.js';
import { page } from './page.js';
import { ENGINE, PACKET, PROBE_NAMESPACE, decode, parsePacket, refusal } from './protocol.js';
import { RequestError } from './request-error.js';

/** @typedef {import('./address.js').Address} Address */
/** @typedef {import('./emitter.js').Handler} Handler */
/** @typedef {import('./request.js').PendingRequest} PendingRequest */
/** @typedef {import('./socket.js').Socket} Socket */
/** @typedef {Record<string, any>} Dictionary */

/** How long the server may take to answer a probe. */
const PROBE_TIMEOUT = 5000;

/** Engine.IO 4 and Socket.IO 5 over a WebSocket. A connection that has ended says nothing more. */
export class Connection {
  /** @param {Address} address @param {Socket} owner */
  constructor(address, owner) {
    this.address = address;
    this.owner = owner;
    this.ended = false;
    /** @type {string | undefined} set once the server has accepted the connection */
    this.id = undefined;
    this.requests = /** @type {Set<PendingRequest>} */ (new Set());
    this.acks = /** @type {Map<number, Handler>} */ (new Map());
    this.acksAsked = 0;
    this.maxPayload = Infinity;
    this.heard = Date.now();
    this.patience = Infinity;
    /** @type {Dictionary | undefined} a packet whose attachments are to come */
    this.incomplete = undefined;
  }

  /** @param {Dictionary} payload of the CONNECT packet */
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

  /** Sends an event, without waiting for a connection. @param {any[]} args the event, its arguments, and maybe a handler of the ack */
  emit(...args) {
    const ack = typeof args[args.length - 1] === 'function' ? args.pop() : undefined;
    if (!this.connected || !this.alive()) return;
    this.send(PACKET.event, ack ? this.acksAsked : '', encode(args, 'arguments'));
    if (ack) this.acks.set(this.acksAsked++, ack);
  }

  /** Sends a packet of what has been encoded once. @param {any[]} packet @param {Handler} ack */
  request(packet, ack) {
    this.send(PACKET.event, this.acksAsked, JSON.stringify(packet));
    this.acks.set(this.acksAsked++, ack);
  }

  /**
   * Sends a packet. Throws if it is larger than the server takes.
   * @param {string} type
   * @param {number | string} id
   * @param {string | undefined} json
   */
  send(type, id, json) {
    const frame = ENGINE.message + type + id + json;
    if (new TextEncoder().encode(frame).length > this.maxPayload) {
      throw new RequestError('too_large', `The server takes at most ${this.maxPayload} bytes.`);
    }
    this.socket.send(frame);
  }

  /** Takes a frame of the WebSocket. @param {any} data */
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

  /** Answers the handshake of Engine.IO with a CONNECT packet. @param {Dictionary} handshake */
  handshake({ pingInterval, pingTimeout, maxPayload }) {
    // Whatever the server says, the client neither waits for ever nor gives up at once.
    this.patience = Math.min(Math.max(pingInterval + pingTimeout, 1000), 300000) || 45000;
    if (maxPayload > 0) this.maxPayload = maxPayload;
    this.socket.send(ENGINE.message + PACKET.connect + JSON.stringify(this.payload));
    this.watch();
  }

  /** Takes a Socket.IO packet, which may wait for attachments. @param {string} text */
  message(text) {
    const packet = parsePacket(text);
    if (this.incomplete) throw new Error('an attachment is missing');
    // Only the answer to a probe has a namespace.
    if (packet.namespace) return;
    packet.attachments = [];
    if (packet.count > 0) this.incomplete = packet;
    else this.packet(packet);
  }

  /** Takes an attachment of the last packet. @param {unknown} bytes */
  attachment(bytes) {
    const packet = /** @type {Dictionary} */ (this.incomplete);
    if (packet.attachments.push(bytes) < packet.count) return;
    this.incomplete = undefined;
    this.packet(packet);
  }

  /** Takes a packet that is complete. @param {Dictionary} packet */
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
      if (id) content.push((/** @type {any[]} */ ...args) => this.ended || this.send(PACKET.ack, id, encode(args, 'arguments')));
      this.owner._received(content);
    } else {
      const ack = this.acks.get(Number(id));
      this.acks.delete(Number(id));
      ack?.(content[0]);
    }
  }

  /**
   * Whether the server was heard within the heartbeat. If not, the connection ends. The clock decides, because timers are late in
   * hidden pages and stand still in sleep.
   */
  alive() {
    // The clock may have been set back.
    this.heard = Math.min(this.heard, Date.now());
    if (Date.now() < this.heard + this.patience) return true;
    this.end('ping timeout');
    return false;
  }

  /** Looks again when the heartbeat is due. */
  watch() {
    clearTimeout(this.watchTimer);
    if (this.alive()) this.watchTimer = setTimeout(() => this.watch(), this.heard + this.patience - Date.now());
  }

  /** Asks whether the server is there, and ends the connection if nothing comes back. */
  probe() {
    this.watch();
    if (this.ended || this.probeTimer) return;
    this.socket.send(ENGINE.message + PACKET.connect + PROBE_NAMESPACE + ',');
    this.probeTimer = setTimeout(() => this.end('ping timeout'), PROBE_TIMEOUT);
  }

  /** Closes, and tells the socket. @param {string} reason @param {unknown} [error] */
  end(reason, error = new Error(reason)) {
    if (!this.ended) this.owner._closed(this, reason, error);
    this.close();
  }

  /** Closes in silence. */
  close() {
    const { socket, ended } = this;
    this.ended = true;
    clearTimeout(this.watchTimer);
    clearTimeout(this.probeTimer);
    if (!socket || ended) return;
    socket.onmessage = socket.onclose = null;
    // The package `ws` throws an error without a listener.
    socket.onerror = () => {};
    if (this.id && socket.readyState === 1) socket.send(ENGINE.message + PACKET.disconnect);
    socket.close();
  }
}
