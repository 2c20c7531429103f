// Nobody misses anything, or is told of it: many clients, cut all the time, while numbers are published.
// STORM_CLIENTS, STORM_CUTS and STORM_DELIVERIES make it larger than CI has time for.
const assert = require('node:assert/strict');
const { once } = require('node:events');
const { after, before, test } = require('node:test');
const WebSocket = require('ws');
const { connect } = require('../../runtime/client/catamaran.io.js');
const { Cutter, ENDS, POINTS } = require('./cutter.js');
const { start } = require('./server.js');
const { within } = require('./within.js');

const size = (name, usual) => Number(process.env[`STORM_${name}`] || usual);
const CLIENTS = size('CLIENTS', 40);
const CUTS = size('CUTS', 400);
const DELIVERIES = size('DELIVERIES', 20000);
const IDS = 4;
const PADDING = 4096;
/** Of each client. */
const CUTS_PER_SECOND = 1;
const TIMEOUT = 20000 + 3000 * CUTS / CLIENTS;

let server;
before(async () => { server = await start('channel-app'); });
after(() => server.stop());

const any = (list) => list[Math.floor(Math.random() * list.length)];
const tick = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

/** The sequences of points at which a client's next connections end. */
const SEQUENCES = [
  [], [], ...Object.keys(POINTS).map((point) => [point]),
  ['inside a packet of a replay', 'between subscribe and ack'],
  ['between packets of a replay', 'between packets of a replay', 'between ack and replay'],
  ['as the connect is answered', 'as the connect is answered'],
];

/** A page that subscribes, and writes down what it hears of each channel: numbers, and `gap`. */
class Page {
  constructor(client, way) {
    Object.assign(this, { client, way, heard: {}, from: {}, outcomes: [], lost: [] });
    this.socket = connect(way.url, { WebSocket, reconnectionDelay: 50, reconnectionDelayMax: 100 });
    this.socket.on('number', ({ channel, number }) => this.of(channel).push(number));
    this.socket.on('gap', ({ channel }) => this.of(channel).push('gap'));
    this.socket.on('resubscribed', ({ recovered }) => this.outcomes.push(recovered));
    this.socket.on('lost', (lost) => this.lost.push(lost));
  }

  of(channel) { return this.heard[channel] = this.heard[channel] || []; }

  /** By a GET whose answer tells the last numbers of the channels, however often it takes. */
  async subscribe(url, ...channels) {
    for (;;) {
      const jwr = await this.socket.get(url).catch(({ code }) => assert.equal(code, 'disconnected'));
      if (!jwr) continue;
      assert.equal(jwr.statusCode, 200);
      channels.forEach((channel, i) => {
        this.of(channel);
        this.from[channel] = Math.min(jwr.body[i], this.from[channel] ?? Infinity);
      });
      return;
    }
  }

  has(channel, number) { return this.of(channel).at(-1) === number; }

  close() {
    if (this.socket.state !== 'disconnected') this.socket.disconnect();
    this.way.close();
  }
}

async function pages(t, count, counts, target = () => server.url) {
  const all = [];
  t.after(() => all.forEach((page) => page.close()));
  for (let client = 0; client < count; client++) all.push(new Page(client, await new Cutter(target, counts).listen()));
  return all;
}

const burst = async () => {
  const body = JSON.stringify({ ids: IDS, padding: PADDING });
  const answer = await fetch(`${server.url}/storm/burst`, { method: 'POST', body, headers: { 'content-type': 'application/json' } });
  assert.equal(answer.status, 200);
};
const published = async () => (await fetch(`${server.url}/storm/published`)).json();

/** Holds what a page heard of a channel against what was published and by whom. */
function compare(page, channel, by) {
  const verdict = { heard: 0, lost: [], doubled: [], disordered: [], own: [], gaps: 0 };
  let last = page.from[channel];
  let told = false;
  const seen = new Set();
  for (const number of page.of(channel)) {
    if (number === 'gap') {
      told = true;
      verdict.gaps += 1;
      continue;
    }
    verdict.heard += 1;
    if (seen.has(number)) verdict.doubled.push(number);
    else if (number < last) verdict.disordered.push(number);
    if (by[number - 1] === page.client) verdict.own.push(number);
    seen.add(number);
    for (let missed = last + 1; missed < number; missed++) {
      if (!told && by[missed - 1] !== page.client) verdict.lost.push(missed);
    }
    last = Math.max(last, number);
    told = false;
  }
  if (last !== by.length) verdict.lost.push(`the last, ${by.length}`);
  return verdict;
}

/** Cuts and publishes until there was enough of both. */
async function storm(all, cuts, bursts, counts) {
  const deadline = Date.now() + TIMEOUT;
  const late = () => assert.ok(Date.now() < deadline, `too slow: ${JSON.stringify([...counts])}`);
  const pause = 1000 / CUTS_PER_SECOND / all.length;
  const begin = Date.now();
  const cutting = (async () => {
    while ((counts.get('cuts') || 0) < cuts) {
      late();
      any(all).way.cut(any(Object.keys(ENDS)), ...any(SEQUENCES));
      await tick(pause);
    }
  })();
  let over = false;
  cutting.finally(() => { over = true; }).catch(() => {});
  const duration = cuts * pause;
  for (let i = 0; i < bursts || !over; i++) {
    late();
    await burst();
    const { socket, client } = any(all);
    socket.post(`/storm/${client % IDS}/by/${client}`, {}).catch(() => {});
    const ahead = begin + (i + 1) * duration / bursts - Date.now();
    await tick(Math.max(ahead, 1));
  }
  await cutting;
  for (const { way } of all) way.points.length = 0;
}

/** Waits until all pages have the last number of each of their channels, and returns by whom each number is. */
async function settled(all) {
  const deadline = Date.now() + 15000;
  let numbers = {};
  for (let round = 0; ; round++) {
    const behind = all.filter((page) => Object.keys(page.from).some((channel) => !page.has(channel, numbers[channel]?.length)));
    if (round > 0 && behind.length === 0) return numbers;
    const why = () => behind.slice(0, 5).map((page) => [page.client, page.socket.state, page.lost,
      ...Object.keys(page.from).map((channel) => [channel, page.of(channel).slice(-3), numbers[channel]?.length])]);
    if (Date.now() > deadline) assert.fail(`not all hear: ${behind.length} ${JSON.stringify(why())}`);
    // Another last number, for those who were not back yet and lost what was not kept.
    if (round % 20 === 0) await burst();
    await tick(50);
    numbers = await published();
  }
}

/** Prints what happened, and returns the sums of the verdicts. */
function report(t, all, counts, verdicts) {
  const sum = (name) => verdicts.reduce((total, verdict) => total + (verdict[name].length ?? verdict[name]), 0);
  counts.set('dropped by the client', all.reduce((total, { socket }) => total + socket.duplicates, 0));
  counts.set('resubscribed, recovered', all.flatMap(({ outcomes }) => outcomes).filter(Boolean).length);
  counts.set('resubscribed, not recovered', all.flatMap(({ outcomes }) => outcomes).filter((recovered) => !recovered).length);
  const names = ['heard', 'lost', 'doubled', 'disordered', 'own', 'gaps'];
  const result = Object.fromEntries(names.map((name) => [name, sum(name)]));
  t.diagnostic(JSON.stringify(result));
  for (const [what, times] of [...counts].sort()) t.diagnostic(`${what}: ${times}`);
  return result;
}

const happened = (counts, ...paths) => {
  for (const path of paths) assert.ok(counts.get(path) > 0, `this never happened: ${path}`);
};
const CUT_PATHS = [...Object.keys(ENDS).map((how) => `cut by ${how}`), ...Object.keys(POINTS).map((point) => `cut ${point}`)];

const verdictsOf = (all, numbers) =>
  all.flatMap((page) => Object.keys(page.from).map((channel) => compare(page, channel, numbers[channel])));

test('with history nothing is lost, doubled or out of order', async (t) => {
  const counts = new Map();
  const all = await pages(t, CLIENTS, counts);
  const subscribed = Promise.all(all.map(async (page) => {
    const id = page.client % IDS;
    // What goes to both channels is heard once, too.
    await page.subscribe(`/storm/${id}`, `long:${id}`, `shared:${id}`, `both:${id}`);
    if (page.client % 2) await page.subscribe(`/storm/${id}/again`, `long:${id}`);
  }));
  await storm(all, CUTS, Math.ceil(DELIVERIES / CLIENTS / 2), counts);
  await subscribed;
  const numbers = await settled(all);
  const verdicts = verdictsOf(all, numbers);
  counts.set('number that its writer does not hear', Object.values(numbers).flat().filter((by) => by !== null).length);
  const { heard, ...wrong } = report(t, all, counts, verdicts);
  assert.deepEqual(wrong, { lost: 0, doubled: 0, disordered: 0, own: 0, gaps: 0 });
  assert.deepEqual(all.flatMap(({ lost }) => lost), []);
  assert.ok(heard >= DELIVERIES, `only ${heard} deliveries`);
  happened(counts, ...CUT_PATHS, 'entry', 'entry replayed', 'packet of a replay that is not the last',
    'entry of another channel', 'entry of another channel, replayed',
    'channel fresh', 'channel recovered', 'resubscribed, recovered', 'number that its writer does not hear');
});

test('with too short a history each loss is told', async (t) => {
  const counts = new Map();
  const all = await pages(t, Math.ceil(CLIENTS / 2), counts);
  const subscribed = Promise.all(all.map((page) => page.subscribe(`/storm/${page.client % IDS}/short`, `short:${page.client % IDS}`)));
  await storm(all, Math.ceil(CUTS / 8), 100, counts);
  await subscribed;
  const { heard, gaps, ...wrong } = report(t, all, counts, verdictsOf(all, await settled(all)));
  assert.deepEqual(wrong, { lost: 0, doubled: 0, disordered: 0, own: 0 });
  assert.ok(heard > 0 && gaps > 0);
  happened(counts, 'channel gap', 'channel recovered', 'entry replayed', 'resubscribed, recovered', 'resubscribed, not recovered');
});

test('a server that starts anew is a gap to everybody, in idle channels too', async (t) => {
  let current = await start('channel-app');
  t.after(() => current.stop());
  const all = await pages(t, Math.ceil(CLIENTS / 2), new Map(), () => current.url);
  await within(Promise.all(all.map((page) => page.subscribe(`/storm/${page.client}`, `long:${page.client}`, `shared:${page.client}`))), 'the answers');
  const told = Promise.all(all.map(({ socket }) => once(socket, 'resubscribed')));
  const next = await start('channel-app');
  const old = current;
  current = next;
  await old.stop();
  await within(told, 'the news of the new server');
  for (const { heard, outcomes } of all) {
    assert.deepEqual(Object.values(heard), [['gap'], ['gap']]);
    assert.deepEqual(outcomes, [false]);
  }
});
