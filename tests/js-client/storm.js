// Many clients, cut all the time, while numbers are published; and what each of them heard of it.
const assert = require('node:assert/strict');
const { Cutter, POINTS } = require('./cutter.js');

/** How many ids of each kind of channel there are. */
const IDS = 4;

const any = (list) => list[Math.floor(Math.random() * list.length)];
const tick = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

/** The points at which a client's next connections end, after one that was cut at any time. */
const SEQUENCES = [
  [], [], ...Object.keys(POINTS).map((point) => [point]),
  ['inside a packet of a replay', 'between subscribe and ack'],
  ['between packets of a replay', 'between packets of a replay', 'between ack and replay'],
  ['as the connect is answered', 'as the connect is answered'],
];

/** What a page heard of each channel, numbers and `gap`, and from where on. Pages differ in how they get there. */
class Page {
  constructor(client, way) {
    Object.assign(this, { client, way, heard: {}, from: {} });
  }

  of(channel) { return this.heard[channel] = this.heard[channel] || []; }

  has(channel, number) { return this.of(channel).at(-1) === number; }

  /** The answer to a subscription says which was the last number of each channel. */
  starts(channels, numbers) {
    channels.forEach((channel, i) => {
      this.of(channel);
      this.from[channel] = Math.min(numbers[i], this.from[channel] ?? Infinity);
    });
  }
}

/** A page for each client, each with a way of its own to the server. */
async function pages(count, open, target, counts, options) {
  const all = [];
  for (let client = 0; client < count; client++) all.push(open(client, await new Cutter(target, counts, options).listen()));
  return all;
}

const send = async (method, url, value) => {
  const answer = await fetch(url, { method, body: JSON.stringify(value), headers: { 'content-type': 'application/json' } });
  assert.equal(answer.status, 200);
};
/** Publishes a number in each channel; some are padded, so that a replay takes several packets. */
const burst = (server, padding = 4096) => send('POST', `${server.url}/storm/burst`, { ids: IDS, padding });
/** By whom each number of each channel is; null: by nobody in particular. */
const published = async (server) => (await fetch(`${server.url}/storm/published`)).json();
/** A server goes on counting where another one was. */
const goOn = (server, numbers) => send('PUT', `${server.url}/storm/published`, numbers);

/** Holds what a page heard of a channel against what was published and by whom, up to `end`: nobody hears its own. */
function compare(page, channel, by, end) {
  const verdict = { heard: 0, lost: [], told: 0, doubled: [], disordered: [], own: [], gaps: 0 };
  let last = page.from[channel];
  let told = false;
  let highest = 0;
  const seen = new Set();
  const missedBefore = (number) => {
    for (let missed = last + 1; missed < number; missed++) {
      if (by[missed - 1] === page.client) continue;
      if (told) verdict.told += 1;
      else verdict.lost.push(missed);
    }
    last = Math.max(last, number);
    told = false;
  };
  for (const number of page.of(channel)) {
    if (number === 'gap') {
      told = true;
      verdict.gaps += 1;
      continue;
    }
    verdict.heard += 1;
    if (seen.has(number)) verdict.doubled.push(number);
    else if (number < highest) verdict.disordered.push(number);
    if (by[number - 1] === page.client) verdict.own.push(number);
    seen.add(number);
    highest = Math.max(highest, number);
    missedBefore(number);
  }
  missedBefore(end + 1);
  return verdict;
}

/**
 * Cuts and publishes until there was enough of both.
 * @param {Page[]} all
 * @param {Map<string, number>} counts
 * @param {{ server(): { url: string }, cuts: number, bursts: number, rate?: number, sequences?: string[][], padding?: number,
 *   each?: (page: Page) => void, halfway?: () => Promise<void> }} plan `rate`: cuts of each client in a second;
 *   `each`: what a client does after each burst, any of them; `halfway`: what happens to the server
 */
async function storm(all, counts, { server, cuts, bursts, rate = 1, sequences = SEQUENCES, padding, each, halfway }) {
  const pause = 1000 / rate / all.length;
  const duration = cuts * pause;
  const begin = Date.now();
  const late = () => assert.ok(Date.now() < begin + 20000 + 3 * duration, `too slow: ${JSON.stringify([...counts])}`);
  let over = false;
  const cutting = (async () => {
    while ((counts.get('cuts') || 0) < cuts) {
      late();
      any(all).way.cut(...any(sequences));
      await tick(pause);
    }
  })().finally(() => { over = true; });
  cutting.catch(() => {});
  for (let i = 0; i < bursts || !over; i++) {
    late();
    if (halfway && i === Math.floor(bursts / 2)) await halfway();
    await burst(server(), padding);
    if (each) each(any(all));
    await tick(Math.max(begin + (i + 1) * duration / bursts - Date.now(), 1));
  }
  await cutting;
  for (const { way } of all) way.points.length = 0;
}

/**
 * Waits until all pages have the last number of each of their channels. Returns by whom each number is, and the pages that
 * are still `behind`: to them nothing comes any more.
 */
async function settled(all, server, patience = 20000) {
  const deadline = Date.now() + patience;
  for (let round = 0; ; round++) {
    // Another last number, for those who were not back yet and lost what was not kept.
    if (round % 20 === 0) await burst(server());
    await tick(50);
    const numbers = await published(server());
    const behind = all.filter((page) => Object.keys(page.from).some((channel) => !page.has(channel, numbers[channel].length)));
    if (behind.length === 0 || Date.now() > deadline) return { numbers, behind };
  }
}

/** The sums of what went wrong, of all pages and channels; to whom nothing comes any more misses what came before `end`. */
function sums(all, numbers, end = numbers) {
  const verdict = (page) => (channel) => compare(page, channel, numbers[channel], end[channel].length);
  const verdicts = all.flatMap((page) => Object.keys(page.from).map(verdict(page)));
  const sum = (name) => verdicts.reduce((total, verdict) => total + (verdict[name].length ?? verdict[name]), 0);
  return Object.fromEntries(['heard', 'lost', 'told', 'doubled', 'disordered', 'own', 'gaps'].map((name) => [name, sum(name)]));
}

module.exports = { Page, IDS, goOn, pages, published, settled, storm, sums, tick };
