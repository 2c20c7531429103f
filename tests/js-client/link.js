// The way from one server to its backend: it can be cut, closed, slow, or a black hole that heals.
const { once } = require('node:events');
const { connect, createServer } = require('node:net');

/** Ends a connection at once. One that is ending already cannot be reset: Node would wait for it for ever. */
function reset(socket) {
  if (socket.writable) socket.resetAndDestroy();
  else socket.destroy();
}

class Link {
  /** @param {() => number} target the port of the backend, as it is when a connection is made */
  constructor(target) {
    Object.assign(this, { target, refuses: false, holds: false, delay: 0, pairs: new Set() });
    this.listener = createServer({ pauseOnConnect: true }, (near) => this.connected(near));
  }

  async listen() {
    this.listener.listen(0, '127.0.0.1');
    await once(this.listener, 'listening');
    this.port = this.listener.address().port;
    return this;
  }

  /** Ends all connections, and takes no more. */
  refuse() {
    this.refuses = true;
    this.cut();
  }

  /** Ends all connections. */
  cut() { for (const { near, far } of this.pairs) [near, far].forEach(reset); }

  /** Nothing gets through any more, and nobody is told. */
  hold() {
    this.holds = true;
    for (const { near, far } of this.pairs) [near, far].forEach((socket) => socket.pause());
  }

  /** Everything gets through, but late. */
  slow(ms) { this.delay = ms; }

  /** As at first; what was held arrives now. */
  heal() {
    Object.assign(this, { refuses: false, holds: false, delay: 0 });
    for (const { near, far } of this.pairs) [near, far].forEach((socket) => socket.resume());
  }

  /** What comes from now on gets through; what was there is forgotten, and nobody is told. */
  forget() { this.holds = false; }

  close() {
    for (const { near, far } of this.pairs) [near, far].forEach((socket) => socket.destroy());
    this.listener.close();
  }

  connected(near) {
    if (this.refuses) return reset(near);
    const far = connect(this.target(), '127.0.0.1');
    const pair = { near, far };
    this.pairs.add(pair);
    for (const [from, to] of [[near, far], [far, near]]) {
      const late = [];
      from.setNoDelay().on('error', () => {}).on('data', (bytes) => {
        if (this.delay === 0 && late.length === 0) return void to.write(bytes);
        late.push(bytes);
        setTimeout(() => to.write(late.shift()), this.delay);
      });
      from.on('close', () => {
        this.pairs.delete(pair);
        to.destroy();
      });
    }
    if (!this.holds) near.resume();
    else far.pause();
  }
}

module.exports = { Link };
