// Socket.IO clients of the fewest means: what a server sends them is kept as it came, packet by packet.
const WebSocket = require('ws');
const { within } = require('./within.js');

const SDK = '__sails_io_sdk_version=1.2.1&__sails_io_sdk_platform=node&__sails_io_sdk_language=javascript';

/** Splits what a poll brought into packets, and joins packets to what a poll brings. Lengths count UTF-16 units. */
const PAYLOADS = {
  3: {
    join: (packets) => packets.map((packet) => `${packet.length}:${packet}`).join(''),
    split: (payload) => {
      const packets = [];
      for (let at = 0; at < payload.length;) {
        const colon = payload.indexOf(':', at);
        const end = colon + 1 + Number(payload.slice(at, colon));
        packets.push(payload.slice(colon + 1, end));
        at = end;
      }
      return packets;
    },
  },
  4: { join: (packets) => packets.join('\x1e'), split: (payload) => payload.split('\x1e') },
};

class Raw {
  /** Connected to the namespace `/`; Engine.IO `version` 3 or 4. */
  static async connect(url, version) {
    const raw = new this(`${url}/socket.io/?${SDK}&EIO=${version}`, version);
    await raw.open();
    // Engine.IO 3 is connected without asking.
    if (version === 4) raw.send('40');
    await raw.next(/^40/);
    return raw;
  }

  constructor(url, version) {
    Object.assign(this, { url, version, packets: [], readers: [], acks: 0, closed: false });
  }

  /** Pings are answered, which is all that is done for the server. */
  take(packet) {
    if (packet === '2') return this.send('3');
    // A client that is told so ends the connection itself.
    if (packet === '41' || packet === '1') this.closed = true;
    this.packets.push(packet);
    this.readers.forEach((reader) => reader());
  }

  /** Waits for such a packet, and returns all up to it. */
  async next(pattern) {
    const index = () => this.packets.findIndex((packet) => pattern.test(packet));
    await this.until(() => index() >= 0, `${pattern}`);
    return this.packets.splice(0, index() + 1);
  }

  /** Waits until the server has ended the connection, and returns all that came before. */
  async end() {
    await this.until(() => this.closed, 'the end');
    return this.packets.splice(0);
  }

  until(so, what) {
    return within(new Promise((resolve) => {
      const look = () => so() && resolve();
      this.readers = [look];
      look();
    }), what);
  }

  /** Sends a request, and returns the id of its ack. */
  ask(method, url, more = {}) {
    this.send(`42${this.acks}${JSON.stringify([method, { method, headers: {}, data: {}, url, ...more }])}`);
    return this.acks++;
  }
}

class RawWebSocket extends Raw {
  async open() {
    this.socket = new WebSocket(`${this.url.replace('http', 'ws')}&transport=websocket`);
    this.socket.on('message', (bytes) => this.take(bytes.toString())).on('error', () => {}).on('close', () => {
      this.closed = true;
      this.readers.forEach((reader) => reader());
    });
    await this.next(/^0/);
  }

  send(packet) { this.socket.send(packet); }

  close() { this.socket.close(); }
}

class RawPolling extends Raw {
  async open() {
    this.url += '&transport=polling&b64=1';
    await this.poll();
    const [opening] = await this.next(/^0/);
    this.url += `&sid=${JSON.parse(opening.slice(1)).sid}`;
    this.loop();
  }

  async loop() {
    try {
      while (!this.closed) await this.poll();
    } catch {
      this.closed = true;
    }
    this.readers.forEach((reader) => reader());
  }

  async poll() {
    const answer = await fetch(this.url);
    if (answer.status !== 200) throw new Error(`a poll was answered ${answer.status}`);
    const payload = await answer.text();
    const packets = PAYLOADS[this.version].split(payload);
    if (PAYLOADS[this.version].join(packets) !== payload) throw new Error(`no payload of Engine.IO ${this.version}: ${payload}`);
    packets.forEach((packet) => this.take(packet));
  }

  send(packet) {
    fetch(this.url, { method: 'POST', body: PAYLOADS[this.version].join([packet]), headers: { 'content-type': 'text/plain;charset=UTF-8' } })
      .catch(() => {});
  }

  close() {
    this.closed = true;
    this.send('1');
  }
}

module.exports = { RawPolling, RawWebSocket };
