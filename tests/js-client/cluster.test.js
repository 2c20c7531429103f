// Several servers on one backend: nothing is lost, doubled or out of order while they stop, start and die.
// CLUSTER_DELIVERIES makes the load larger than CI has time for.
const assert = require('node:assert/strict');
const { test } = require('node:test');
const { Postgres, Redis } = require('./backends.js');
const { Cluster } = require('./cluster.js');

const DELIVERIES = Number(process.env.CLUSTER_DELIVERIES || 100000);
const PAGES = 40;
/** What hangs fails. */
const TIMEOUT = 60000 + DELIVERIES;

for (const Backend of [Redis, Postgres]) {
  test(`${Backend.name}: through a rolling restart of three servers nothing is lost, doubled or out of order`, { timeout: TIMEOUT }, async (t) => {
    const cluster = await Cluster.start(t, Backend, ['a', 'b', 'c']);
    await cluster.open(PAGES);
    await cluster.write({}, undefined, undefined, undefined, undefined, undefined, undefined);
    const heard = () => cluster.pages.flatMap((page) => page.channels.map((channel) => page.of(channel).length)).reduce((a, b) => a + b);
    for (let round = 0; round === 0 || heard() < DELIVERIES; round++) {
      for (const node of [...cluster.nodes]) await Promise.all([cluster.stop(node), cluster.launch(`${node.name}${round}`)]);
    }
    await cluster.quiet();
    const verdicts = await cluster.settle();
    cluster.report(t, verdicts);
    cluster.assertRight(verdicts);
    const { gaps, told } = verdicts.kept;
    assert.deepEqual({ gaps, told }, { gaps: 0, told: 0 }, 'where there is a history nobody needs to be told');
    const { written } = cluster;
    assert.deepEqual([written.count('local'), written.count('unknown')], [0, 0]);
    cluster.assertHappened('told to move', 'number replayed', 'channel recovered', 'resubscribed on another server, recovered');
  });
}
