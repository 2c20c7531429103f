const assert = require('node:assert/strict');
const { test } = require('node:test');
const { World, plain, record, settle } = require('./world.js');

const connected = (world, options) => world.connected({ resume: true, ...options });

/** A socket that has subscribed by `GET /rooms/7`, at offset 10. */
const subscribed = async (world, options) => {
  const socket = await connected(world, options);
  const asked = socket.get('/rooms/7');
  world.socket.answer({ body: [], headers: {}, statusCode: 200, channels: { 'room:7': ['epoch-aa', 10, 'fresh'] } });
  await asked;
  return socket;
};

/** Cuts the connection and makes the next. */
const reconnect = async (world) => {
  world.socket.drop();
  await world.advance(5000);
  world.socket.accept();
  await world.advance(100);
};

const urls = (world) => world.socket.requests.map(([, , { url }]) => url);
const positions = (resume) => resume && Object.fromEntries(Object.entries(resume).map(([channel, [epoch, offset]]) => [channel, [epoch, offset]]));
const resumes = (world) => world.socket.requests.map(([, , { resume }]) => positions(resume));
const HEARD = ['said', 'resubscribed', 'gap', 'lost'];
const answer = (channels, more) => ({ body: 'fresh', headers: {}, statusCode: 200, channels, ...more });

test('it asks for positions, and can be told not to', async () => {
  const world = new World();
  await connected(world);
  assert.match(world.socket.url, /&catamaran=1&/);
  const { client, resume } = world.socket.payload.catamaran;
  assert.match(client, /^\d+-\d+-\d+-\d+$/);
  assert.deepEqual(resume, {});
  assert.equal(world.socket.url.includes(client), false, 'the client id is a secret, and URLs are logged');
  await world.connected({ resume: false });
  assert.doesNotMatch(world.socket.url, /catamaran=1/);
  assert.deepEqual(world.socket.payload, {});
});

test('each socket has a client id of its own, and keeps it', async () => {
  const world = new World();
  await connected(world);
  const first = world.socket.payload.catamaran.client;
  world.socket.drop();
  await world.advance(300);
  world.socket.accept();
  assert.equal(world.socket.payload.catamaran.client, first);
  await connected(world);
  assert.notEqual(world.socket.payload.catamaran.client, first);
});

test('it counts its connections, those that fail too', async () => {
  const world = new World();
  const socket = await world.connect({ resume: true });
  for (let nth = 1; nth <= 3; nth++) {
    world.socket.receive('0{"sid":"x"}');
    assert.equal(world.socket.payload.catamaran.connection, nth);
    world.socket.drop();
    await world.advance(5000);
  }
  world.socket.accept();
  assert.equal(world.socket.payload.catamaran.connection, 4);
  socket.disconnect();
  socket.reconnect();
  await settle();
  world.socket.accept();
  assert.equal(world.socket.payload.catamaran.connection, 5);
});

test('a channel that the server joins again as it connects goes on where it was', async () => {
  const world = new World();
  const socket = await connected(world);
  const heard = record(socket, ...HEARD);
  world.socket.emit('$join', 'news', 'epoch-aa', 3);
  world.socket.emit('$', 'news', 4, 'said', 'four');
  world.socket.drop();
  await world.advance(5000);
  world.socket.accept();
  assert.deepEqual(world.socket.payload.catamaran.resume, { news: ['epoch-aa', 4, 3] });
  world.socket.emit('$join', 'news', 'epoch-aa', 4);
  // Cut before all of it has come.
  world.socket.emit('$replay', 'news', [[5, 'said', 'five']], true);
  world.socket.drop();
  await world.advance(5000);
  world.socket.accept();
  assert.deepEqual(world.socket.payload.catamaran.resume, { news: ['epoch-aa', 5, 3] });
  world.socket.emit('$join', 'news', 'epoch-aa', 5);
  world.socket.emit('$replay', 'news', [[6, 'said', 'six']], false);
  await world.advance(60000);
  assert.deepEqual(heard, [['said', 'four'], ['said', 'five'], ['said', 'six']]);
  assert.equal(socket.duplicates, 0);
});

test('a channel that the server joins again with a gap is told once', async () => {
  const world = new World();
  const socket = await connected(world);
  const heard = record(socket, ...HEARD);
  world.socket.emit('$join', 'news', 'epoch-aa', 3);
  world.socket.drop();
  await world.advance(5000);
  world.socket.accept();
  world.socket.emit('$gap', 'news', 'epoch-bb', 9, 'not retained');
  world.socket.emit('$', 'news', 10, 'said', 'ten');
  await world.advance(60000);
  assert.deepEqual(heard, [['gap', { channel: 'news', reason: 'not retained' }], ['said', 'ten']]);
});

test('entries are events to the page, and what came already is dropped and counted', async () => {
  const world = new World();
  const socket = await subscribed(world);
  const heard = record(socket, ...HEARD);
  for (const offset of [9, 10, 11, 11, 13, 12, 14]) world.socket.emit('$', 'room:7', offset, 'said', { offset });
  world.socket.emit('$', 'room:unknown', 1, 'said');
  world.socket.emit('said', 'unframed');
  assert.deepEqual(heard, [['said', { offset: 11 }], ['said', { offset: 13 }], ['said', { offset: 14 }], ['said'], ['said', 'unframed']]);
  assert.equal(socket.duplicates, 4);
});

test('what came as an event of another channel moves the position, and is heard once', async () => {
  const world = new World();
  const socket = await subscribed(world);
  const heard = record(socket, ...HEARD, 'undefined');
  const logged = world.logged.length;
  world.socket.emit('$', 'room:7', 11);
  await reconnect(world);
  assert.deepEqual(resumes(world), [{ 'room:7': ['epoch-aa', 11] }]);
  world.socket.answer(answer({ 'room:7': ['epoch-aa', 13, 'recovered'] }));
  world.socket.emit('$replay', 'room:7', [[12], [13, 'said', 13]], false);
  await settle();
  assert.deepEqual(heard.filter(([event]) => event !== 'resubscribed'), [['said', 13]]);
  await reconnect(world);
  assert.deepEqual(resumes(world), [{ 'room:7': ['epoch-aa', 13] }]);
  assert.equal(world.logged.length, logged);
});

test('it says from where on it received each channel', async () => {
  const world = new World();
  await subscribed(world);
  world.socket.emit('$', 'room:7', 11, 'said', 11);
  world.socket.emit('$join', 'room:8', 'epoch-cc', 4);
  await reconnect(world);
  const { resume } = world.socket.payload.catamaran;
  assert.deepEqual(resume, { 'room:7': ['epoch-aa', 11, 10], 'room:8': ['epoch-cc', 4, 4] });
  world.socket.answer(answer({ 'room:7': ['epoch-aa', 20, 'gap'] }));
  world.socket.emit('$', 'room:7', 21, 'said', 21);
  await reconnect(world);
  assert.deepEqual(world.socket.payload.catamaran.resume['room:7'], ['epoch-aa', 21, 20]);
});

test('after a reconnect the request that subscribed is sent again, with the position', async () => {
  const world = new World();
  const socket = await subscribed(world);
  const heard = record(socket, ...HEARD);
  world.socket.emit('$', 'room:7', 11, 'said', 11);
  await reconnect(world);
  assert.deepEqual(positions(world.socket.payload.catamaran.resume), { 'room:7': ['epoch-aa', 11] });
  assert.deepEqual([urls(world), resumes(world)], [['/rooms/7'], [{ 'room:7': ['epoch-aa', 11] }]]);
  world.socket.answer({ headers: {}, statusCode: 204, channels: { 'room:7': ['epoch-aa', 14, 'recovered'] } });
  world.socket.emit('$replay', 'room:7', [[12, 'said', 12], [13, 'said', 13]], true);
  world.socket.emit('$replay', 'room:7', [[14, 'said', 14]], false);
  world.socket.emit('$', 'room:7', 15, 'said', 15);
  await settle();
  const [first, ...rest] = heard.filter(([event]) => event === 'said');
  assert.deepEqual([first, rest.map(([, offset]) => offset)], [['said', 11], [12, 13, 14, 15]]);
  const told = heard.filter(([event]) => event !== 'said');
  assert.deepEqual(told, [['resubscribed', { url: '/rooms/7', recovered: true, jwr: { headers: {}, statusCode: 204 } }]]);
  await world.advance(10000);
  assert.equal(world.socket.requests.length, 1);
});

test('the callback of the first request is not called again', async () => {
  const world = new World();
  const socket = await connected(world);
  let calls = 0;
  socket.get('/rooms/7', () => { calls += 1; });
  world.socket.answer(answer({ 'room:7': ['epoch-aa', 10, 'fresh'] }));
  await reconnect(world);
  world.socket.answer(answer({ 'room:7': ['epoch-aa', 10, 'recovered'] }));
  await settle();
  assert.equal(calls, 1);
});

test('a cut in the middle of a replay resumes where it was cut', async () => {
  const world = new World();
  const socket = await subscribed(world);
  const heard = record(socket, 'said');
  await reconnect(world);
  world.socket.answer(answer({ 'room:7': ['epoch-aa', 14, 'recovered'] }));
  world.socket.emit('$replay', 'room:7', [[11, 'said', 11], [12, 'said', 12]], true);
  await reconnect(world);
  assert.deepEqual(resumes(world), [{ 'room:7': ['epoch-aa', 12] }]);
  world.socket.answer(answer({ 'room:7': ['epoch-aa', 14, 'recovered'] }));
  world.socket.emit('$replay', 'room:7', [[13, 'said', 13], [14, 'said', 14]], false);
  assert.deepEqual(heard.map(([, offset]) => offset), [11, 12, 13, 14]);
  assert.equal(socket.duplicates, 0);
});

test('cuts with nothing between keep the position', async () => {
  const world = new World();
  await subscribed(world);
  await reconnect(world);
  await reconnect(world);
  assert.deepEqual(resumes(world), [{ 'room:7': ['epoch-aa', 10] }]);
});

test('a gap is told, beside a fresh body, and the channel goes on from there', async () => {
  const world = new World();
  const socket = await subscribed(world);
  const heard = record(socket, ...HEARD);
  await reconnect(world);
  world.socket.answer(answer({ 'room:7': ['epoch-bb', 3, 'gap'] }));
  world.socket.emit('$', 'room:7', 4, 'said', 4);
  await settle();
  assert.deepEqual(heard.map(([event, told]) => [event, told.recovered, told.channel]), [
    ['gap', undefined, 'room:7'], ['said', undefined, undefined], ['resubscribed', false, undefined]]);
  assert.equal(heard[2][1].body, 'fresh');
  await reconnect(world);
  assert.deepEqual(resumes(world), [{ 'room:7': ['epoch-bb', 4] }]);
});

test('an outcome that does not fit what is held is a gap', async () => {
  for (const outcome of [['epoch-aa', 12, 'fresh'], ['epoch-bb', 10, 'recovered'], ['epoch-aa', 10]]) {
    const world = new World();
    const socket = await subscribed(world);
    const heard = record(socket, 'gap');
    await reconnect(world);
    world.socket.answer(answer({ 'room:7': outcome }));
    assert.deepEqual(heard, [['gap', { channel: 'room:7', reason: 'not retained' }]], String(outcome));
  }
});

test('a gap that the server tells of is told on', async () => {
  const world = new World();
  const socket = await subscribed(world);
  const heard = record(socket, ...HEARD);
  world.socket.emit('$gap', 'room:7', 'epoch-bb', 40, 'slow');
  world.socket.emit('$', 'room:7', 40, 'said', 40);
  world.socket.emit('$', 'room:7', 41, 'said', 41);
  assert.deepEqual(heard, [['gap', { channel: 'room:7', reason: 'slow' }], ['said', 41]]);
});

test('a second request for a channel does not move its position', async () => {
  const world = new World();
  const socket = await subscribed(world);
  const heard = record(socket, ...HEARD);
  socket.get('/rooms/7/again');
  assert.equal(resumes(world)[1], undefined);
  world.socket.answer(answer({ 'room:7': ['epoch-aa', 50, 'fresh'] }));
  world.socket.emit('$', 'room:7', 11, 'said', 11);
  assert.deepEqual(heard, [['said', 11]]);
  await reconnect(world);
  assert.deepEqual([urls(world), resumes(world)], [['/rooms/7/again'], [{ 'room:7': ['epoch-aa', 11] }]]);
});

test('of many requests for one channel the newest is repeated', async () => {
  const world = new World();
  const socket = await connected(world);
  const heard = record(socket, ...HEARD);
  for (let i = 0; i < 300; i++) {
    socket.get(`/rooms/7?since=${i}`);
    world.socket.answer(answer({ 'room:7': ['epoch-aa', i, 'fresh'] }));
  }
  await reconnect(world);
  assert.deepEqual(urls(world), ['/rooms/7?since=299']);
  world.socket.answer(answer({ 'room:7': ['epoch-aa', 9, 'recovered'] }));
  await world.advance(5000);
  assert.deepEqual(heard.map(([event, { url }]) => [event, url]), [['resubscribed', '/rooms/7?since=299']]);
});

test('a request is repeated for the channels that no later one subscribed to', async () => {
  const world = new World();
  const socket = await connected(world);
  const heard = record(socket, ...HEARD);
  const both = (outcome, offset) => answer({ 'room:7': ['epoch-aa', offset, outcome], news: ['epoch-bb', offset, outcome] });
  socket.get('/rooms/7');
  world.socket.answer(both('fresh', 1));
  socket.get('/news');
  world.socket.answer(answer({ news: ['epoch-bb', 5, 'fresh'] }));
  for (let cut = 0; cut < 2; cut++) {
    await reconnect(world);
    const sent = Object.fromEntries(world.socket.requests.map(([, , { url, resume }]) => [url, positions(resume)]));
    // Its answer names both again, so it says where both are.
    assert.deepEqual(sent, { '/rooms/7': { 'room:7': ['epoch-aa', 1], news: ['epoch-bb', 1] }, '/news': { news: ['epoch-bb', 1] } });
    world.socket.answer(answer({ news: ['epoch-bb', 1, 'recovered'] }), '/news');
    world.socket.answer(both('recovered', 1), '/rooms/7');
    await world.advance(5000);
  }
  assert.deepEqual(heard.map(([event]) => event), ['resubscribed', 'resubscribed', 'resubscribed', 'resubscribed']);
  socket.get('/rooms/7/again');
  world.socket.answer(answer({ 'room:7': ['epoch-aa', 1, 'fresh'] }), '/rooms/7/again');
  await reconnect(world);
  assert.deepEqual(urls(world).sort(), ['/news', '/rooms/7/again']);
});

test('a handler that disconnects is called with no more of a replay', async () => {
  const world = new World();
  const socket = await subscribed(world);
  const heard = record(socket, 'said');
  socket.on('said', (n) => { if (n === 12) socket.disconnect(); });
  const replay = [11, 12, 13, 14].map((offset) => [offset, 'said', offset]);
  await reconnect(world);
  world.socket.answer(answer({ 'room:7': ['epoch-aa', 14, 'recovered'] }));
  world.socket.emit('$replay', 'room:7', replay, false);
  assert.deepEqual(heard, [['said', 11], ['said', 12]]);
  socket.reconnect();
  await settle();
  world.socket.accept();
  await world.advance(100);
  assert.deepEqual(resumes(world), [{ 'room:7': ['epoch-aa', 12] }]);
  world.socket.answer(answer({ 'room:7': ['epoch-aa', 14, 'recovered'] }));
  world.socket.emit('$replay', 'room:7', replay.slice(2), false);
  assert.deepEqual(heard.slice(2), [['said', 13], ['said', 14]]);
});

test('a request that is new says where its channels are too, until they are live again', async () => {
  const world = new World();
  const socket = await subscribed(world);
  const heard = record(socket, ...HEARD);
  world.socket.drop();
  await world.advance(5000);
  world.socket.accept();
  socket.get('/rooms/7/again');
  assert.deepEqual(resumes(world), [{ 'room:7': ['epoch-aa', 10] }]);
  world.socket.answer(answer({ 'room:7': ['epoch-aa', 12, 'recovered'] }), '/rooms/7/again');
  world.socket.emit('$replay', 'room:7', [[11, 'said', 11], [12, 'said', 12]], false);
  socket.get('/other');
  assert.equal(resumes(world).pop(), undefined);
  assert.deepEqual(heard, [['said', 11], ['said', 12]]);
});

test('a request is repeated once for each URL and data, with its own headers and fresh common ones', async () => {
  const world = new World();
  let token = 0;
  const socket = await connected(world, { headers: () => ({ authorization: `token ${++token}` }) });
  for (const data of [{ a: 1 }, { a: 1 }, { a: 2 }]) {
    socket.get('/rooms', data, { headers: { own: 'x' } });
    world.socket.answer(answer({ [`list:${data.a}`]: ['epoch-aa', 1, 'fresh'] }));
  }
  await reconnect(world);
  const sent = world.socket.requests.map(([, , { data, headers }]) => [data.a, headers]);
  assert.deepEqual(sent, [[1, { authorization: 'token 4', own: 'x' }], [2, { authorization: 'token 5', own: 'x' }]]);
});

test('params changed after the answer are repeated as sent', async () => {
  const world = new World();
  const socket = await connected(world);
  const heard = record(socket, ...HEARD);
  const params = { id: 1, more: { of: ['it'] } };
  const options = { url: '/rooms', params, headers: { a: '1' } };
  for (const id of [1, 2]) {
    params.id = id;
    socket.request(options);
    world.socket.answer(answer({ [`room:${id}`]: ['epoch-aa', 1, 'fresh'] }));
  }
  for (const name of Object.keys(params)) delete params[name];
  options.headers.a = '2';
  options.url = '/elsewhere';
  await reconnect(world);
  const sent = world.socket.requests.map(([, , { url, data, headers, resume }]) => [url, data, headers, Object.keys(resume)]);
  const more = { of: ['it'] };
  assert.deepEqual(sent, [
    ['/rooms', { id: 1, more }, { a: '1' }, ['room:1']],
    ['/rooms', { id: 2, more }, { a: '1' }, ['room:2']],
  ]);
  const [[first], [second]] = world.socket.requests;
  for (const [ack, id] of [[first, 1], [second, 2]]) {
    world.socket.receive(`43${ack}${JSON.stringify([answer({ [`room:${id}`]: ['epoch-aa', 1, 'recovered'] })])}`);
  }
  await world.advance(5000);
  assert.deepEqual(heard.map(([event, { recovered }]) => [event, recovered]), [['resubscribed', true], ['resubscribed', true]]);
});

test('256 subscriptions come back in parallel, with room for the page', async () => {
  const world = new World();
  const socket = await connected(world);
  const back = record(socket, 'resubscribed');
  for (let i = 0; i < 256; i++) {
    socket.get(`/rooms/${i}`);
    world.socket.answer(answer({ [`room:${i}`]: ['epoch-aa', 1, 'fresh'] }));
  }
  world.socket.drop();
  await world.advance(5000);
  world.socket.accept();
  const began = world.now;
  let answered = 0;
  let most = 0;
  while (back.length < 256) {
    // A server 50 ms away.
    const flying = world.socket.requests.slice(answered);
    most = Math.max(most, flying.length);
    answered += flying.length;
    await world.advance(50);
    for (const [id, , { url }] of flying) {
      world.socket.receive(`43${id}${JSON.stringify([answer({ [url.replace('/rooms/', 'room:')]: ['epoch-aa', 1, 'recovered'] })])}`);
    }
    await settle();
    assert.ok(world.now - began < 1000, `${back.length} after a second`);
  }
  assert.deepEqual([answered, most], [256, 32]);
});

test('a lost connection takes no request that waits, whatever is in flight', async () => {
  const ends = {
    drop: (world) => world.sockets[1].drop(),
    sleep: (world, socket) => {
      world.now += 45000;
      socket.replay();
    },
  };
  for (const end of Object.values(ends)) {
    const world = new World();
    const socket = await subscribed(world);
    await reconnect(world);
    const heard = record(socket, 'disconnect');
    const old = world.socket;
    assert.deepEqual(urls(world), ['/rooms/7']);
    old.emit('$drain', { after_ms: 0 });
    const waiting = socket.post('/a');
    end(world, socket);
    await world.advance(5000);
    assert.deepEqual([old.requests.length, heard.length], [1, 1]);
    world.socket.accept();
    await world.advance(0);
    world.socket.answer({ statusCode: 201 }, '/a');
    assert.equal((await waiting).statusCode, 201);
  }
});

test('many repeats leave no warning of listeners', async () => {
  const warnings = [];
  const listener = ({ name }) => warnings.push(name);
  process.on('warning', listener);
  const world = new World();
  const socket = await connected(world);
  for (let i = 0; i < 40; i++) {
    socket.get(`/rooms/${i}`);
    world.socket.answer(answer({ [`room:${i}`]: ['epoch-aa', 1, 'fresh'] }));
  }
  await reconnect(world);
  assert.equal(world.socket.requests.length, 32);
  await settle();
  process.off('warning', listener);
  assert.deepEqual(warnings, []);
});

/** What a page may do in its handlers so that its subscriptions are allowed again. */
const LOGINS = {
  'by a callback': (socket) => { socket.post('/login', () => {}); },
  'by a promise that is dropped': (socket) => { socket.post('/login'); },
  'by an async handler': async (socket) => { await socket.post('/login'); },
  'after something else': async (socket) => {
    await new Promise((resolve) => setImmediate(resolve));
    await socket.post('/login');
  },
  'in a second request, by callbacks': (socket) => { socket.get('/nonce', () => { socket.post('/login', () => {}); }); },
  'in a second request, by a dropped promise': (socket) => { socket.get('/nonce').then(() => socket.post('/login')); },
  'in a second request': async (socket) => {
    await socket.get('/nonce');
    await socket.post('/login');
  },
};

for (const [way, login] of Object.entries(LOGINS)) {
  for (const event of ['connect', 'reconnect', 'state']) {
    test(`repeats wait for a login ${way} in \`${event}\``, async () => {
      const world = new World();
      const socket = await subscribed(world);
      const heard = record(socket, ...HEARD);
      socket.on(event, () => (socket.isConnected() ? login(socket) : undefined));
      await reconnect(world);
      if (urls(world)[0] === '/nonce') world.socket.answer({ statusCode: 200 }, '/nonce');
      await settle();
      for (let waited = 0; waited < 5; waited++) {
        await world.advance(1000);
        assert.equal(urls(world).includes('/rooms/7'), false);
      }
      world.socket.answer({ statusCode: 200 }, '/login');
      await world.advance(100);
      assert.deepEqual(urls(world).slice(-2), ['/login', '/rooms/7']);
      world.socket.answer(answer({ 'room:7': ['epoch-aa', 10, 'recovered'] }), '/rooms/7');
      await world.advance(5000);
      assert.deepEqual(heard.map(([name]) => name), ['resubscribed']);
    });
  }
}

test('a handler that never ends delays repeats by 10 s', async () => {
  const world = new World();
  const socket = await subscribed(world);
  socket.on('connect', () => new Promise(() => {}));
  await reconnect(world);
  await world.advance(9900);
  assert.deepEqual(urls(world), []);
  await world.advance(200);
  assert.deepEqual(urls(world), ['/rooms/7']);
});

test('a connection lost during a login leaves one repeat', async () => {
  const world = new World();
  const socket = await subscribed(world);
  socket.on('connect', () => { socket.post('/login'); });
  await reconnect(world);
  await reconnect(world);
  world.socket.answer({ statusCode: 200 }, '/login');
  await world.advance(15000);
  assert.deepEqual(urls(world), ['/login', '/rooms/7']);
});

test('an async handler that fails is an unhandled rejection', async () => {
  const unhandled = [];
  const others = process.listeners('unhandledRejection');
  process.removeAllListeners('unhandledRejection').on('unhandledRejection', (error) => unhandled.push(error.message));
  const world = new World();
  const socket = await subscribed(world);
  socket.on('connect', async () => { throw new Error('no login'); });
  await reconnect(world);
  process.removeAllListeners('unhandledRejection');
  for (const other of others) process.on('unhandledRejection', other);
  assert.deepEqual([unhandled, urls(world)], [['no login'], ['/rooms/7']]);
});

test('requests that do not subscribe by a GET, or opt out, are not repeated, and their channels are gaps', async () => {
  const world = new World();
  const socket = await connected(world);
  const heard = record(socket, 'gap');
  socket.post('/join');
  world.socket.answer(answer({ joined: ['epoch-aa', 1, 'fresh'] }));
  socket.get('/out', {}, { resume: false });
  world.socket.answer(answer({ out: ['epoch-aa', 1, 'fresh'] }));
  socket.get('/plain');
  world.socket.answer({ body: 1, headers: {}, statusCode: 200 });
  await reconnect(world);
  assert.deepEqual([urls(world), heard], [[], []]);
  await world.advance(2000);
  assert.deepEqual(heard, [['gap', { channel: 'joined', reason: 'not-repeatable' }], ['gap', { channel: 'out', reason: 'not-repeatable' }]]);
  await reconnect(world);
  await world.advance(2000);
  assert.equal(heard.length, 2, 'once');
});

test('channels that the server joins us to again are no gaps if nothing was missed', async () => {
  const world = new World();
  const socket = await connected(world);
  const heard = record(socket, ...HEARD);
  world.socket.emit('$join', 'news', 'epoch-aa', 5);
  world.socket.emit('$join', 'user:1', 'epoch-aa', 5);
  world.socket.emit('$', 'news', 6, 'said', 6);
  await reconnect(world);
  assert.deepEqual(positions(world.socket.payload.catamaran.resume), { news: ['epoch-aa', 6], 'user:1': ['epoch-aa', 5] });
  world.socket.emit('$join', 'news', 'epoch-aa', 6);
  world.socket.emit('$join', 'user:1', 'epoch-aa', 9);
  await world.advance(5000);
  assert.deepEqual(heard, [['said', 6], ['gap', { channel: 'user:1', reason: 'not retained' }]]);
});

test('what was left is forgotten', async () => {
  const world = new World();
  const socket = await subscribed(world);
  socket.get('/rooms/8');
  world.socket.answer(answer({ 'room:8': ['epoch-aa', 1, 'fresh'] }));
  const heard = record(socket, ...HEARD);
  socket.delete('/rooms/7/members/me');
  world.socket.answer({ headers: {}, statusCode: 204, left: ['room:7'] });
  world.socket.emit('$left', 'room:8', 'banned');
  assert.deepEqual(heard, [['lost', { channels: ['room:8'], reason: 'banned' }]]);
  await reconnect(world);
  await world.advance(5000);
  assert.deepEqual([urls(world), heard.length], [[], 1]);
});

test('a request that made two subscriptions is repeated for the one that is left', async () => {
  const world = new World();
  const socket = await connected(world);
  socket.get('/both');
  world.socket.answer(answer({ one: ['epoch-aa', 1, 'fresh'], two: ['epoch-aa', 2, 'fresh'] }));
  world.socket.emit('$left', 'one', 'banned');
  await reconnect(world);
  assert.deepEqual(resumes(world), [{ two: ['epoch-aa', 2] }]);
});

test('closed by the server, a socket has lost all of its channels, and stays away until the page asks', async () => {
  const world = new World();
  const socket = await subscribed(world);
  world.socket.emit('$join', 'news', 'epoch-aa', 5);
  const heard = record(socket, ...HEARD, 'disconnect');
  world.socket.emit('$left', null, 'logged out');
  world.socket.receive('41');
  await world.advance(60000);
  assert.deepEqual(heard, [
    ['lost', { channels: ['room:7', 'news'], reason: 'logged out' }],
    ['disconnect', 'io server disconnect'],
  ]);
  assert.equal(socket.state, 'disconnected');
  socket.reconnect();
  await settle();
  world.socket.accept();
  assert.deepEqual([urls(world), positions(world.socket.payload.catamaran.resume)], [[], {}]);
});

test('a subscription that expired is renewed with what the client has by then', async () => {
  const world = new World();
  let token = 0;
  const socket = await subscribed(world, { headers: () => ({ token: `${++token}` }) });
  const heard = record(socket, ...HEARD);
  world.socket.emit('$left', 'room:7', 'expired');
  await world.advance(100);
  const [, , { headers, resume }] = world.socket.requests[1];
  assert.deepEqual([headers, positions(resume)], [{ token: '2' }, { 'room:7': ['epoch-aa', 10] }]);
  world.socket.answer(answer({ 'room:7': ['epoch-aa', 12, 'recovered'] }));
  await settle();
  assert.deepEqual(heard.map(([event, { recovered }]) => [event, recovered]), [['resubscribed', true]]);
});

test('refused for good, a subscription is lost', async () => {
  for (const status of [401, 403, 404, 410]) {
    const world = new World();
    const socket = await subscribed(world);
    const heard = record(socket, ...HEARD);
    await reconnect(world);
    world.socket.answer({ body: 'no', headers: {}, statusCode: status });
    await world.advance(5000);
    assert.deepEqual(heard.map(([event, { url, channels, reason }]) => [event, url, channels, reason]),
      [['lost', '/rooms/7', ['room:7'], `status ${status}`]]);
    await reconnect(world);
    assert.deepEqual([urls(world), world.socket.payload.catamaran.resume], [[], {}]);
  }
});

test('a channel that the server joins while its repeat is refused goes on', async () => {
  const world = new World();
  const socket = await subscribed(world);
  const heard = record(socket, ...HEARD);
  world.socket.emit('$left', 'room:7', 'expired');
  await world.advance(100);
  world.socket.emit('$join', 'room:7', 'epoch-aa', 10);
  world.socket.answer({ body: 'no', headers: {}, statusCode: 403 });
  await settle();
  world.socket.emit('$', 'room:7', 11, 'said', 'eleven');
  assert.deepEqual(heard.map(([event]) => event), ['lost', 'said']);
  await reconnect(world);
  assert.deepEqual(positions(world.socket.payload.catamaran.resume), { 'room:7': ['epoch-aa', 11] });
});

test('refused for now, or not at all answered, it is asked again, and the position is kept', async () => {
  const world = new World();
  const socket = await subscribed(world);
  const heard = record(socket, ...HEARD);
  await reconnect(world);
  for (const statusCode of [429, 503, 500]) {
    const sent = world.socket.requests.length;
    world.socket.answer({ headers: {}, statusCode });
    await settle();
    assert.equal(world.socket.requests.length, sent, 'not at once');
    while (world.socket.requests.length === sent) await world.advance(100);
  }
  const sent = world.socket.requests.length;
  world.socket.receive('2');
  await world.advance(30000);
  world.socket.receive('2');
  await world.advance(30000);
  assert.ok(world.socket.requests.length > sent, 'a time-out');
  assert.deepEqual(resumes(world).pop(), { 'room:7': ['epoch-aa', 10] });
  world.socket.answer(answer({ 'room:7': ['epoch-aa', 10, 'recovered'] }));
  await settle();
  assert.deepEqual(heard.map(([event]) => event), ['resubscribed']);
});

test('refused with a time to wait, it is not asked again before that', async () => {
  const world = new World();
  await subscribed(world);
  await reconnect(world);
  const sent = world.socket.requests.length;
  world.socket.answer({ headers: { 'retry-after': '7' }, statusCode: 429 });
  for (let waited = 0; waited < 6900; waited += 100) {
    if (waited % 5000 === 0) world.socket.receive('2');
    await world.advance(100);
  }
  assert.equal(world.socket.requests.length, sent);
  await world.advance(1200);
  assert.equal(world.socket.requests.length, sent + 1);
});

test('an answer that comes too late for the page still says where the channels are', async () => {
  const world = new World();
  const socket = await subscribed(world);
  const heard = record(socket, ...HEARD);
  await reconnect(world);
  world.socket.receive('2');
  await world.advance(30000);
  world.socket.answer(answer({ 'room:7': ['epoch-aa', 500, 'gap'] }));
  world.socket.emit('$', 'room:7', 501, 'said', 501);
  assert.deepEqual(heard, [['gap', { channel: 'room:7', reason: 'not retained' }], ['said', 501]]);
  // The page has no body yet.
  await world.advance(5000);
  assert.deepEqual(resumes(world), [{ 'room:7': ['epoch-aa', 10] }, undefined]);
  world.socket.answer(answer({ 'room:7': ['epoch-aa', 501, 'gap'] }));
  await world.advance(60000);
  assert.deepEqual(heard.slice(2).map(([event, { recovered, body }]) => [event, recovered, body]), [['resubscribed', false, 'fresh']]);
  await reconnect(world);
  assert.deepEqual(resumes(world), [{ 'room:7': ['epoch-aa', 501] }]);
});

test('neither that answer nor the next sets a position back', async () => {
  const world = new World();
  const socket = await connected(world);
  const heard = record(socket, ...HEARD);
  await assert.rejects(async () => {
    const asked = socket.get('/rooms/7', {}, { timeout: 1000 });
    await world.advance(1000);
    await asked;
  }, { code: 'timeout' });
  const again = socket.get('/rooms/7');
  const [[first], [second]] = world.socket.requests;
  const answerTo = (id, ...position) => world.socket.receive(`43${id}${JSON.stringify([answer({ 'room:7': position })])}`);
  answerTo(first, 'epoch-aa', 10, 'fresh');
  world.socket.emit('$', 'room:7', 11, 'said', 11);
  // The server wrote it before that entry.
  answerTo(second, 'epoch-aa', 10, 'fresh');
  await again;
  await reconnect(world);
  assert.deepEqual(resumes(world), [{ 'room:7': ['epoch-aa', 11] }]);
  assert.deepEqual(heard, [['said', 11]]);
});

test('an answer that was refused too late changes nothing', async () => {
  const world = new World();
  const socket = await subscribed(world);
  const heard = record(socket, ...HEARD);
  await reconnect(world);
  world.socket.receive('2');
  await world.advance(30000);
  const [[first]] = world.socket.requests;
  world.socket.receive(`43${first}${JSON.stringify([{ headers: {}, statusCode: 503 }])}`);
  await world.advance(5000);
  assert.deepEqual(resumes(world), [{ 'room:7': ['epoch-aa', 10] }, { 'room:7': ['epoch-aa', 10] }]);
  assert.deepEqual(heard, []);
});

test('each of two requests for a filtered channel is repeated, as one may receive less of it', async () => {
  const world = new World();
  const socket = await connected(world);
  for (const url of ['/rooms/7', '/rooms/7?all']) {
    socket.get(url);
    world.socket.answer(answer({ 'room:7': ['epoch-aa', 10, 'fresh', 'filtered'] }), url);
  }
  const heard = record(socket, 'resubscribed');
  world.socket.drop();
  await world.advance(5000);
  // The second is to be sent when the first has its answer.
  const delays = [0, 1];
  Object.defineProperty(world, 'random', { get: () => delays.shift() });
  world.socket.accept();
  await world.advance(10);
  world.socket.answer(answer({ 'room:7': ['epoch-aa', 10, 'recovered', 'filtered'] }), '/rooms/7');
  await world.advance(100);
  assert.deepEqual(urls(world), ['/rooms/7', '/rooms/7?all']);
  world.socket.answer(answer({ 'room:7': ['epoch-aa', 10, 'fresh', 'filtered'] }), '/rooms/7?all');
  await settle();
  assert.deepEqual(heard.map(([, { url, recovered }]) => [url, recovered]), [['/rooms/7', true], ['/rooms/7?all', false]]);
});

test('the position in a filtered channel names the viewer of its newest answer, also after a gap', async () => {
  const world = new World();
  const socket = await connected(world);
  const get = (viewer) => {
    socket.get('/pet');
    world.socket.answer(answer({ pet: ['epoch-aa', 10, 'fresh', 'filtered', viewer] }), '/pet');
  };
  get(7);
  get(8);
  world.socket.emit('$gap', 'pet', 'epoch-bb', 3, 'missed');
  await reconnect(world);
  const [[, , { resume }]] = world.socket.requests;
  assert.deepEqual(resume, { pet: ['epoch-bb', 3, 3, 8] });
  // Another user has logged in, and what the page has is no beginning of what this one may see.
  const heard = record(socket, ...HEARD);
  world.socket.answer(answer({ pet: ['epoch-bb', 5, 'gap', 'filtered', 9] }), '/pet');
  await settle();
  assert.deepEqual(heard.map(([event, { recovered, reason }]) => [event, recovered ?? reason]), [['gap', 'not retained'], ['resubscribed', false]]);
  await reconnect(world);
  assert.deepEqual(world.socket.requests.at(-1)[2].resume, { pet: ['epoch-bb', 5, 5, 9] });
});

test('a page that repeats its requests by itself is let do so', async () => {
  const world = new World();
  const socket = await subscribed(world);
  const heard = record(socket, ...HEARD);
  const bodies = [];
  socket.on('connect', () => socket.get('/rooms/7', (body) => bodies.push(body)));
  await reconnect(world);
  assert.deepEqual([urls(world), resumes(world)], [['/rooms/7'], [{ 'room:7': ['epoch-aa', 10] }]]);
  world.socket.answer(answer({ 'room:7': ['epoch-aa', 10, 'recovered'] }));
  await world.advance(10000);
  assert.deepEqual([world.socket.requests.length, bodies, heard], [1, ['fresh'], []]);
});

test('a repeat of the page that fails is made up for', async () => {
  const world = new World();
  const socket = await subscribed(world);
  socket.once('connect', () => socket.get('/rooms/7'));
  await reconnect(world);
  world.socket.answer({ headers: {}, statusCode: 503 });
  await world.advance(5000);
  assert.deepEqual(urls(world), ['/rooms/7', '/rooms/7']);
});

test('a channel that the repeated request names no more is a gap', async () => {
  const world = new World();
  const socket = await subscribed(world);
  const heard = record(socket, ...HEARD);
  await reconnect(world);
  world.socket.answer({ body: 1, headers: {}, statusCode: 200 });
  await settle();
  assert.deepEqual(heard.map(([event, { recovered, reason }]) => [event, recovered, reason]),
    [['gap', undefined, 'not-repeatable'], ['resubscribed', false, undefined]]);
});

test('a cut while a repeat is in flight leaves one repeat for the next connection', async () => {
  const world = new World();
  const socket = await subscribed(world);
  const heard = record(socket, ...HEARD);
  await reconnect(world);
  assert.equal(world.socket.requests.length, 1);
  await reconnect(world);
  assert.equal(world.socket.requests.length, 1);
  world.socket.answer(answer({ 'room:7': ['epoch-aa', 10, 'recovered'] }));
  await world.advance(60000);
  assert.deepEqual(heard.map(([event]) => event), ['resubscribed']);
});

test('disconnect ends all of it, and reconnect brings it back', async () => {
  const world = new World();
  const socket = await subscribed(world);
  await reconnect(world);
  socket.disconnect();
  await settle();
  assert.deepEqual(world.timers, []);
  socket.reconnect();
  await settle();
  world.socket.accept();
  await world.advance(100);
  assert.deepEqual(resumes(world), [{ 'room:7': ['epoch-aa', 10] }]);
});

test('a server that drains gets no new request, answers the old ones, and is left for the next', async () => {
  const world = new World();
  const socket = await connected(world);
  const heard = record(socket, 'disconnect', 'connect');
  const old = world.socket;
  const flying = socket.get('/a');
  old.emit('$drain', { after_ms: 2000 });
  socket.get('/b');
  await world.advance(2000);
  const waiting = socket.get('/c');
  assert.deepEqual(urls(world), ['/a', '/b']);
  old.answer({ statusCode: 200 }, '/a');
  await flying;
  old.answer({ statusCode: 200 }, '/b');
  await world.advance(0);
  assert.equal(world.sockets.length, 2, 'at once');
  assert.deepEqual([old.closed, heard], [false, []], 'the old one serves until the next is there');
  world.socket.accept();
  assert.equal(old.closed, true);
  world.socket.answer({ statusCode: 200 }, '/c');
  assert.equal((await waiting).statusCode, 200);
  assert.deepEqual(heard, [['disconnect', 'transport close'], ['connect']]);
});

test('the old connection is heard until the next is there, and nothing twice or never', async () => {
  const world = new World();
  const socket = await subscribed(world);
  const heard = record(socket, ...HEARD);
  const [old] = world.sockets;
  old.emit('$', 'room:7', 11, 'said', 1);
  old.emit('$drain', { after_ms: 0 });
  await settle();
  old.emit('$', 'room:7', 12, 'said', 2);
  world.socket.accept();
  old.emit('$', 'room:7', 13, 'said', 'too late');
  assert.deepEqual(positions(world.socket.payload.catamaran.resume), { 'room:7': ['epoch-aa', 11] }, 'as it was opened');
  await world.advance(100);
  assert.deepEqual(resumes(world), [{ 'room:7': ['epoch-aa', 12] }]);
  world.socket.answer(answer({ 'room:7': ['epoch-aa', 13, 'recovered'] }));
  world.socket.emit('$replay', 'room:7', [[12, 'said', 2], [13, 'said', 3]], false);
  await settle();
  const said = heard.filter(([event]) => event === 'said').map(([, number]) => number);
  assert.deepEqual([said, heard.filter(([event]) => event === 'gap')], [[1, 2, 3], []]);
});

test('a channel that the server joins again goes on from what the old connection brought last', async () => {
  const world = new World();
  const socket = await connected(world);
  const [old] = world.sockets;
  old.emit('$join', 'news', 'epoch-aa', 11);
  const heard = record(socket, ...HEARD);
  old.emit('$drain', { after_ms: 0 });
  await settle();
  old.emit('$', 'news', 12, 'said', 1);
  world.socket.accept();
  assert.deepEqual(positions(world.socket.payload.catamaran.resume), { news: ['epoch-aa', 11] }, 'as it was opened');
  world.socket.emit('$join', 'news', 'epoch-aa', 11);
  world.socket.emit('$replay', 'news', [[12, 'said', 1], [13, 'said', 2]], false);
  await world.advance(2000);
  assert.deepEqual([heard, socket.duplicates], [[['said', 1], ['said', 2]], 1]);
});

test('a page that wants something else while it moves on has its way', async () => {
  for (const wish of ['disconnect', 'reconnect']) {
    const world = new World();
    const socket = await connected(world);
    world.socket.emit('$drain', { after_ms: 0 });
    await settle();
    if (wish === 'disconnect') {
      socket.disconnect();
    } else {
      socket.once('disconnect', () => socket.reconnect());
      world.socket.accept();
      await settle();
    }
    const open = world.sockets.filter(({ closed }) => !closed);
    assert.deepEqual([socket.state, open.length], wish === 'disconnect' ? ['disconnected', 0] : ['connecting', 1]);
  }
});

test('where the next connection cannot be made the old one is left, and it is tried again', async () => {
  const world = new World();
  await connected(world);
  const [old] = world.sockets;
  old.emit('$drain', { after_ms: 0 });
  await settle();
  world.socket.drop();
  assert.equal(old.closed, true);
  await world.advance(300);
  assert.equal(world.sockets.length, 3);
  world.socket.accept();
  assert.deepEqual(world.sockets.map(({ closed }) => closed), [true, true, false]);
});

test('a server that drains is left at once if it owes no answer', async () => {
  const world = new World();
  await connected(world);
  world.socket.emit('$drain', { after_ms: 0 });
  await world.advance(0);
  assert.equal(world.sockets.length, 2);
});

test('a server that drains and does not answer is left all the same', async () => {
  const world = new World();
  const socket = await connected(world);
  const asked = socket.get('/a');
  world.socket.emit('$drain', { after_ms: 0 });
  await world.advance(10000);
  await assert.rejects(asked, { code: 'disconnected', sent: true });
  assert.equal(world.sockets.length, 2);
});

test('a request that was not begun is sent again, by any method, three times at most', async () => {
  const world = new World();
  const socket = await connected(world);
  const posted = [socket.post('/a', { n: 1 }), socket.post('/b')];
  const notRun = { headers: { 'x-catamaran-not-run': '1' }, statusCode: 503 };
  for (let i = 0; i < 3; i++) {
    world.socket.answer(notRun, '/b');
    world.socket.answer(notRun, '/a');
    await world.advance(5000);
    world.socket.accept();
    assert.deepEqual(urls(world), ['/a', '/b']);
  }
  world.socket.answer(notRun, '/a');
  world.socket.answer({ statusCode: 201 }, '/b');
  assert.deepEqual((await Promise.all(posted)).map(({ statusCode }) => statusCode), [503, 201]);
});

test('what a server says of channels in no readable way ends the connection, or does no harm', async () => {
  const world = new World();
  const socket = await subscribed(world);
  for (const channels of [null, 5, 'text', [], { a: null }, { a: 5 }, { a: [] }]) {
    const asked = socket.get('/x');
    world.socket.answer({ statusCode: 200, channels, left: null });
    await asked;
  }
  for (const event of [['$'], ['$', 5], ['$left'], ['$gap'], ['$join'], ['$replay', 'room:7', []]]) world.socket.emit(...event);
  assert.equal(socket.isConnected(), true);
  assert.equal(plain(world.uncaught).length, 0);
});
