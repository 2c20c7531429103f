// A way to a server that is cut in every manner there is, at any time or at a given point of the protocol.
const { once } = require('node:events');
const { connect: dial, createServer } = require('node:net');

/** How a connection ends, or stalls. Where only the client's half ends, the server takes the socket for alive. */
const ENDS = {
  reset: ({ near, far }) => [near, far].forEach((socket) => socket.resetAndDestroy()),
  finish: ({ near, far }) => [near, far].forEach((socket) => socket.end(() => socket.destroy())),
  'black hole': (pair) => {
    pair.upstream = pair.downstream = 'dropped';
    pair.after(200 + Math.random() * 800, () => pair.near.resetAndDestroy());
    pair.after(2000, () => pair.far.destroy());
  },
  // What the client had sent arrives when it has long been on its next connection.
  'black hole that heals too late': (pair) => {
    pair.upstream = 'held';
    pair.downstream = 'dropped';
    pair.after(50 + Math.random() * 100, () => pair.near.resetAndDestroy());
    pair.after(500 + Math.random() * 500, () => pair.far.write(Buffer.concat(pair.held)));
    pair.after(2000, () => pair.far.destroy());
  },
  // Both sides keep the connection, and hear all of it at once.
  'black hole that heals': (pair) => {
    pair.ended = false;
    pair.upstream = pair.downstream = 'held';
    pair.after(100 + Math.random() * 500, () => pair.heal());
  },
};

/** Those after which there is another connection. */
const FINAL = Object.keys(ENDS).filter((how) => how !== 'black hole that heals');

/** Where a connection ends: which frame of the server's it is, and whether that one still arrives: whole, half or not. */
const POINTS = {
  'before the connect is answered': { frame: /^0/, part: 1, how: ['black hole that heals too late', 'reset', 'finish'] },
  'as the connect is answered': { frame: /^40/, part: 1, how: FINAL },
  // Of all answers, only those of subscriptions have a list as their body.
  'between subscribe and ack': { frame: /^43\d+\[\{"body":\[/, part: 0, how: FINAL },
  'between ack and replay': { frame: /^43\d+\[.*"recovered"/, part: 1, how: FINAL },
  'inside a packet of a replay': { frame: /^42\["\$replay"/, part: 0.5, how: FINAL },
  // The client gets the first packet, if there is time for that before the end.
  'between packets of a replay': { frame: /^42\["\$replay".*,true]$/s, part: 1, how: ['finish', 'black hole'] },
};

const any = (list) => list[Math.floor(Math.random() * list.length)];

class Cutter {
  /**
   * @param {() => string} target the server's URL
   * @param {Map<string, number>} counts what happened, and how often
   * @param {{ ends?: string[], websocket?: boolean }} options how connections end; without websockets that is at any time,
   *   since their frames alone are looked at
   */
  constructor(target, counts, { ends = Object.keys(ENDS), websocket = true } = {}) {
    Object.assign(this, { target, counts, ends, websocket, points: [], pairs: new Set(), timers: new Set(), subscribed: false, resumesCut: 0 });
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
    const pair = new Pair(near, far, this);
    this.pairs.add(pair);
    near.setNoDelay().on('error', () => {}).on('data', (bytes) => pair.up(bytes)).on('close', () => {
      if (pair.upstream === 'forwarded') far.destroy();
      pair.nearClosed = pair.ended = true;
    });
    const down = pair.down.bind(pair);
    far.setNoDelay().on('error', () => {}).on('data', this.websocket ? frames(down) : (bytes) => down(bytes, ''));
    far.on('close', () => {
      if (pair.downstream === 'forwarded') near.destroy();
      pair.farClosed = true;
      this.pairs.delete(pair);
    });
  }

  /** Ends the connection of the moment, and each after it at one of the points. */
  cut(...points) {
    const how = any(this.ends);
    const pair = [...this.pairs].find(({ ended, downstream }) => !ended && downstream === 'forwarded');
    if (!pair) return false;
    if (FINAL.includes(how)) this.points.push(...points);
    this.end(pair, how);
    return true;
  }

  end(pair, how) {
    pair.ended = true;
    this.count(`cut by ${how}`);
    ENDS[how](pair);
    if (!pair.ended) return;
    this.count('cuts');
    if (!this.subscribed) return;
    if (pair.entries === 0) this.count('cut again with nothing heard between');
    this.resumesCut = pair.resumed ? 0 : this.resumesCut + 1;
    if (this.resumesCut > 0) this.count(`cut during a ${this.resumesCut === 1 ? 'first' : 'second or later'} resume`);
  }
}

/** The client's connection to the cutter, and the cutter's to the server. */
class Pair {
  constructor(near, far, cutter) {
    Object.assign(this, { near, far, cutter, upstream: 'forwarded', downstream: 'forwarded', ended: false });
    Object.assign(this, { held: [], heldFrames: [], entries: 0, resumed: false, nearClosed: false, farClosed: false });
  }

  after(delay, action) {
    const { timers } = this.cutter;
    const timer = setTimeout(() => {
      timers.delete(timer);
      action();
    }, delay);
    timers.add(timer);
  }

  /** What the client sends. */
  up(bytes) {
    if (this.upstream === 'forwarded') this.far.write(bytes);
    else if (this.upstream === 'held') this.held.push(bytes);
  }

  /** What the server sends: a whole frame. */
  down(frame, text) {
    if (this.downstream === 'held') this.heldFrames.push([frame, text]);
    if (this.downstream !== 'forwarded' || this.ended) return;
    const { cutter } = this;
    const point = POINTS[cutter.points[0]];
    const cut = point && point.frame.test(text);
    const part = cut ? frame.subarray(0, Math.floor(frame.length * point.part)) : frame;
    if (part.length === frame.length) this.saw(text);
    this.near.write(part);
    if (!cut) return;
    // What a point of a resume cuts off was not all of it.
    if (/replay/.test(cutter.points[0])) this.resumed = false;
    cutter.count(`cut ${cutter.points.shift()}`);
    cutter.end(this, any(point.how.filter((how) => cutter.ends.includes(how))));
  }

  heal() {
    this.upstream = this.downstream = 'forwarded';
    this.far.write(Buffer.concat(this.held.splice(0)));
    for (const [frame, text] of this.heldFrames.splice(0)) this.down(frame, text);
    if (this.farClosed) this.near.destroy();
    if (this.nearClosed) this.far.destroy();
  }

  saw(text) {
    const { cutter } = this;
    const [, kind] = /^42\["(\$?\w*)"/.exec(text) || [];
    if (kind === '$' || kind === 'number') {
      this.entries += 1;
      cutter.count(JSON.parse(text.slice(2)).length === 3 ? 'entry of another channel' : 'entry');
    }
    if (kind === '$gap') cutter.count('gap outside an ack');
    if (kind === '$replay') {
      const [, , entries, more] = JSON.parse(text.slice(2));
      this.entries += entries.length;
      this.resumed = !more;
      cutter.count('entry replayed', entries.length);
      cutter.count('entry of another channel, replayed', entries.filter(({ length }) => length === 1).length);
      cutter.count(more ? 'packet of a replay that is not the last' : 'last packet of a replay');
    }
    const [, ack] = /^43\d+(\[.*)$/s.exec(text) || [];
    const [{ body, channels = {} }] = ack ? JSON.parse(ack) : [{}];
    if (Array.isArray(body)) this.resumed = cutter.subscribed = true;
    for (const [, , outcome] of Object.values(channels)) cutter.count(`channel ${outcome}`);
  }
}

/** Splits what a server sends into the head of its answer and its WebSocket frames, which are short or of 16 or 64 bits. */
function frames(onFrame) {
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
      onFrame(part, head ? '' : part.toString('utf8', start));
      head = false;
    }
  };
}

module.exports = { Cutter, ENDS, FINAL, POINTS };
