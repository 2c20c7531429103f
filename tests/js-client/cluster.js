// Several servers of `cluster-app` on one backend, the pages that listen to them, and the writers.
const assert = require('node:assert/strict');
const { once } = require('node:events');
const { connect: dial, createServer } = require('node:net');
const { setTimeout: sleep } = require('node:timers/promises');
const WebSocket = require('ws');
const { connect } = require('./client.js').catamaran;
const { until } = require('./backends.js');
const { GAP, Written, judge } = require('./judge.js');
const { Link } = require('./link.js');
const { binary, run } = require('./server.js');

/** How many channels of each kind there are; a page is in two of each. */
const IDS = 4;
const KINDS = ['kept', 'unkept'];
/** How often a balancer asks whether a server is ready. */
const ASK = 50;
/** How soon a server must be back when its backend is. */
const BACK = 5000;

const any = (list) => list[Math.floor(Math.random() * list.length)];

class Cluster {
  /** Servers that are all ready, closed with the test. */
  static async start(t, Backend, names) {
    const cluster = new Cluster();
    cluster.backend = await Backend.start();
    cluster.target = cluster.backend;
    t.after(() => cluster.close());
    await Promise.all(names.map((name) => cluster.launch(name)));
    return cluster;
  }

  constructor() {
    Object.assign(this, { nodes: [], pages: [], writers: [], replicas: [], written: new Written(), counts: new Map() });
  }

  count(what, by = 1) { this.counts.set(what, (this.counts.get(what) || 0) + by); }

  /** Another server, with a way of its own to the backend. */
  async launch(name) {
    const link = await new Link(() => this.target.port).listen();
    const program = binary('cluster-app', '--package', 'catamaran-tests', '--features', 'backends');
    const server = await run(program, [name], this.backend.environment(link.port));
    const node = { name, link, server, ready: false, unready: 0, alive: true, stop: new AbortController() };
    this.nodes.push(node);
    watch(node);
    await until(`${name} to be ready`, () => node.ready);
    return node;
  }

  node(name) { return this.nodes.find((node) => node.name === name); }

  /** Stops a server as an orchestrator does, or kills it. */
  async stop(node, signal) {
    if (signal === 'SIGKILL') node.alive = node.ready = false;
    await node.server.stop(signal);
    node.alive = node.ready = false;
    node.stop.abort();
    node.link.close();
    this.nodes = this.nodes.filter((other) => other !== node);
  }

  /** Pages, each in two channels of each kind, and spread over all servers. */
  async open(count) {
    for (let i = 0; i < count; i++) this.pages.push(await Page.open(this, this.pages.length));
    await Promise.all(this.pages.map((page) => page.subscribed));
  }

  /** Writers that write until `quiet`; on one server, or wherever there is one. */
  async write(options, ...nodes) {
    for (const node of nodes) this.writers.push(await Writer.start(this, options, node));
  }

  async quiet() {
    await Promise.all(this.writers.splice(0).map((writer) => writer.end()));
  }

  /** Replaces the backend by another, which knew what this one did until a while ago. */
  async failOver(seconds) {
    const replica = await this.backend.replicate();
    this.replicas.push(replica);
    await replica.promote();
    await sleep(1000 * seconds);
    await this.backend.crash();
    this.target = replica;
  }

  /** Waits until all servers are ready, and these pages hear of each of them. */
  async back(pages = this.pages) {
    await until('all servers to be ready', () => this.nodes.every(({ ready }) => ready));
    await Promise.all(this.nodes.map((node) => this.echo(node, pages)));
  }

  /** Waits until all pages have heard everything, or of the gap. Returns what was wrong, by kind of channel. */
  async settle() {
    await this.back();
    let verdicts;
    const right = () => {
      verdicts = this.judge();
      return KINDS.every((kind) => verdicts[kind].lost.length === 0);
    };
    await until('all pages to have heard of everything', right).catch(() => {});
    return verdicts;
  }

  judge() {
    const verdict = (kind) => {
      const pages = this.pages.map((page) => ({ of: (channel) => page.of(channel), channels: page.channels.filter((channel) => channel.startsWith(kind)) }));
      const written = { outcomes: new Map([...this.written.outcomes].filter(([channel]) => channel.startsWith(kind))) };
      return [kind, judge(pages, written)];
    };
    return Object.fromEntries(KINDS.map(verdict));
  }

  /** Writes on a server until these pages hear it. */
  async echo(node, pages = this.pages) {
    const writer = await Writer.make(this, { count: 1 }, node);
    await until(`the pages to hear of ${node.name}`, async () => {
      await writer.batch();
      await sleep(10);
      return pages.every((page) => page.channels.every((channel) => page.heardOf(channel, writer.name)));
    });
    writer.close();
  }

  report(t, verdicts) {
    const outcomes = ['delivered', 'local', 'unknown'].map((outcome) => [outcome, this.written.count(outcome)]);
    t.diagnostic(JSON.stringify(Object.fromEntries(outcomes)));
    for (const [kind, { lost, doubled, disordered, ...sums }] of Object.entries(verdicts)) {
      const first = (all) => [all.length, ...all.slice(0, 3).map((each) => each.join(' '))].join(', ');
      const wrong = { lost: first(lost), doubled: first(doubled), disordered: first(disordered) };
      t.diagnostic(`${kind}: ${JSON.stringify({ ...wrong, ...sums })}`);
    }
    for (const [what, times] of [...this.counts].sort()) t.diagnostic(`${what}: ${times}`);
  }

  /** Nothing was lost without a word, doubled or out of order. */
  assertRight(verdicts) {
    for (const [kind, verdict] of Object.entries(verdicts)) {
      const { lost, doubled, disordered, contradictory } = verdict;
      assert.deepEqual({ kind, lost: lost.length, doubled: doubled.length, disordered: disordered.length, contradictory },
        { kind, lost: 0, doubled: 0, disordered: 0, contradictory: 0 });
    }
    assert.deepEqual(this.pages.flatMap(({ lost }) => lost), [], 'no subscription was refused');
  }

  assertHappened(...paths) {
    for (const path of paths) assert.ok(this.counts.get(path) > 0, `this never happened: ${path}`);
  }

  assertAnyHappened(...paths) {
    assert.ok(paths.some((path) => this.counts.get(path) > 0), `none of these happened: ${paths}`);
  }

  async close() {
    for (const writer of this.writers) writer.close();
    for (const page of this.pages) page.close();
    for (const node of this.nodes) node.stop.abort();
    await Promise.all(this.nodes.map(({ server }) => server.stop('SIGKILL')));
    for (const { link } of this.nodes) link.close();
    for (const backend of [this.backend, ...this.replicas]) await backend.close();
  }
}

/** Asks a server all the time whether it is ready. */
async function watch(node) {
  const { signal } = node.stop;
  while (!signal.aborted) {
    const ask = fetch(`${node.server.url}/health/ready`, { signal: AbortSignal.any([signal, AbortSignal.timeout(1000)]) });
    const ready = await ask.then(({ ok }) => ok, () => false) && !signal.aborted && node.alive;
    if (node.ready && !ready) node.unready += 1;
    node.ready = ready;
    await sleep(ASK);
  }
}

/** A balancer for one client: a connection goes to a server that is ready, and not to the last. */
class Way {
  constructor(cluster, fixed) {
    Object.assign(this, { cluster, fixed, sockets: new Set() });
    this.listener = createServer((near) => this.connected(near));
  }

  async listen() {
    this.listener.listen(0, '127.0.0.1');
    await once(this.listener, 'listening');
    this.url = `http://127.0.0.1:${this.listener.address().port}`;
    return this;
  }

  choose() {
    if (this.fixed) return this.fixed;
    const { nodes } = this.cluster;
    const kinds = [
      nodes.filter((node) => node.ready && node !== this.last), nodes.filter((node) => node.ready),
      nodes.filter((node) => node.alive && node !== this.last), nodes.filter((node) => node.alive),
    ];
    return any(kinds.find((kind) => kind.length > 0) || [undefined]);
  }

  connected(near) {
    const node = this.last = this.choose();
    if (!node) return near.destroy();
    const far = dial(new URL(node.server.url).port, '127.0.0.1');
    for (const [from, to] of [[near, far], [far, near]]) {
      this.sockets.add(from);
      from.setNoDelay().on('error', () => to.destroy()).on('close', () => {
        this.sockets.delete(from);
        to.destroy();
      }).pipe(to);
    }
  }

  cut() { for (const socket of this.sockets) socket.destroy(); }

  close() {
    this.listener.close();
    this.cut();
  }
}

/** A page of our own client, which writes down what it hears. */
class Page {
  /** `node`: the only server that it goes to. */
  static async open(cluster, number, options, node) {
    const page = new Page();
    Object.assign(page, { cluster, number, heard: {}, last: {}, epochs: {}, lost: [], words: [] });
    page.way = await new Way(cluster, node).listen();
    page.ids = [number % IDS, (number + 1) % IDS];
    page.channels = page.ids.flatMap((id) => KINDS.map((kind) => `${kind}:${id}`));
    class Counted extends WebSocket {
      constructor(...args) {
        super(...args);
        this.on('message', (frame) => page.saw(frame.toString()));
      }
    }
    page.socket = connect(page.way.url, { WebSocket: Counted, ...options });
    page.socket.on('number', ({ channel, writer, number }) => {
      page.of(channel).push([writer, number]);
      (page.last[channel] = page.last[channel] || new Set()).add(writer);
    });
    page.socket.on('word', (word) => page.words.push(word));
    page.socket.on('gap', ({ channel }) => page.of(channel).push(GAP));
    page.socket.on('lost', (lost) => page.lost.push(lost));
    const on = new Map();
    page.socket.on('resubscribed', ({ url, body, recovered }) => {
      cluster.count(`resubscribed on ${body === on.get(url) ? 'the same' : 'another'} server, ${recovered ? '' : 'not '}recovered`);
      on.set(url, body);
    });
    page.subscribed = Promise.all(page.ids.flatMap((id) => KINDS.map(async (kind) => {
      const url = `/channels/${id}/${kind}`;
      const { statusCode, body } = await page.socket.get(url);
      assert.equal(statusCode, 200);
      on.set(url, body);
    })));
    return page;
  }

  of(channel) { return this.heard[channel] = this.heard[channel] || []; }

  heardOf(channel, writer) { return this.last[channel]?.has(writer); }

  /** What a frame says of the ways by which a page is kept right. */
  saw(frame) {
    const { cluster } = this;
    const [, kind] = /^42\["(\$?\w+)"/.exec(frame) || [];
    if (kind === '$replay') cluster.count('number replayed', JSON.parse(frame.slice(2))[2].length);
    if (kind === '$drain') cluster.count('told to move');
    if (kind === '$gap') {
      const [, channel, epoch] = JSON.parse(frame.slice(2));
      cluster.count('gap outside an answer');
      this.epoch(channel, epoch);
    }
    const [, ack] = /^43\d+(\[.*)$/s.exec(frame) || [];
    const [{ channels = {} }] = ack ? JSON.parse(ack) : [{}];
    for (const [channel, [epoch, , outcome]] of Object.entries(channels)) {
      cluster.count(`channel ${outcome}`);
      this.epoch(channel, epoch);
    }
  }

  epoch(channel, epoch) {
    if (this.epochs[channel] && this.epochs[channel] !== epoch) this.cluster.count('epoch turned');
    this.epochs[channel] = epoch;
  }

  close() {
    if (this.socket.state !== 'disconnected') this.socket.disconnect();
    this.way.close();
  }
}

/** Writes numbers to all channels, and notes what became of each. */
class Writer {
  static made = 0;

  static async make(cluster, { count = 5, pause = 20 }, node) {
    const writer = new Writer();
    Object.assign(writer, { cluster, count, pause, node, name: `w${Writer.made++}`, next: 1, over: false });
    writer.way = await new Way(cluster, node).listen();
    writer.socket = connect(writer.way.url, { WebSocket, queueExpiry: 0 });
    return writer;
  }

  static async start(...args) {
    const writer = await Writer.make(...args);
    writer.running = writer.run();
    writer.running.catch(() => {});
    return writer;
  }

  async run() {
    while (!this.over) {
      await this.batch();
      await sleep(this.pause * 2 * Math.random());
    }
  }

  /** The next numbers, in all channels at once. */
  async batch() {
    const from = this.next;
    this.next += this.count;
    await Promise.all(Array.from({ length: IDS }, (_, id) => this.numbers(id, from)));
  }

  async numbers(id, from) {
    const { cluster, count, name } = this;
    const outcomes = KINDS.map((kind) => cluster.written.of(`${kind}:${id}`, name));
    // As long as no answer came, nobody knows.
    for (const kind of outcomes) kind.push(...Array(count).fill('unknown'));
    for (;;) {
      try {
        const { statusCode, body } = await this.socket.post('/numbers', { writer: name, id, from, count });
        assert.equal(statusCode, 200);
        body.forEach((each, i) => each.forEach((outcome, kind) => { outcomes[kind][from - 1 + i] = outcome; }));
        return;
      } catch (error) {
        if (error.sent) return cluster.count('write without an answer');
        if (this.over || error.sent === undefined) throw error;
      }
    }
  }

  async end() {
    this.over = true;
    await this.running;
    this.close();
  }

  close() {
    this.over = true;
    if (this.socket.state !== 'disconnected') this.socket.disconnect();
    this.way.close();
  }
}

/** The bytes of memory that a server has. */
function memory({ server }) {
  const status = require('node:fs').readFileSync(`/proc/${server.pid}/status`, 'utf8');
  return Number(/VmRSS:\s*(\d+) kB/.exec(status)[1]) * 1024;
}

module.exports = { BACK, Cluster, IDS, KINDS, Page, Writer, memory };
