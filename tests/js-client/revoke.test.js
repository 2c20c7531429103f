// What concerns all servers: counted, listed, moved, sent and closed on each of them, or said of whom it may not be.
const assert = require('node:assert/strict');
const { test } = require('node:test');
const { Postgres, Redis, until } = require('./backends.js');
const { Cluster, Page } = require('./cluster.js');

/** How soon the sockets of a server that died are not counted any more. */
const GHOSTS = 5000;
/** What hangs fails. */
const TIMEOUT = 60000;

const done = async (asking) => {
  const { statusCode, body } = await asking;
  assert.equal(statusCode, 200, JSON.stringify(body));
  return body;
};
const sockets = async (asking) => {
  const { sockets, unreached } = await done(asking);
  assert.equal(unreached, null, 'all were reached');
  return sockets;
};

for (const Backend of [Redis, Postgres]) {
  /** Two servers, with a page of each, both in the channel 0; and two more with tags. */
  const start = async (t) => {
    const cluster = await Cluster.start(t, Backend, ['a', 'b']);
    const [a, b] = cluster.nodes;
    const pages = await Promise.all([a, b, a, b].map((node, i) => Page.open(cluster, 0, { auth: { tag: i < 2 ? 'kept' : 'revoked' } }, node)));
    cluster.pages.push(...pages);
    await Promise.all(pages.map(({ subscribed }) => subscribed));
    return { cluster, a, b, pages };
  };

  test(`${Backend.name}: what is asked of all servers is done on each`, { timeout: TIMEOUT }, async (t) => {
    const { cluster, pages } = await start(t);
    const [{ socket: one }, { socket: two }] = pages;
    assert.equal(await sockets(one.get('/channels/0/count')), 4);
    const ids = await done(two.get('/channels/0/members'));
    assert.deepEqual(ids.toSorted(), pages.map(({ socket }) => socket._raw.id).toSorted());

    assert.equal(await done(one.post('/sockets', { word: 'to all' })), 4);
    assert.equal(await done(one.post('/sockets', { word: 'to the others', except: true })), 3);
    assert.equal(await done(one.post(`/sockets/${two._raw.id}`, { word: 'to two' })), true);
    assert.equal(await done(one.post('/sockets/nobody', { word: 'to nobody' })), false);
    await until('the words', () => pages[1].words.length === 3 && pages[3].words.length === 2);
    assert.deepEqual(pages.map(({ words }) => words.join()),
      ['to all', 'to all,to the others,to two', 'to all,to the others', 'to all,to the others']);

    const numbers = { writer: 'one', id: 0, from: 1, count: 1, except: true };
    assert.deepEqual(await done(one.post('/numbers', numbers)), [['delivered', 'delivered']]);
    await until('the number', () => pages.slice(1).every((page) => page.heardOf('kept:0', 'one')));
    assert.equal(pages[0].heardOf('kept:0', 'one'), undefined);

    assert.equal(await sockets(one.post('/channels/9/members/0')), 4);
    assert.equal(await sockets(two.get('/channels/9/count')), 4);
    assert.equal(await sockets(one.delete('/channels/9/members/0')), 4);
    assert.equal(await sockets(two.get('/channels/9/count')), 0);
    assert.equal(await sockets(one.post('/channels/9/members/0')), 4);
    assert.equal(await sockets(two.delete('/channels/9/members')), 4);
    assert.equal(await sockets(one.get('/channels/9/count')), 0);
    assert.equal(await sockets(one.delete('/channels/0/all')), 4);
    assert.equal(await sockets(two.get('/channels/0/count')), 0);
    cluster.pages.forEach((page) => { page.lost.length = 0; });
  });

  test(`${Backend.name}: what is published after a closing reaches none of the closed`, { timeout: TIMEOUT }, async (t) => {
    const { cluster, pages } = await start(t);
    const [one, , ...revoked] = pages;
    assert.equal(await sockets(one.socket.delete('/sockets/tagged/revoked')), 2);
    await done(one.socket.post('/numbers', { writer: 'secret', id: 0, from: 1, count: 100 }));
    await until('the others to hear', () => pages.slice(0, 2).every((page) => page.of('kept:0').length === 100));
    await until('the closed to be told', () => revoked.every(({ lost }) => lost.length > 0));
    for (const page of revoked) {
      assert.deepEqual([page.of('kept:0'), page.of('unkept:0')], [[], []]);
      assert.deepEqual([page.lost[0].reason, page.socket.state], ['logged out', 'disconnected']);
    }
    assert.equal(await sockets(one.socket.get('/channels/0/count')), 2);
    assert.equal(await sockets(one.socket.delete('/channels/0/sockets')), 2);
    await until('all to be closed', () => pages.every(({ lost }) => lost.length > 0));
    cluster.count('closed', 4);
  });

  test(`${Backend.name}: a server that was cut off closes before it delivers, and is named meanwhile`, { timeout: TIMEOUT }, async (t) => {
    const { b, pages } = await start(t);
    const [one, two, , revoked] = pages;
    b.link.refuse();
    await until('it to notice', () => !b.ready);
    const { sockets: closed, unreached } = await done(one.socket.delete('/sockets/tagged/revoked'));
    assert.equal(closed, 1);
    assert.equal(unreached.length, 1, 'the other is named');
    await done(one.socket.post('/numbers', { writer: 'secret', id: 0, from: 1, count: 100 }));
    assert.deepEqual(revoked.lost, []);
    b.link.heal();
    await until('the other to hear what it missed', () => two.of('kept:0').length === 100 && two.of('unkept:0').length > 0);
    await until('the closing', () => revoked.lost.length > 0);
    assert.deepEqual([revoked.of('kept:0'), revoked.of('unkept:0').filter((each) => each !== 'gap')], [[], []]);
  });

  test(`${Backend.name}: a server that was killed leaves no ghosts`, { timeout: TIMEOUT }, async (t) => {
    const { cluster, b, pages: [one] } = await start(t);
    await cluster.stop(b, 'SIGKILL');
    const began = Date.now();
    const counts = new Set();
    await until('the dead to be forgotten', async () => {
      const { sockets, unreached } = await done(one.socket.get('/channels/0/count'));
      counts.add(unreached === null ? 'whole' : `without ${unreached.length}`);
      return unreached === null && sockets >= 2;
    });
    const forgotten = Date.now() - began;
    t.diagnostic(`forgotten after ${forgotten} ms`);
    // A count that was under way has two more seconds.
    assert.ok(forgotten < GHOSTS + 2500, `${forgotten} ms`);
    assert.ok(counts.has('without 1'), 'it was missed before');
  });
}
