// Subscriptions that resume, against our own server, by way of a proxy that cuts.
const assert = require('node:assert/strict');
const { once } = require('node:events');
const { connect: dial, createServer } = require('node:net');
const { after, before, test } = require('node:test');
const WebSocket = require('ws');
const { connect } = require('./client.js').catamaran;
const { start } = require('./server.js');
const { within } = require('./within.js');

let server;
before(async () => { server = await start('channel-app'); });
after(() => server.stop());

/** A way to the server, at `url`, that can be cut, mended, or swallow what is on it for ever. */
async function proxy(t) {
  const pairs = new Set();
  let mended = Promise.resolve();
  let mend = () => {};
  const listener = createServer(async (near) => {
    near.on('error', () => {});
    await mended;
    const far = dial(new URL(server.url).port, '127.0.0.1');
    const pair = [near, far];
    pairs.add(pair);
    far.on('error', () => {});
    near.on('data', (bytes) => far.write(bytes)).on('close', () => pair.blackened || far.destroy());
    far.on('data', (bytes) => pair.blackened || near.write(bytes)).on('close', () => near.destroy());
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const close = () => pairs.forEach((pair) => pair.forEach((socket) => socket.destroy()));
  t.after(() => {
    mend();
    close();
    listener.close();
  });
  return {
    url: `http://127.0.0.1:${listener.address().port}`,
    cut() {
      mended = new Promise((resolve) => { mend = resolve; });
      pairs.forEach(([near]) => near.resetAndDestroy());
    },
    mend: () => mend(),
    blacken: () => pairs.forEach((pair) => {
      pair.blackened = true;
      pair[0].removeAllListeners('data');
    }),
  };
}

let logs = 0;

/** A socket that watches a log of its own, and what it hears; without a `method` the server subscribes it as it connects. */
async function watching(t, { method = 'get' } = {}) {
  const log = `/log/${++logs}`;
  const way = await proxy(t);
  const auth = method ? undefined : { log: logs };
  const socket = connect(way.url, { WebSocket, reconnectionDelay: 200, auth });
  t.after(() => socket.state === 'disconnected' || socket.disconnect());
  const heard = [];
  for (const event of ['line', 'gap', 'lost', 'resubscribed']) socket.on(event, (told) => heard.push([event, told]));
  const asked = socket.request(method ? { method, url: log } : { url: '/storm/published' });
  assert.equal((await within(asked, 'an answer')).statusCode, 200);
  return {
    ...way, socket, heard, log,
    lines: () => heard.filter(([event]) => event === 'line').map(([, line]) => line),
    write: async (...lines) => {
      for (const line of lines) assert.equal((await fetch(`${server.url}${log}/${line}`, { method: 'POST' })).status, 200);
    },
    next: (event) => within(new Promise((resolve) => { socket.once(event, resolve); }), `the event ${event}`),
  };
}

test('what is published while away comes after, in order and once', async (t) => {
  const { socket, lines, write, cut, mend, next } = await watching(t);
  const third = () => within(new Promise((resolve) => {
    socket.on('line', (line) => line === 3 && resolve());
  }), 'the third line');
  const live = third();
  await write(1, 2, 3);
  await live;
  for (const round of [10, 20, 30]) {
    cut();
    await write(round, round + 1);
    const back = next('resubscribed');
    mend();
    const { recovered, body } = await back;
    assert.deepEqual([recovered, body], [true, 'watching']);
    await write(round + 2);
    while (!lines().includes(round + 2)) await next('line');
  }
  assert.deepEqual(lines(), [1, 2, 3, 10, 11, 12, 20, 21, 22, 30, 31, 32]);
  assert.equal(socket.duplicates, 0);
});

test('a cut with nothing missed is recovered too', async (t) => {
  const { heard, cut, mend, next } = await watching(t);
  const back = next('resubscribed');
  cut();
  mend();
  assert.equal((await back).recovered, true);
  assert.deepEqual(heard.map(([event]) => event), ['resubscribed']);
});

test('more missed than is kept is a gap, beside a fresh body', async (t) => {
  const { socket, lines, write, cut, mend, next } = await watching(t);
  const away = next('disconnect');
  cut();
  await away;
  const gap = next('gap');
  const back = next('resubscribed');
  await write(1, 2, 3, 4, 5, 6, 7, 8);
  mend();
  assert.match((await gap).channel, /^log:/);
  const { recovered, body } = await back;
  assert.deepEqual([recovered, body], [false, 'watching']);
  const live = next('line');
  await write(9);
  await live;
  assert.deepEqual(lines(), [9]);
  assert.equal(socket.isConnected(), true);
});

test('a connection that is dead to us alone is taken over', async (t) => {
  const { socket, lines, write, blacken, next } = await watching(t);
  blacken();
  const back = next('resubscribed');
  await write(1, 2);
  socket._connection.end('ping timeout');
  assert.equal((await back).recovered, true);
  await write(3);
  while (!lines().includes(3)) await next('line');
  assert.deepEqual(lines(), [1, 2, 3]);
});

test('a channel that was joined by a POST is a gap after a cut', async (t) => {
  const { heard, cut, mend, next } = await watching(t, { method: 'post' });
  const gap = next('gap');
  cut();
  mend();
  assert.equal((await gap).reason, 'not-repeatable');
  assert.deepEqual(heard.map(([event]) => event), ['gap']);
});

test('a channel that the server subscribes us to as we connect resumes by itself', async (t) => {
  const { socket, heard, lines, write, cut, mend, next } = await watching(t, { method: '' });
  await write(1);
  while (!lines().includes(1)) await next('line');
  for (const round of [10, 20, 30]) {
    const away = next('disconnect');
    cut();
    await away;
    await write(round, round + 1);
    mend();
    while (!lines().includes(round + 1)) await next('line');
    await write(round + 2);
    while (!lines().includes(round + 2)) await next('line');
  }
  // Nothing missed is recovered as well, and a GET for it finds it there.
  const back = next('connect');
  cut();
  mend();
  await back;
  assert.equal((await within(socket.get(`/log/${logs}`), 'an answer')).statusCode, 200);
  await write(40);
  while (!lines().includes(40)) await next('line');
  assert.deepEqual(lines(), [1, 10, 11, 12, 20, 21, 22, 30, 31, 32, 40]);
  assert.deepEqual([heard.length, socket.duplicates], [lines().length, 0]);
});

test('more missed of such a channel than is kept is a gap', async (t) => {
  const { heard, lines, write, cut, mend, next } = await watching(t, { method: '' });
  const away = next('disconnect');
  cut();
  await away;
  const gap = next('gap');
  await write(1, 2, 3, 4, 5, 6);
  mend();
  assert.deepEqual(await gap, { channel: `log:${logs}`, reason: 'not retained' });
  await write(7);
  while (!lines().includes(7)) await next('line');
  assert.deepEqual(heard.map(([event]) => event), ['gap', 'line']);
});

test('a channel of which the server would not have it as we connect is a gap', async (t) => {
  const { socket, heard, cut, mend, next } = await watching(t, { method: '' });
  const [away, gap] = [next('disconnect'), next('gap')];
  cut();
  await away;
  socket.auth = {};
  // To set an option stops the attempts to reconnect.
  socket.reconnect();
  mend();
  assert.equal((await gap).reason, 'not-repeatable');
  assert.deepEqual(heard.map(([event]) => event), ['gap']);
});

test('a channel that was left is not asked for again', async (t) => {
  const { socket, log, heard, cut, mend, next } = await watching(t);
  await within(socket.delete(log), 'an answer');
  const back = next('connect');
  cut();
  mend();
  await back;
  await within(socket.post(`${log}/1`), 'an answer');
  assert.deepEqual(heard, []);
});
