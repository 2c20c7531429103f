import { encode } from './encode.js';
import { RequestError } from './request-error.js';
import { notRun, requestPacket } from './protocol.js';

/** @typedef {import('./connection.js').Connection} Connection */
/** @typedef {import('./request.js').PendingRequest} PendingRequest */
/** @typedef {import('./emitter.js').Handler} Handler */

/** While more bytes than this wait in the WebSocket, requests wait in the queue. */
const BUFFER_LIMIT = 1 << 20;
const BUFFER_POLL = 50;
const REPEATS_IF_NOT_RUN = 3;

/** The requests of a socket: those that wait for a connection, in order, and the way of each to its answer. */
export class RequestQueue {
  /** @param {import('./socket.js').Socket} socket */
  constructor(socket) {
    this.socket = socket;
    /** @type {PendingRequest[]} */
    this.waiting = [];
    /** Those made since the socket connected last. @type {Set<PendingRequest>} */
    this.recent = new Set();
  }

  /**
   * Sends a request now, or once it can. It fails if too many wait.
   * @param {PendingRequest} request
   * @param {number} [limit]
   */
  submit(request, limit = this.socket._option('queueLimit')) {
    if (request.done) return;
    const { signal, timeout = request.callback ? 0 : this.socket._option('requestTimeout') } = request.options;
    this.waiting = this.waiting.filter(({ done }) => !done);
    if (this.waiting.length >= limit) {
      return request.fail(new RequestError('overflow', 'Too many requests wait for a connection.'));
    }
    if (signal) {
      const abort = () => request.fail(signal.reason || new Error('The request was aborted.'));
      if (signal.aborted) return abort();
      signal.addEventListener('abort', abort);
      request.cleanups.push(() => signal.removeEventListener('abort', abort));
    }
    this.waiting.push(request);
    this.recent.add(request);
    request.cleanups.push(() => this.recent.delete(request));
    this.pump();
    if (request.done) return;
    this.failAfter(timeout, request, 'timeout', 'The request timed out.');
    if (!request.sent) this.failAfter(this.socket._option('queueExpiry'), request, 'expired', 'No connection came in time.');
    request.cleanups.push(() => this.pump());
  }

  /**
   * @param {number} ms
   * @param {PendingRequest} request
   * @param {'timeout' | 'expired'} code
   * @param {string} message
   */
  failAfter(ms, request, code, message) {
    const expire = () => {
      if (code === 'timeout' || !request.sent) request.fail(new RequestError(code, message, request.sent));
    };
    const timer = ms > 0 && ms < 2 ** 31 ? setTimeout(expire, ms) : 0;
    request.cleanups.push(() => clearTimeout(timer));
  }

  /** Sends what can be sent, from the head of the queue. */
  pump() {
    while (this.waiting[0] && this.socket.isConnected() && !this.socket._draining) {
      const [request] = this.waiting;
      const connection = this.socket._connection;
      // After a sleep the connection may be dead. Then the request waits for the next.
      if (!connection?.alive()) return;
      if (connection.socket?.bufferedAmount > BUFFER_LIMIT) {
        clearTimeout(this.timer);
        this.timer = setTimeout(() => this.pump(), BUFFER_POLL);
        return;
      }
      if (!request.done && !this.prepare(request)) return;
      this.waiting.shift();
      if (!request.done) this.send(connection, request);
    }
  }

  /** Stops what `pump` has put off. */
  pause() { clearTimeout(this.timer); }

  /**
   * Whether the headers of the request are known. The socket's may be a function, or a promise.
   * @param {PendingRequest} request
   */
  prepare(request) {
    if (request.headers || request.preparing) return !request.preparing;
    /** @type {(common: any) => void} */
    const merge = (common) => {
      request.headers = JSON.parse(/** @type {string} */ (encode({ ...common, ...request.options.headers }, 'headers')));
    };
    try {
      const common = this.socket._value('headers');
      request.preparing = typeof common?.then === 'function';
      if (!request.preparing) merge(common);
      else common.then(merge).catch(request.fail.bind(request)).then(() => {
        request.preparing = false;
        this.pump();
      });
    } catch (error) {
      request.fail(error);
    }
    return !request.preparing;
  }

  /** @param {Connection} connection @param {PendingRequest} request */
  send(connection, request) {
    try {
      const packet = requestPacket(request, this.socket._subscriptions.positionsFor(request));
      connection.request(packet, (/** @type {any} */ ack) => this.answered(connection, request, ack));
      request.sent = true;
      connection.requests.add(request);
    } catch (error) {
      request.fail(error);
    }
  }

  /** @param {Connection} connection @param {PendingRequest} request @param {any} ack */
  answered(connection, request, ack) {
    connection.requests.delete(request);
    if (!ack || typeof ack !== 'object') {
      request.fail(new RequestError('malformed', 'The server sent no readable answer.', true));
    } else if (notRun(ack) && request.repeats++ < REPEATS_IF_NOT_RUN) {
      Object.assign(request, { sent: false, headers: undefined });
      this.waiting.unshift(request);
      this.socket._drain(0);
    } else {
      // Also if the request has failed meanwhile: entries follow the answer, and count from its positions.
      this.socket._subscriptions.acked(request, ack);
      request.succeed(ack);
    }
    this.socket._moveOn();
  }
}
