// A process that is stopped for longer than the heartbeat, as in sleep or a debugger, and goes on.
const assert = require('node:assert/strict');
const { fork } = require('node:child_process');
const { once } = require('node:events');
const { connect: dial, createServer } = require('node:net');
const { join } = require('node:path');
const { after, before, test } = require('node:test');
const WebSocket = require('ws');
const { start } = require('./server.js');
const { within } = require('./within.js');

let server;
before(async () => { server = await start('channel-app', '500', '1500'); });
after(() => server.stop());

/** A way to the server, at `url`; once it is a hole, what is on it is lost. */
async function proxy(t) {
  const way = { hole: false };
  const sockets = new Set();
  const listener = createServer((near) => {
    const far = dial(new URL(server.url).port, '127.0.0.1');
    const swallowed = () => way.hole && pair.early;
    const pair = { early: !way.hole };
    for (const [from, to] of [[near, far], [far, near]]) {
      sockets.add(from);
      from.on('error', () => {}).on('data', (bytes) => swallowed() || to.write(bytes)).on('close', () => swallowed() || to.destroy());
    }
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    listener.close();
  });
  return Object.assign(way, { url: `http://127.0.0.1:${listener.address().port}` });
}

/** Waits for two heartbeats of the server, each until it gives up a client that answers but the first ping, which comes at once. */
async function heartbeats() {
  for (let beats = 0; beats < 2; beats++) {
    const silent = new WebSocket(`${server.url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket`);
    const answer = (packet) => String(packet) === '2' && silent.off('message', answer).send('3');
    silent.on('error', () => {}).on('message', answer).on('open', () => silent.send('40'));
    await within(once(silent, 'close'), 'the end of a silent client');
  }
}

let logs = 500;
for (const hole of [false, true]) {
  test(`a stopped client hears all when it goes on, ${hole ? 'through a black hole' : 'as its connection was closed'}`, async (t) => {
    const [log, way, heard] = [`/log/${++logs}`, await proxy(t), []];
    const child = fork(join(__dirname, 'stopped.js'), [way.url, log]);
    t.after(() => child.kill('SIGKILL'));
    const waiting = [];
    child.on('message', (message) => {
      heard.push(message);
      waiting.forEach((check) => check());
    });
    const hears = (...wanted) => within(new Promise((resolve) => {
      const check = () => heard.some((message) => JSON.stringify(message) === JSON.stringify(wanted)) && resolve();
      waiting.push(check);
      check();
    }), wanted.join(' '));
    const write = async (line) => assert.equal((await fetch(`${server.url}${log}/${line}`, { method: 'POST' })).status, 200);
    await hears('ready');
    await write(1);
    await hears('line', 1);
    child.kill('SIGSTOP');
    way.hole = hole;
    await write(2);
    await heartbeats();
    await write(3);
    // The first it does when it goes on.
    child.send(4);
    child.kill('SIGCONT');
    await hears('answered', 200);
    await hears('line', 4);
    await hears('resubscribed', true);
    assert.deepEqual(heard.filter(([event]) => event === 'line').map(([, line]) => line), [1, 2, 3, 4]);
    assert.deepEqual(heard.filter(([event]) => ['gap', 'lost', 'failed'].includes(event)), []);
  });
}
