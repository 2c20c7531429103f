import { Connection } from './connection.js';
import { refusal } from './protocol.js';

/** @typedef {import('./emitter.js').Handler} Handler */
/** @typedef {Record<string, any>} Dictionary */

/** A connection by a socket.io-client of the page, of any version, which watches the heartbeat itself. */
export class InjectedConnection extends Connection {
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
      // Below version 3 this reports a refusal, and there is no `onAny`.
      error: (error) => this.id || this.end('refused', refusal(error.message ? error : { message: error })),
    };
    for (const event of Object.keys(handlers)) raw.on(event, handlers[event]);
    // One poll may bring more events, after a handler has disconnected.
    const received = (/** @type {any} */ args) => this.ended || owner._received(args);
    if (raw.onAny) raw.onAny((/** @type {any[]} */ ...args) => received(args));
    else raw.onevent = (/** @type {Dictionary} */ { data }) => received(data);
  }

  /** @param {any[]} args */
  emit(...args) { this.raw.emit(...args); }

  /** @param {any[]} packet @param {Handler} ack */
  request(packet, ack) { this.raw.emit(...packet, ack); }

  alive() {
    // The check that socket.io-client 4.8 makes before it sends. Older versions have none.
    if (this.raw.io?.engine?._hasPingExpired?.()) this.end('ping timeout');
    return !this.ended;
  }

  probe() {}

  close() {
    if (this.raw && !this.ended) this.raw.off().disconnect();
    this.ended = true;
  }
}
