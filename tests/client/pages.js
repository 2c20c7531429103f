// A page that subscribes and writes down what it hears, made with each of the clients.
const assert = require('node:assert/strict');
const WebSocket = require('ws');
const { connect } = require('../../runtime/client/catamaran.io.js');
const { Page } = require('./storm.js');

/** How soon all of them connect again. */
const AGAIN = { reconnectionDelay: 50, reconnectionDelayMax: 100 };

/** With our own client, which subscribes again by itself, and tells of gaps. */
class OurPage extends Page {
  constructor(client, way) {
    super(client, way);
    Object.assign(this, { outcomes: [], lost: [] });
    this.socket = connect(way.url, { WebSocket, ...AGAIN });
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

  close() {
    if (this.socket.state !== 'disconnected') this.socket.disconnect();
    this.way.close();
  }
}

module.exports = { OurPage };
