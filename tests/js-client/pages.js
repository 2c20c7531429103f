// A page that subscribes and writes down what it hears, made with each of the clients.
const assert = require('node:assert/strict');
const { io: socketio } = require('socket.io-client');
const WebSocket = require('ws');
const { connect } = require('./client.js').catamaran;
const { Page } = require('./storm.js');

const sailsIo = require('sails.io.js')(require('socket.io-client-2'));
Object.assign(sailsIo.sails, { autoConnect: false, environment: 'production' });

/** How soon all of them connect again. */
const AGAIN = { reconnectionDelay: 50, reconnectionDelayMax: 100 };

/** With our own client, which subscribes again by itself, and tells of gaps. */
class OurPage extends Page {
  constructor(client, way, options) {
    super(client, way);
    Object.assign(this, { outcomes: [], lost: [] });
    this.socket = connect(way.url, { WebSocket, ...AGAIN, ...options });
    this.socket.on('number', ({ channel, number }) => this.of(channel).push(number));
    this.socket.on('gap', ({ channel }) => this.of(channel).push('gap'));
    this.socket.on('resubscribed', ({ recovered }) => this.outcomes.push(recovered));
    this.socket.on('lost', (lost) => this.lost.push(lost));
  }

  /** However often it takes. */
  async subscribe(url, ...channels) {
    for (;;) {
      const jwr = await this.socket.get(url).catch(({ code }) => assert.equal(code, 'disconnected'));
      if (!jwr) continue;
      assert.equal(jwr.statusCode, 200);
      this.starts(channels, jwr.body);
      return;
    }
  }

  post(url) { this.socket.post(url).catch(() => {}); }

  close() {
    if (this.socket.state !== 'disconnected') this.socket.disconnect();
    this.way.close();
  }
}

/** With a client that leaves it to the page to subscribe again, whenever it connects. */
class StockPage extends Page {
  constructor(client, way) {
    super(client, way);
    this.wanted = [];
  }

  listen(socket) {
    this.socket = socket;
    socket.on('number', ({ channel, number }) => this.of(channel).push(number));
    socket.on('connect', () => this.connected());
  }

  connected() {
    for (const { url, channels, done } of this.wanted) this.ask(url, (body) => done(this.starts(channels, body)));
  }

  subscribe(url, ...channels) {
    return new Promise((done) => { this.wanted.push({ url, channels, done }); });
  }
}

/** With socket.io-client 4. If the server `recovers` connections, the page knows of each whether it was. */
class SocketIoPage extends StockPage {
  constructor(client, way, recovers) {
    super(client, way);
    Object.assign(this, { recovers, complete: false });
    this.listen(socketio(way.url, { transports: ['websocket'], forceNew: true, ...AGAIN }));
  }

  connected() {
    if (this.socket.recovered && this.complete) return;
    if (this.recovers && !this.socket.recovered) for (const channel of Object.keys(this.from)) this.of(channel).push('gap');
    this.complete = false;
    super.connected();
  }

  ask(url, answered) {
    this.socket.emit('get', { url }, ({ body }) => {
      this.complete = true;
      answered(body);
    });
  }

  post(url) { if (this.socket.connected) this.socket.emit('post', { url }); }

  close() {
    this.socket.disconnect();
    this.way.close();
  }
}

/** With sails.io.js. */
class SailsPage extends StockPage {
  constructor(client, way) {
    super(client, way);
    this.listen(sailsIo.sails.connect(way.url, { reconnection: true, ...AGAIN }));
  }

  ask(url, answered) {
    this.socket.get(url, (body, { statusCode }) => { if (statusCode === 200) answered(body); });
  }

  post(url) { if (this.socket.isConnected()) this.socket.post(url); }

  close() {
    this.socket._raw.close();
    this.way.close();
  }
}

module.exports = { OurPage, SocketIoPage, SailsPage };
