// Clients behind a proxy that drops hop-by-hop headers, as nginx does by default.
const assert = require('node:assert/strict');
const { once } = require('node:events');
const { connect: dial, createServer } = require('node:net');
const { after, before, test } = require('node:test');
const { io: socketio } = require('socket.io-client');
const WebSocket = require('ws');
const { connect } = require('./client.js').catamaran;
const { start } = require('./server.js');
const { within } = require('./within.js');

const sailsIo = require('sails.io.js')(require('socket.io-client-2'));
Object.assign(sailsIo.sails, { autoConnect: false, environment: 'production' });

let server;
before(async () => { server = await start('client-app', 'websocket', 'polling'); });
after(() => server.stop());

/** A proxy at `url`, which drops `upgrade` and `connection` until it is `mended`. `statuses`: those of websocket handshakes. */
async function proxy(t) {
  const way = { mended: false, statuses: [] };
  const sockets = new Set();
  const listener = createServer((near) => {
    const far = dial(new URL(server.url).port, '127.0.0.1');
    for (const socket of [near, far]) sockets.add(socket.on('error', () => {}));
    let head = '';
    const forward = (bytes) => {
      head += bytes.toString('latin1');
      if (!head.includes('\r\n\r\n')) return;
      near.off('data', forward);
      if (head.includes('transport=websocket')) far.once('data', (answer) => way.statuses.push(Number(answer.toString().slice(9, 12))));
      if (!way.mended) head = head.replace(/^(upgrade|connection):.*\r\n/gim, '').replace('\r\n', '\r\nconnection: close\r\n');
      far.write(head, 'latin1');
      near.pipe(far);
    };
    near.on('data', forward).on('close', () => far.destroy());
    far.pipe(near);
    far.on('close', () => near.destroy());
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    listener.close();
  });
  return Object.assign(way, { url: `http://127.0.0.1:${listener.address().port}` });
}

const event = (socket, name) => within(new Promise((resolve) => { socket.once(name, resolve); }), `the event ${name}`);

/** Clients that speak websocket alone: a socket that says `connect` and `connect_error`, and how it is closed. */
const CLIENTS = {
  catamaran: (url, again) => connect(url, { WebSocket, ...again }),
  'socket.io-client 4': (url, again) => socketio(url, { transports: ['websocket'], forceNew: true, ...again }),
  'sails.io.js': (url, again) => {
    const { warn } = console;
    console.warn = () => {};
    const socket = sailsIo.sails.connect(url, { transports: ['websocket'], multiplex: false, reconnection: true, ...again });
    console.warn = warn;
    return socket._raw;
  },
};

for (const [name, open] of Object.entries(CLIENTS)) {
  test(`${name} is refused at once where upgrades are dropped`, async (t) => {
    const way = await proxy(t);
    const socket = open(way.url, { reconnectionDelay: 50, reconnectionDelayMax: 100 });
    t.after(() => (socket.state === 'disconnected' ? undefined : socket.disconnect()));
    const connected = event(socket, 'connect');
    await event(socket, 'connect_error');
    await event(socket, 'connect_error');
    way.mended = true;
    await connected;
    assert.deepEqual([...new Set(way.statuses)], [426, 101]);
  });
}

test('socket.io-client 4 stays with polling where upgrades are dropped', async (t) => {
  const way = await proxy(t);
  const socket = socketio(way.url, { transports: ['polling', 'websocket'], forceNew: true });
  t.after(() => socket.disconnect());
  const probed = new Promise((resolve) => { socket.io.engine.once('upgradeError', resolve); });
  await event(socket, 'connect');
  await within(probed, 'a refused upgrade');
  const ack = await within(new Promise((resolve) => { socket.emit('get', { url: '/answers/object' }, resolve); }), 'an answer');
  assert.deepEqual([ack.statusCode, socket.io.engine.transport.name, way.statuses], [200, 'polling', [426]]);
});

test('the refusal says what the proxy must pass on', async (t) => {
  const way = await proxy(t);
  const answer = await fetch(`${way.url}/socket.io/?EIO=4&transport=websocket`);
  const { code, message } = await answer.json();
  assert.deepEqual([answer.status, answer.headers.get('upgrade'), code], [426, 'websocket', 'websocket_upgrade']);
  assert.match(message, /`upgrade: websocket` and `connection: upgrade`/);
});
