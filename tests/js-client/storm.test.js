// Nobody misses anything, or is told of it: many clients, cut all the time, while numbers are published.
// STORM_CLIENTS, STORM_CUTS and STORM_DELIVERIES make it larger than CI has time for.
const assert = require('node:assert/strict');
const { after, before, test } = require('node:test');
const { ENDS, POINTS } = require('./cutter.js');
const { OurPage } = require('./pages.js');
const { start } = require('./server.js');
const { IDS, goOn, pages, published, settled, storm, sums } = require('./storm.js');

const size = (name, usual) => Number(process.env[`STORM_${name}`] || usual);
const CLIENTS = size('CLIENTS', 40);
const CUTS = size('CUTS', 400);
const DELIVERIES = size('DELIVERIES', 20000);

let server;
before(async () => { server = await start('channel-app'); });
after(() => server.stop());

/** Pages of our own client, closed with the test, and what happens to them. */
async function open(t, count, { target = () => server, options, way } = {}) {
  const counts = new Map();
  const all = await pages(count, (client, cutter) => new OurPage(client, cutter, options), () => target().url, counts, way);
  t.after(() => all.forEach((page) => page.close()));
  return { all, counts };
}

/** Prints what happened, and returns what went wrong. */
function report(t, { all, counts }, { numbers, behind }) {
  const outcomes = all.flatMap((page) => page.outcomes);
  counts.set('dropped by the client', all.reduce((total, { socket }) => total + socket.duplicates, 0));
  counts.set('resubscribed, recovered', outcomes.filter(Boolean).length);
  counts.set('resubscribed, not recovered', outcomes.filter((recovered) => !recovered).length);
  counts.set('number that its writer does not hear', Object.values(numbers).flat().filter((by) => by !== null).length);
  const result = sums(all, numbers);
  t.diagnostic(JSON.stringify(result));
  for (const [what, times] of [...counts].sort()) t.diagnostic(`${what}: ${times}`);
  const states = behind.slice(0, 5).map(({ client, socket, heard }) =>
    [client, socket.state, ...Object.entries(heard).map(([channel, all]) => [channel, all.slice(-3), numbers[channel]?.length])]);
  assert.equal(behind.length, 0, `not all hear: ${JSON.stringify(states)}`);
  assert.deepEqual(all.flatMap(({ lost }) => lost), [], 'no subscription was refused');
  return result;
}

const happened = (counts, ...paths) => {
  for (const path of paths) assert.ok(counts.get(path) > 0, `this never happened: ${path}`);
};
const CUT_PATHS = [
  ...Object.keys(ENDS).map((how) => `cut by ${how}`), ...Object.keys(POINTS).map((point) => `cut ${point}`),
  'cut during a first resume', 'cut during a second or later resume', 'cut again with nothing heard between',
];

test('with history nothing is lost, doubled or out of order', async (t) => {
  const { all, counts } = await open(t, CLIENTS);
  const subscribed = Promise.all(all.map(async (page) => {
    const id = page.client % IDS;
    // What goes to both channels is heard once, too.
    await page.subscribe(`/storm/${id}`, `long:${id}`, `shared:${id}`, `both:${id}`);
    if (page.client % 2) await page.subscribe(`/storm/${id}/again`, `long:${id}`);
  }));
  await storm(all, counts, {
    server: () => server,
    cuts: CUTS,
    bursts: Math.ceil(DELIVERIES / CLIENTS / 2),
    each: (page) => page.post(`/storm/${page.client % IDS}/by/${page.client}`),
  });
  await subscribed;
  const { heard, ...wrong } = report(t, { all, counts }, await settled(all, () => server));
  assert.deepEqual(wrong, { lost: 0, told: 0, doubled: 0, disordered: 0, own: 0, gaps: 0 });
  assert.ok(heard >= DELIVERIES, `only ${heard} deliveries`);
  happened(counts, ...CUT_PATHS, 'entry', 'entry replayed', 'packet of a replay that is not the last',
    'entry of another channel', 'entry of another channel, replayed',
    'channel fresh', 'channel recovered', 'resubscribed, recovered', 'number that its writer does not hear');
});

test('over long-polling nothing is lost, doubled or out of order either', async (t) => {
  const options = { io: require('socket.io-client'), transports: ['polling'] };
  const { all, counts } = await open(t, Math.ceil(CLIENTS / 4), { options, way: { websocket: false } });
  const subscribed = Promise.all(all.map((page) => page.subscribe(`/storm/${page.client % IDS}/again`, `long:${page.client % IDS}`)));
  await storm(all, counts, { server: () => server, cuts: Math.ceil(CUTS / 8), bursts: 100, sequences: [[]] });
  await subscribed;
  const { heard, ...wrong } = report(t, { all, counts }, await settled(all, () => server));
  assert.deepEqual(wrong, { lost: 0, told: 0, doubled: 0, disordered: 0, own: 0, gaps: 0 });
  assert.ok(heard > 0);
  happened(counts, ...Object.keys(ENDS).map((how) => `cut by ${how}`), 'resubscribed, recovered');
});

test('with too short a history each loss is told', async (t) => {
  const { all, counts } = await open(t, Math.ceil(CLIENTS / 2));
  const subscribed = Promise.all(all.map((page) => page.subscribe(`/storm/${page.client % IDS}/short`, `short:${page.client % IDS}`)));
  await storm(all, counts, { server: () => server, cuts: Math.ceil(CUTS / 8), bursts: 100 });
  await subscribed;
  const { heard, told, gaps, ...wrong } = report(t, { all, counts }, await settled(all, () => server));
  assert.deepEqual(wrong, { lost: 0, doubled: 0, disordered: 0, own: 0 });
  assert.ok(heard > 0 && told > 0 && gaps > 0);
  happened(counts, 'channel gap', 'channel recovered', 'entry replayed', 'resubscribed, recovered', 'resubscribed, not recovered');
});

test('a server that starts anew is a gap to everybody, in idle channels too', async (t) => {
  let current = await start('channel-app');
  t.after(() => current.stop());
  const { all, counts } = await open(t, Math.ceil(CLIENTS / 2), { target: () => current });
  const idle = ({ client }) => IDS + client;
  const subscribed = Promise.all(all.map(async (page) => {
    await page.subscribe(`/storm/${page.client % IDS}`, `long:${page.client % IDS}`, `shared:${page.client % IDS}`);
    await page.subscribe(`/storm/${idle(page)}/again`, `long:${idle(page)}`);
  }));
  let numbers;
  const halfway = async () => {
    await subscribed;
    numbers = await published(current);
    const [old, next] = [current, await start('channel-app')];
    await goOn(next, numbers);
    current = next;
    await old.stop('SIGKILL');
  };
  await storm(all, counts, { server: () => current, cuts: Math.ceil(CUTS / 8), bursts: 100, halfway });
  // In an idle channel nothing is published before all of them must have heard.
  const talking = all.map((page) => {
    const { [`long:${idle(page)}`]: quiet, ...from } = page.from;
    assert.equal(quiet, 0);
    return Object.assign(page, { from });
  });
  const { heard, told, gaps, ...wrong } = report(t, { all, counts }, await settled(talking, () => current));
  assert.deepEqual(wrong, { lost: 0, doubled: 0, disordered: 0, own: 0 });
  assert.ok(heard > 0);
  for (const page of all) assert.deepEqual(page.heard[`long:${idle(page)}`], ['gap'], `client ${page.client}`);
  for (const { client, heard } of all) {
    for (const channel of ['long', 'shared']) assert.ok(heard[`${channel}:${client % IDS}`].includes('gap'), `client ${client}`);
  }
  happened(counts, 'channel gap', 'resubscribed, not recovered');
});
