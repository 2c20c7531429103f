// A way to a server that is cut in every manner there is, at any time or at a given point of the protocol.
const { once } = require('node:events');
const { connect: dial, createServer } = require('node:net');

/** How a connection ends. Where only the client's half does, the server takes the socket for alive. */
const ENDS = {
  reset: ({ near, far }) => [near, far].forEach((socket) => socket.resetAndDestroy()),
  finish: ({ near, far }) => [near, far].forEach((socket) => socket.end(() => socket.destroy())),
  'black hole': (pair) => {
    pair.upstream = pair.downstream = 'dropped';
    pair.after(200 + Math.random() * 800, () => pair.near.resetAndDestroy());
    pair.after(2000, () => pair.far.destroy());
  },
  // What the client had sent arrives when it has long been on its next connection.
  'black hole that heals': (pair) => {
    pair.upstream = 'held';
    pair.downstream = 'dropped';
    pair.after(50 + Math.random() * 100, () => pair.near.resetAndDestroy());
    pair.after(500 + Math.random() * 500, () => pair.far.write(Buffer.concat(pair.held)));
    pair.after(2000, () => pair.far.destroy());
  },
};

/** Where a connection ends: which frame of the server's it is, and whether that one still arrives: whole, half or not. */
const POINTS = {
  'before the connect is answered': { frame: /^0/, part: 1, how: ['black hole that heals', 'reset', 'finish'] },
  'as the connect is answered': { frame: /^40/, part: 1 },
  'between subscribe and ack': { frame: /^43\d+\[.*"channels"/, part: 0 },
  'between ack and replay': { frame: /^43\d+\[.*"recovered"/, part: 1 },
  'inside a packet of a replay': { frame: /^42\["\$replay"/, part: 0.5 },
  // The client gets the first packet, if there is time for that before the end.
  'between packets of a replay': { frame: /^42\["\$replay".*,true]$/s, part: 1, how: ['finish', 'black hole'] },
};

const any = (list) => list[Math.floor(Math.random() * list.length)];

class Cutter {
  /** @param {() => string} target the server's URL @param {Map<string, number>} counts what happened, and how often */
  constructor(target, counts) {
    Object.assign(this, { target, counts, points: [], pairs: new Set(), timers: new Set() });
    this.listener = createServer((near) => this.connected(near));
  }

  async listen() {
    this.listener.listen(0, '127.0.0.1');
    await once(this.listener, 'listening');
    this.url = `http://127.0.0.1:${this.listener.address().port}`;
    return this;
  }

  close() {
    this.timers.forEach(clearTimeout);
    this.pairs.forEach(({ near, far }) => [near, far].forEach((socket) => socket.destroy()));
    this.listener.close();
  }

  count(what, by = 1) { this.counts.set(what, (this.counts.get(what) || 0) + by); }

  connected(near) {
    const far = dial(new URL(this.target()).port, '127.0.0.1');
    const pair = { near, far, upstream: 'forwarded', downstream: 'forwarded', held: [], ended: false };
    pair.after = (delay, action) => {
      const timer = setTimeout(() => {
        this.timers.delete(timer);
        action();
      }, delay);
      this.timers.add(timer);
    };
    this.pairs.add(pair);
    near.setNoDelay().on('error', () => {}).on('data', (bytes) => {
      if (pair.upstream === 'forwarded') far.write(bytes);
      else if (pair.upstream === 'held') pair.held.push(bytes);
    }).on('close', () => {
      if (pair.upstream === 'forwarded') far.destroy();
      pair.ended = true;
    });
    const forward = (bytes) => pair.downstream === 'forwarded' && near.write(bytes);
    far.setNoDelay().on('error', () => {}).on('data', frames(forward, (frame, text) => this.frame(pair, frame, text)));
    far.on('close', () => {
      if (pair.downstream === 'forwarded') near.destroy();
      this.pairs.delete(pair);
    });
  }

  /** A whole frame of the server's. */
  frame(pair, frame, text) {
    if (pair.downstream !== 'forwarded' || pair.ended) return;
    const point = POINTS[this.points[0]];
    const cut = point && point.frame.test(text);
    const part = cut ? frame.subarray(0, Math.floor(frame.length * point.part)) : frame;
    if (part.length === frame.length) this.saw(text);
    pair.near.write(part);
    if (!cut) return;
    this.count(`cut ${this.points.shift()}`);
    this.end(pair, any(point.how || Object.keys(ENDS)));
  }

  saw(text) {
    const [, kind] = /^42\["(\$\w*)"/.exec(text) || [];
    if (kind === '$') this.count(JSON.parse(text.slice(2)).length === 3 ? 'entry of another channel' : 'entry');
    if (kind === '$gap') this.count('gap outside an ack');
    if (kind === '$replay') {
      const [, , entries, more] = JSON.parse(text.slice(2));
      this.count('entry replayed', entries.length);
      this.count('entry of another channel, replayed', entries.filter(({ length }) => length === 1).length);
      this.count(more ? 'packet of a replay that is not the last' : 'last packet of a replay');
    }
    const [, ack] = /^43\d+(\[.*)$/s.exec(text) || [];
    const [{ channels = {} }] = ack ? JSON.parse(ack) : [{}];
    for (const [, , outcome] of Object.values(channels)) this.count(`channel ${outcome}`);
  }

  /** Ends the connection of the moment, and each after it at one of the points. */
  cut(how = any(Object.keys(ENDS)), ...points) {
    this.points.push(...points);
    const pair = [...this.pairs].find(({ ended }) => !ended);
    if (!pair) return false;
    this.end(pair, how);
    return true;
  }

  end(pair, how) {
    pair.ended = true;
    this.count('cuts');
    this.count(`cut by ${how}`);
    ENDS[how](pair);
  }
}

/** Splits what a server sends into the head of its answer and its WebSocket frames, which are short or of 16 or 64 bits. */
function frames(onHead, onFrame) {
  let head = true;
  let rest = Buffer.alloc(0);
  return (bytes) => {
    rest = Buffer.concat([rest, bytes]);
    for (;;) {
      let start = 0;
      let length = rest.indexOf('\r\n\r\n') + 4;
      if (head && length < 4) return;
      if (!head) {
        if (rest.length < 10 && rest.length < 2 + (rest[1] < 126 ? rest[1] : 8)) return;
        start = rest[1] < 126 ? 2 : rest[1] === 126 ? 4 : 10;
        length = start + (start === 2 ? rest[1] : start === 4 ? rest.readUInt16BE(2) : Number(rest.readBigUInt64BE(2)));
        if (rest.length < length) return;
      }
      const part = rest.subarray(0, length);
      rest = rest.subarray(length);
      if (head) onHead(part);
      else onFrame(part, part.toString('utf8', start));
      head = false;
    }
  };
}

module.exports = { Cutter, ENDS, POINTS };
