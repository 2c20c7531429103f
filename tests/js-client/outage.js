// The backend stops, forgets, stalls or is cut off: delivery goes on, and whoever may have missed something hears of it.
// OUTAGE_SECONDS makes all outages longer than CI has time for. Each backend has a file of its own, which run side by side.
const assert = require('node:assert/strict');
const { test } = require('node:test');
const { setTimeout: sleep } = require('node:timers/promises');
const { Redis } = require('./backends.js');
const { BACK, Cluster, memory } = require('./cluster.js');

const SECONDS = Number(process.env.OUTAGE_SECONDS || 1);
const PAGES = 12;
/** What hangs fails. */
const TIMEOUT = (60 + 3 * SECONDS) * 1000;
/**
 * As much as a server may grow by, however long an outage is. What it keeps of the channels is 50 MB if they are full, and it
 * may have to read all of that at once.
 */
const GROWTH = 128 * 1024 * 1024;

const links = (cluster) => cluster.nodes.map(({ link }) => link);
const pass = (seconds) => sleep(1000 * seconds);

/**
 * What happens to the backend, until it is there again. `noticed`: after how many seconds the servers must have noticed, if
 * at all; `turns`: whether each page must have heard of it; `recovers`: whether a page that goes elsewhere meanwhile misses nothing.
 */
const OUTAGES = {
  'stops': { noticed: 0, turns: true, async happen({ backend }, seconds) {
    await backend.crash();
    await pass(seconds);
    await backend.run();
  } },
  'comes back with what it knew': { noticed: 0, turns: true, happen: ({ backend }) => backend.restart() },
  'comes back empty': { noticed: 0, turns: true, happen: ({ backend }) => backend.restartEmpty() },
  'comes back with what it knew a while ago': { noticed: 0, turns: true, async happen({ backend }, seconds) {
    await backend.snapshot();
    await pass(seconds);
    await backend.restartOld();
  } },
  'fails over to one that knows less': { noticed: 0, turns: true, happen: (cluster, seconds) => cluster.failOver(seconds) },
  'stands still': { noticed: 5, recovers: true, async happen({ backend }, seconds) {
    backend.freeze();
    await pass(seconds);
    backend.thaw();
  } },
  'answers slowly': { recovers: true, async happen(cluster, seconds) {
    for (const link of links(cluster)) link.slow(300);
    await pass(seconds);
    for (const link of links(cluster)) link.heal();
  } },
  'refuses connections': { noticed: 0, turns: true, async happen(cluster, seconds) {
    for (const link of links(cluster)) link.refuse();
    await pass(seconds);
    for (const link of links(cluster)) link.heal();
  } },
  'is cut off from one server': { noticed: 0, turns: true, async happen({ nodes: [{ link }] }, seconds) {
    link.refuse();
    await pass(seconds);
    link.heal();
  } },
  'is a black hole for one server, which heals': { noticed: 5, recovers: true, async happen({ nodes: [{ link }] }, seconds) {
    link.hold();
    await pass(seconds);
    link.heal();
  } },
  'is a black hole for one server, which forgets': { noticed: 5, async happen({ nodes: [{ link }] }, seconds) {
    link.hold();
    await pass(seconds);
    link.forget();
  } },
  'is left by one server, which stands still': { recovers: true, async happen({ nodes: [{ server }] }, seconds) {
    server.signal('SIGSTOP');
    await pass(seconds);
    server.signal('SIGCONT');
  } },
};

/** Declares the tests of a backend. */
function testOutages(Backend) {
  const outages = Object.entries(OUTAGES).map(([name, outage]) => [name, outage, SECONDS]);
  if (Backend === Redis) outages.push(['evicts', { turns: true, happen: ({ backend }) => backend.evict() }, SECONDS]);
  if (SECONDS < 10) outages.push(['stands still', OUTAGES['stands still'], 10]);
  for (const [name, { noticed = Infinity, turns, recovers, happen }, seconds] of outages) {
    test(`${Backend.name} ${name}: ${seconds} s`, { timeout: TIMEOUT }, async (t) => {
      const cluster = await Cluster.start(t, Backend, ['a', 'b']);
      await cluster.open(PAGES);
      await cluster.write({}, ...cluster.nodes, undefined);
      for (const node of cluster.nodes) await cluster.echo(node);
      const before = cluster.nodes.map(memory);
      let over = false;
      // Some pages lose their connections meanwhile, and go elsewhere.
      const cutting = (async () => {
        for (let i = 0; !over; i++) {
          await sleep(100);
          cluster.pages[i % 4].way.cut();
        }
      })();
      await happen(cluster, seconds);
      const began = Date.now();
      over = true;
      await cutting;
      // A page that is cut off waits for a while before it tries again, which is not what is measured.
      await cluster.back(cluster.pages.filter(({ socket }) => socket.state === 'connected'));
      const back = Date.now() - began;
      await cluster.quiet();
      const verdicts = await cluster.settle();
      cluster.report(t, verdicts);
      const growth = cluster.nodes.map((node, i) => memory(node) - before[i]);
      t.diagnostic(`back after ${back} ms; ${growth.map((bytes) => (bytes / 1e6).toFixed(1))} MB more`);
      cluster.assertRight(verdicts);
      assert.ok(back < BACK, `back after ${back} ms`);
      assert.ok(growth.every((bytes) => bytes < GROWTH), `${growth} bytes more`);
      // Which server a page comes back to is chance.
      if (recovers) {
        cluster.assertAnyHappened('resubscribed on another server, recovered', 'resubscribed on the same server, recovered');
      }
      if (seconds >= noticed) {
        assert.ok(cluster.nodes.some(({ unready }) => unready > 0), 'some server was not ready');
        assert.ok(cluster.written.count('local') > 0, 'delivery went on');
      }
      if (turns || seconds >= noticed) cluster.assertHappened('gap outside an answer', 'epoch turned');
      if (turns) {
        const silent = cluster.pages.flatMap((page) => page.channels.filter((channel) => !page.of(channel).includes('gap')));
        assert.deepEqual(silent, [], 'everyone heard of it');
      }
    });
  }
}

module.exports = { testOutages };
