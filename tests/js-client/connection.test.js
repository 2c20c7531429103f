const assert = require('node:assert/strict');
const { test } = require('node:test');
const { World, plain, record, settle } = require('./world.js');

const delays = async (world, count) => {
  const seen = [];
  for (let i = 0; i < count; i++) {
    const before = world.now;
    const sockets = world.sockets.length;
    world.socket.drop();
    while (world.sockets.length === sockets) await world.advance(1);
    seen.push(world.now - before);
  }
  return seen;
};

test('the handshake names the protocol and the SDK', async () => {
  const world = new World();
  await world.connect({ query: '?token=1', path: '/deep/socket.io/' });
  assert.equal(world.socket.url, 'ws://server.example/deep/socket.io/?token=1&__sails_io_sdk_version=1.2.1' +
    '&__sails_io_sdk_platform=node&__sails_io_sdk_language=javascript&EIO=4&transport=websocket');
  world.catamaran.connect({ url: 'wss://other.example:8443/' });
  await settle();
  assert.match(world.socket.url, /^wss:\/\/other\.example:8443\/socket\.io\/\?.*&catamaran=1&EIO=4&transport=websocket$/);
});

test('headers of the handshake go to a WebSocket class that takes them', async () => {
  const world = new World();
  await world.connect({ initialConnectionHeaders: { cookie: 'a=1' }, rejectUnauthorized: false });
  assert.deepEqual(plain(world.socket.options), { headers: { cookie: 'a=1' }, rejectUnauthorized: false });
  await world.connect();
  assert.equal(world.socket.options, undefined);
});

test('what pages take the connection for is there while it is made', async () => {
  const world = new World();
  const socket = await world.connect();
  assert.deepEqual([socket.state, socket._raw.connected], ['connecting', false]);
  world.socket.accept();
  assert.deepEqual([socket.state, socket._raw.connected], ['connected', true]);
});

test('an `auth` that throws is a failed attempt like any other', async () => {
  const auth = () => { throw new Error('no token yet'); };
  const states = [];
  for (const reconnection of [true, false]) states.push((await new World().connect({ auth, reconnection })).state);
  assert.deepEqual(states, ['reconnecting', 'disconnected']);
});

test('`auth` is said when connecting, afresh each time', async () => {
  const world = new World();
  let token = 0;
  await world.connected({ auth: async () => ({ token: ++token }) });
  assert.deepEqual(world.socket.payload, { token: 1 });
  world.socket.drop();
  await world.advance(300);
  world.socket.accept();
  assert.deepEqual(world.socket.payload, { token: 2 });
});

test('options that make no sense are refused at once', () => {
  const { catamaran } = new World();
  assert.throws(() => catamaran.connect('http://a', { query: { a: 1 } }), /^Error: `query` setting does not currently support configuration as a dictionary/);
  assert.throws(() => catamaran.connect('http://a/admin'), /`url` has a path/);
  assert.throws(() => catamaran.connect(), /Invalid URL/);
});

test('without a WebSocket class connecting fails, and says so', async () => {
  const world = new World({ globals: { WebSocket: undefined } });
  const socket = world.catamaran.connect('http://server.example', { reconnection: false });
  const heard = record(socket, 'connect_error');
  await settle();
  assert.deepEqual(heard, [['connect_error', 'There is no `WebSocket`.']]);
  assert.equal(socket.state, 'disconnected');
});

test('the states of a connection, as they are told', async () => {
  const world = new World();
  const io = world.catamaran();
  const { socket } = io;
  const heard = record(socket, 'state', 'connect', 'disconnect', 'connect_error', 'reconnecting', 'reconnect');
  const state = (now, previous) => ['state', { state: now, previous }];
  io.sails.url = 'http://server.example';
  assert.deepEqual([socket.isConnected(), socket.isConnecting(), socket.mightBeAboutToAutoConnect()], [false, false, true]);
  await world.advance(0);
  assert.deepEqual([socket.isConnected(), socket.isConnecting(), socket.mightBeAboutToAutoConnect()], [false, true, false]);
  world.socket.accept();
  assert.deepEqual([socket.isConnected(), socket.isConnecting()], [true, false]);
  world.socket.drop();
  await world.advance(300);
  world.socket.drop();
  await world.advance(600);
  world.socket.accept();
  socket.disconnect();
  assert.deepEqual(heard, [
    state('connecting', 'disconnected'), state('connected', 'connecting'), ['connect'],
    state('reconnecting', 'connected'), ['disconnect', 'transport close'],
    ['reconnecting', 1], ['connect_error', 'transport close'],
    ['reconnecting', 2], state('connected', 'reconnecting'), ['reconnect', 2], ['connect'],
    state('disconnected', 'connected'), ['disconnect', 'io client disconnect'],
  ]);
});

test('disconnect and reconnect refuse what is so already', async () => {
  const world = new World();
  const io = world.catamaran();
  assert.throws(() => io.socket.disconnect(), { message: 'Cannot disconnect- socket is already disconnected' });
  const socket = await world.connect();
  assert.throws(() => socket.reconnect(), { message: 'Cannot connect- socket is already connecting' });
  world.socket.accept();
  assert.throws(() => socket.reconnect(), { message: 'Cannot connect- socket is already connected' });
  socket.disconnect();
  assert.equal(world.socket.sent.pop(), '41');
  assert.throws(() => socket.disconnect(), { message: 'Cannot disconnect- socket is already disconnected' });
});

test('handlers and queued requests survive disconnect and reconnect', async () => {
  const world = new World();
  const socket = await world.connected();
  const heard = record(socket, 'connect', 'said');
  socket.disconnect();
  const queued = socket.get('/a');
  await world.advance(10000);
  assert.equal(world.sockets.length, 1, 'it stays closed');
  socket.reconnect();
  await settle();
  world.socket.accept();
  world.socket.emit('said', 1);
  world.socket.answer({ statusCode: 200 });
  assert.equal((await queued).statusCode, 200);
  assert.deepEqual(heard, [['connect'], ['said', 1]]);
});

test('disconnect stops an attempt to connect, and reconnect ends a wait', async () => {
  const world = new World();
  const socket = await world.connect();
  socket.disconnect();
  assert.equal(world.socket.closed, true);
  await world.advance(60000);
  assert.equal(world.sockets.length, 1);
  socket.reconnect();
  await settle();
  world.socket.drop();
  assert.equal(socket.state, 'reconnecting');
  socket.reconnect();
  await settle();
  assert.equal(world.sockets.length, 3);
  await world.advance(5000);
  assert.equal(world.sockets.length, 3, 'the wait is over');
});

test('a closed connection is silent at once, whatever still comes of it', async () => {
  const world = new World();
  const socket = await world.connected();
  const heard = record(socket, 'said', 'disconnect', 'connect');
  const old = world.socket;
  const late = { onmessage: old.onmessage, onclose: old.onclose, onerror: old.onerror };
  socket.disconnect();
  socket.reconnect();
  await settle();
  world.socket.accept();
  late.onmessage({ data: '42["said"]' });
  late.onmessage({ data: '41' });
  late.onerror({});
  late.onclose({});
  assert.deepEqual(heard, [['disconnect', 'io client disconnect'], ['connect']]);
  assert.equal(socket.isConnected(), true);
});

test('pings are answered', async () => {
  const world = new World();
  await world.connected();
  world.socket.receive('2');
  assert.equal(world.socket.sent.pop(), '3');
});

test('retries wait 300 ms at most, then twice as long, up to 5 s', async () => {
  const world = new World();
  await world.connect();
  assert.deepEqual(await delays(world, 7), [300, 600, 1200, 2400, 4800, 5000, 5000]);
  world.random = 0.5;
  assert.deepEqual(await delays(world, 1), [2500]);
  const quick = new World();
  quick.random = 0;
  await quick.connect();
  quick.socket.drop();
  await quick.advance(1);
  assert.equal(quick.sockets.length, 2, 'the whole range is drawn from');
});

test('a connection shorter than 2 s does not shorten the wait', async () => {
  const world = new World();
  const socket = await world.connected();
  assert.deepEqual(await delays(world, 1), [300]);
  world.socket.accept();
  await world.advance(1900);
  assert.deepEqual(await delays(world, 1), [600]);
  world.socket.accept();
  await world.advance(2000);
  assert.deepEqual(await delays(world, 1), [300]);
  socket.disconnect();
});

test('a proxy with an idle limit of 5 s costs 6 % of the time', async () => {
  const world = new World();
  const socket = await world.connected();
  const began = world.now;
  let away = 0;
  while (world.now - began < 300000) {
    await world.advance(5000);
    const sockets = world.sockets.length;
    const lost = world.now;
    world.socket.drop();
    while (world.sockets.length === sockets) await world.advance(10);
    world.socket.accept();
    away += world.now - lost;
  }
  // Each wait is the longest there can be; on average it is half as long.
  assert.ok(away / (world.now - began) < 0.06, `${away} ms of ${world.now - began}`);
  assert.equal(socket.isConnected(), true);
});

test('a page that asks to reconnect starts the waits anew', async () => {
  const world = new World();
  const socket = await world.connect();
  assert.deepEqual(await delays(world, 2), [300, 600]);
  world.socket.drop();
  socket.reconnect();
  await settle();
  assert.deepEqual(await delays(world, 1), [300]);
});

test('attempts may be limited, or none made', async () => {
  const world = new World();
  const socket = await world.connect({ reconnectionAttempts: 2, reconnectionDelay: 10, reconnectionDelayMax: 15 });
  const heard = record(socket, 'reconnect_failed');
  assert.deepEqual(await delays(world, 2), [10, 15]);
  world.socket.drop();
  assert.deepEqual([socket.state, heard.length], ['disconnected', 1]);
  const once = await world.connected({ reconnection: false });
  const sockets = world.sockets.length;
  world.socket.drop();
  await world.advance(60000);
  assert.deepEqual([once.state, world.sockets.length], ['disconnected', sockets]);
});

test('connecting takes 20 s at most, at every stage', async () => {
  for (const stage of [() => {}, (ws) => { ws.readyState = 1; }, (ws) => ws.receive('0{"sid":"x","pingInterval":25000,"pingTimeout":20000}')]) {
    const world = new World();
    const socket = await world.connect();
    const heard = record(socket, 'connect_error');
    stage(world.socket);
    await world.advance(19999);
    assert.deepEqual(heard, []);
    await world.advance(1);
    assert.deepEqual(heard, [['connect_error', 'timeout']]);
    assert.equal(world.sockets[0].closed, true);
    await world.advance(300);
    assert.equal(world.sockets.length, 2);
  }
  const world = new World();
  await world.connect({ timeout: 100, auth: () => new Promise(() => {}) });
  await world.advance(400);
  assert.equal(world.sockets.length, 0);
});

test('silence longer than the heartbeat ends a connection, counted by the clock', async () => {
  const world = new World();
  const socket = await world.connected();
  const heard = record(socket, 'disconnect');
  for (let i = 0; i < 5; i++) {
    await world.advance(25000);
    world.socket.receive('2');
  }
  await world.advance(44999);
  assert.deepEqual(heard, []);
  await world.advance(1);
  assert.deepEqual(heard, [['disconnect', 'ping timeout']]);
  assert.equal(world.sockets.length, 2, 'the next is made at once');
});

test('a machine that slept reconnects when it wakes, without waiting for a timer', async () => {
  const world = new World({ page: true });
  const socket = await world.connected();
  const heard = record(socket, 'disconnect');
  world.now += 3600000;
  world.document.fire('resume');
  assert.deepEqual(heard, [['disconnect', 'ping timeout']]);
  await world.advance(0);
  assert.equal(world.sockets.length, 2);
});

/** The ways in which something goes out, each a call that returns what comes back. */
const SENDING = {
  'get': (socket) => socket.get('/a'),
  'post with headers to come': (socket) => {
    socket.headers = async () => ({ a: '1' });
    return socket.post('/a');
  },
  'replay of what waits': (socket) => {
    const asked = socket.get('/a');
    socket.replay();
    return asked;
  },
};

for (const [way, send] of Object.entries(SENDING)) {
  test(`${way} after a sleep waits for a new connection`, async () => {
    const world = new World();
    const socket = await world.connected();
    const heard = record(socket, 'disconnect', 'connect');
    const inFlight = socket.get('/before');
    const [old] = world.sockets;
    // No timer fires in sleep, and the first to run is the page's.
    world.now += 45000;
    const asked = send(socket);
    await settle();
    assert.deepEqual([heard, old.closed], [[['disconnect', 'ping timeout']], true]);
    await assert.rejects(inFlight, { code: 'disconnected', sent: true });
    await world.advance(0);
    world.socket.accept();
    await settle();
    assert.deepEqual(old.requests.map(([, , { url }]) => url), ['/before']);
    world.socket.answer({ body: 'back', statusCode: 200 }, '/a');
    assert.equal((await asked).body, 'back');
  });
}

test('a request within the heartbeat goes out at once', async () => {
  const world = new World();
  const socket = await world.connected();
  world.now += 44999;
  socket.get('/a');
  assert.equal(world.socket.requests.length, 1);
});

test('an event after a sleep is not sent on the dead connection', async () => {
  const world = new World();
  const socket = await world.connected();
  const { sent } = world.socket;
  world.now += 45000;
  socket._raw.emit('typing');
  assert.deepEqual([sent.filter((frame) => frame.startsWith('42')), socket.state], [[], 'reconnecting']);
});

test('a clock that is set back does not deafen it', async () => {
  const world = new World();
  const socket = await world.connected();
  world.now -= 86400000;
  world.timers.forEach((timer) => { timer.at = Math.min(timer.at, world.now + 45000); });
  await world.advance(90000);
  assert.notEqual(world.sockets.length, 1);
  socket.disconnect();
});

test('a page that is shown again asks whether the server is there', async () => {
  for (const [target, event] of [['document', 'visibilitychange'], ['window', 'pageshow'], ['document', 'resume'], ['window', 'online'], ['window', 'offline']]) {
    const world = new World({ page: true });
    const socket = await world.connected();
    const probes = () => world.socket.sent.filter((frame) => frame === '40/catamaran-probe,').length;
    world[target].fire(event);
    world[target].fire(event);
    assert.equal(probes(), 1, event);
    world.socket.receive('44/catamaran-probe,{"message":"Invalid namespace"}');
    await world.advance(5000);
    assert.equal(socket.isConnected(), true);
    world[target].fire(event);
    assert.equal(probes(), 2);
    await world.advance(4999);
    assert.equal(world.sockets.length, 1);
    await world.advance(1);
    assert.equal(world.sockets.length, 2, `${event}: no answer, so a new connection at once`);
  }
  const world = new World({ page: true });
  await world.connected();
  world.document.hidden = true;
  world.document.fire('visibilitychange');
  assert.equal(world.socket.sent.length, 1);
});

test('a network that is back ends the wait', async () => {
  const world = new World({ page: true });
  await world.connected();
  world.socket.drop();
  world.window.fire('online');
  await settle();
  assert.equal(world.sockets.length, 2);
  world.window.fire('online');
  await world.advance(1000);
  assert.equal(world.sockets.length, 2);
});

test('a page put away has no connection, and gets one when it is shown again', async () => {
  const world = new World({ page: true });
  const socket = await world.connected();
  const idle = await world.connected();
  idle.disconnect();
  const heard = record(socket, 'disconnect', 'connect');
  const asked = socket.get('/a');
  world.window.fire('pagehide', { persisted: true });
  await assert.rejects(asked, { code: 'disconnected' });
  assert.equal(world.sockets[0].closed, true);
  await world.advance(3600000);
  assert.equal(world.sockets.length, 2);
  world.window.fire('pageshow', { persisted: true });
  await settle();
  world.socket.accept();
  assert.deepEqual(heard, [['disconnect', 'transport close'], ['connect']]);
  assert.equal(world.sockets.length, 3);
});

test('401 and 403 stop it until the page asks', async () => {
  for (const [message, data] of [['no', { status: 401 }], ['no', { status: 403 }], ['401 Unauthorized: log in first'], ['403 Forbidden']]) {
    const world = new World();
    const socket = await world.connect();
    const heard = record(socket, 'connect_error', 'error', 'state');
    world.socket.receive('0{"sid":"x"}');
    world.socket.receive(`44${JSON.stringify({ message, data })}`);
    assert.deepEqual(heard, [['state', { state: 'disconnected', previous: 'connecting' }], ['connect_error', message], ['error', message]]);
    await world.advance(60000);
    assert.equal(world.sockets.length, 1);
    socket.reconnect();
    await settle();
    world.socket.accept();
    assert.equal(socket.isConnected(), true);
  }
});

test('any other refusal is tried again', async () => {
  const world = new World();
  const socket = await world.connect();
  const errors = [];
  socket.on('connect_error', (error) => errors.push(plain(error.data)));
  const refusals = [{ message: 'busy', data: { status: 503 } }, { message: '503 Service Unavailable' }, { message: '429 Too Many Requests: later' },
    { message: '500 Internal Server Error' }, { message: '409 Conflict: a newer connection' }, { message: 'Invalid namespace' }, { message: 'x', data: 'own' }];
  for (const [nth, refusal] of refusals.entries()) {
    world.socket.receive('0{"sid":"x"}');
    world.socket.receive(`44${JSON.stringify(refusal)}`);
    await world.advance(5000);
    assert.equal(world.sockets.length, nth + 2);
  }
  assert.deepEqual(errors, [{ status: 503 }, { status: 503 }, { status: 429 }, { status: 500 }, { status: 409 }, undefined, 'own']);
  world.socket.accept();
  assert.equal(socket.isConnected(), true);
});

test('a connection that is given up tells nobody of its refusal', async () => {
  const world = new World();
  const socket = await world.connect();
  const heard = record(socket, 'connect_error', 'error');
  const { onmessage } = world.socket;
  socket.disconnect();
  onmessage({ data: '0{"sid":"x"}' });
  onmessage({ data: '44{"message":"401 Unauthorized"}' });
  assert.deepEqual(heard, []);
});

test('a server that sends us away is left alone until the page asks', async () => {
  const world = new World();
  const socket = await world.connected();
  const heard = record(socket, 'disconnect');
  world.socket.receive('41');
  await world.advance(60000);
  assert.deepEqual([heard, socket.state, world.sockets.length], [[['disconnect', 'io server disconnect']], 'disconnected', 1]);
});

test('what cannot be read ends the connection, and the next ones come no faster than any', async () => {
  const bad = ['4', '49', '42', '42{', '42{}', '43', '430{}', '4', '42["a"', '451-["a",{"_placeholder":true,"num":0}]', '0{', '0null', '44', '40', '40null', '40{"sid":"again"}', '42["$replay","c"]'];
  for (const frame of bad) {
    const world = new World();
    const socket = await world.connected({ resume: true });
    for (let i = 0; i < 20; i++) {
      world.socket.accept();
      world.socket.receive(frame);
      if (frame.startsWith('45')) world.socket.receive('42["a"]');
      await world.advance(500);
    }
    assert.ok(world.sockets.length < 12, `${frame}: ${world.sockets.length} connections in 10 s`);
    assert.notEqual(socket.state, 'disconnected', frame);
  }
});

test('bytes without a packet, unknown frames and no-ops do no harm', async () => {
  const world = new World();
  const socket = await world.connected();
  for (const frame of ['6', '3', '3probe', 'x', '', '439[]', '42/other,["a"]']) world.socket.receive(frame);
  assert.equal(socket.isConnected(), true);
  world.socket.receive(new ArrayBuffer(1));
  assert.equal(socket.state, 'reconnecting');
});

test('handshakes of any numbers leave it neither deaf nor spinning', async () => {
  const numbers = [0, -1, 1, 1e300, null, 'x', {}, NaN];
  for (const number of numbers) {
    const world = new World();
    const socket = await world.connected({}, { pingInterval: number, pingTimeout: number, maxPayload: number });
    await world.advance(300000);
    assert.notEqual(world.sockets.length, 1, `deaf at ${number}`);
    assert.ok(world.sockets.length < 100, `spins at ${number}`);
    socket.disconnect();
  }
});

test('a server that drops each connection once it is made is not hammered', async () => {
  const world = new World();
  await world.connect();
  for (let i = 0; i < 600; i++) {
    world.socket.accept();
    world.socket.emit('$drain', { after_ms: 0 });
    world.socket.drop();
    await world.advance(100);
  }
  assert.ok(world.sockets.length < 20, `${world.sockets.length} connections in a minute`);
});

test('options other than headers are locked while connected', async () => {
  const world = new World();
  const io = world.catamaran();
  io.sails.url = 'http://server.example';
  await world.advance(0);
  assert.deepEqual(plain(io.socket.transports), ['websocket'], 'taken from `io.sails`');
  world.socket.accept();
  const { socket } = io;
  for (const name of ['url', 'path', 'query', 'transports', 'reconnection', 'timeout', 'multiplex', 'useCORSRouteToGetCookie',
    'initialConnectionHeaders', 'reconnectionAttempts', 'reconnectionDelay', 'reconnectionDelayMax', 'rejectUnauthorized', 'randomizationFactor']) {
    assert.throws(() => { socket[name] = 'other'; }, { message: `Cannot change value of \`${name}\` while socket is connected.` });
  }
  socket.url = 'http://server.example';
  socket.headers = { a: '1' };
  io.sails.strict = false;
  socket.timeout = 5;
  assert.equal(socket.timeout, 5);
});

test('an option that is set stops the attempts to reconnect', async () => {
  const world = new World();
  const socket = await world.connected();
  world.socket.drop();
  socket.headers = {};
  assert.equal(socket.state, 'reconnecting');
  socket.url = 'http://other.example';
  assert.equal(socket.state, 'disconnected');
  await world.advance(10000);
  assert.equal(world.sockets.length, 1);
  socket.reconnect();
  await settle();
  assert.match(world.socket.url, /^ws:\/\/other\.example\//);
});

test('handlers may turn everything round', async () => {
  const world = new World();
  const socket = await world.connected();
  socket.once('disconnect', () => socket.reconnect());
  world.socket.drop();
  await world.advance(10000);
  assert.equal(world.sockets.length, 2, 'one attempt, not two');
  world.socket.accept();
  socket.once('disconnect', () => socket.disconnect());
  world.socket.drop();
  await world.advance(60000);
  assert.deepEqual([socket.state, world.sockets.length], ['disconnected', 2]);
  socket.once('state', () => socket.disconnect());
  const connects = record(socket, 'connect');
  socket.reconnect();
  await settle();
  assert.equal(socket.state, 'disconnected');
  socket.reconnect();
  socket.once('state', () => socket.disconnect());
  await settle();
  world.socket.accept();
  assert.deepEqual([socket.state, connects], ['disconnected', []]);
});

test('a worker connects to its own origin, without a page', async () => {
  for (const module of [false, true]) {
    const world = new World({ module, globals: { location: { origin: 'https://page.example' }, importScripts() {} } });
    (module ? world.global.found : world.catamaran).connect();
    await settle();
    assert.match(world.socket.url, /^wss:\/\/page\.example\/socket\.io\/\?.*platform=browser/);
    (module ? world.global.found : world.catamaran).connect('https://other.example');
    await settle();
    assert.match(world.socket.url, /^wss:\/\/other\.example\//);
  }
});

test('a worker whose network is back connects at once', async () => {
  const listeners = new Map();
  const globals = { location: { origin: 'https://page.example' }, importScripts() {}, addEventListener: (name, listener) => listeners.set(name, listener) };
  const world = new World({ globals });
  world.catamaran.connect();
  await settle();
  world.socket.accept().drop();
  listeners.get('online')();
  await settle();
  assert.equal(world.sockets.length, 2);
});

test('sockets of a page are independent', async () => {
  const world = new World();
  const [one, two] = [await world.connected(), await world.connected()];
  const heard = [record(one, 'said'), record(two, 'said')];
  world.sockets[0].emit('said', 1);
  world.sockets[0].drop();
  assert.deepEqual([plain(heard), two.isConnected()], [[[['said', 1]], []], true]);
});

test('an `io` of another\'s that brings more after a disconnect is not listened to', async () => {
  for (const any of ['onAny', 'onevent']) {
    const world = new World();
    const handlers = {};
    let bring;
    const raw = { id: 'x', on: (event, handler) => { handlers[event] = handler; }, off: () => raw, disconnect() {} };
    // Version 4 has the first, older versions the other.
    if (any === 'onAny') raw.onAny = (handler) => { bring = handler; };
    const socket = world.catamaran.connect('https://app.example', { io: () => raw });
    await settle();
    if (any === 'onevent') bring = (...data) => raw.onevent({ data });
    handlers.connect();
    const heard = record(socket, 'said');
    socket.on('said', () => socket.disconnect());
    bring('said', 1);
    bring('said', 2);
    assert.deepEqual(plain(heard), [['said', 1]], any);
  }
});
