const assert = require('node:assert/strict');
const { test } = require('node:test');
const { World, plain, record, settle } = require('./world.js');

const HELLO = { body: { hello: 'world' }, headers: {}, statusCode: 200 };

test('a request is one event named after its method', async () => {
  const world = new World();
  const socket = await world.connected();
  socket.get('/hello', () => {});
  socket.post('/hello', { a: 1 }, () => {});
  socket.request({ method: 'HEAD', url: '/hello/ ', headers: { 'X-A': 'b' } });
  assert.deepEqual(world.socket.sent.slice(1), [
    '420["get",{"method":"get","headers":{},"data":{},"url":"/hello"}]',
    '421["post",{"method":"post","headers":{},"data":{"a":1},"url":"/hello"}]',
    '422["head",{"method":"head","headers":{"X-A":"b"},"data":{},"url":"/hello/ "}]',
  ]);
});

test('a callback gets the body and the answer, and the call returns nothing', async () => {
  const world = new World();
  const socket = await world.connected();
  const calls = [];
  for (const method of ['get', 'post', 'put', 'patch', 'delete']) {
    assert.equal(socket[method]('/hello', (body, jwr) => calls.push([body, jwr])), undefined);
    world.socket.answer(HELLO);
  }
  assert.equal(calls.length, 5);
  for (const [body, jwr] of calls) {
    assert.deepEqual(plain(body), { hello: 'world' });
    assert.deepEqual(plain(jwr.toPOJO()), HELLO);
    assert.equal(jwr.error, undefined);
  }
});

test('an answer has the fields of a Sails answer', async () => {
  const world = new World();
  const socket = await world.connected();
  const ask = async (ack) => {
    const asked = socket.get('/x');
    world.socket.answer(ack);
    return asked;
  };
  const missing = await ask({ body: { a: 1 }, headers: {}, statusCode: 404 });
  assert.equal(missing.error.message, 'Server responded with a 404 status code:\n```\n{\n  "a": 1\n}\n```');
  const bare = await ask({});
  assert.deepEqual([bare.body, plain(bare.headers), bare.statusCode, bare.error], [undefined, {}, 200, undefined]);
  assert.equal((await ask({ statusCode: 302 })).error, undefined);
  assert.match((await ask({ statusCode: 199 })).error.message, /^Server responded with a 199 status code:/);
  assert.equal(String(bare), '[ResponseFromSails]  -- Status: 200  -- Headers: [object Object]  -- Body: undefined');
  assert.equal(bare.pipe().message, 'Client-side streaming support not implemented yet.');
  assert.equal((await ask({ body: null, statusCode: 200 })).body, null);
});

test('a promise resolves for every status', async () => {
  const world = new World();
  const socket = await world.connected();
  for (const statusCode of [200, 204, 302, 404, 500, 503]) {
    const asked = socket.get('/x');
    world.socket.answer({ statusCode });
    assert.equal((await asked).statusCode, statusCode);
  }
});

test('bytes come back in a body', async () => {
  const world = new World();
  const socket = await world.connected();
  const asked = socket.get('/file');
  world.socket.receive('461-0[{"body":{"_placeholder":true,"num":0},"headers":{},"statusCode":200}]');
  const bytes = new Uint8Array([1, 2, 3]).buffer;
  world.socket.receive(bytes);
  assert.equal((await asked).body, bytes);
});

test('arguments that are wrong are refused at once', async () => {
  const { catamaran } = new World();
  const socket = catamaran({}).socket;
  const refused = (args, line) => assert.throws(() => socket.request(...args), (error) => error.message.split('\n')[0] === line);
  refused([{ url: '/x' }, 'callback'], 'Invalid callback function!');
  for (const options of [undefined, null, 'url', {}, { url: 5 }]) refused([options], 'Invalid or missing URL!');
  // With a name that JSON escapes, the server would close the connection.
  for (const method of [5, 'say "hi"', 'größe', 'a\\b', 'a\n', ' ', '\ud800']) {
    refused([{ url: '/x', method }], 'Invalid `method` provided (should be a string like "post" or "put")');
  }
  refused([{ url: '/x', headers: 'x' }], 'Invalid `headers` provided (should be a dictionary with string values)');
  refused([{ url: '/x', params: 'x' }], 'Invalid `params` provided (should be a dictionary with JSON-serializable values)');
  refused([{ url: '/x', data: 5 }], 'Invalid `data` provided (should be a dictionary with JSON-serializable values)');
  refused([{ url: '/x', data: {}, params: {} }], 'Cannot specify both `params` and `data`!  They are aliases of each other.');
  assert.throws(() => socket.get('/x', {}, 'callback'), /^Error: Invalid callback function!/);
  assert.throws(() => socket.get());
  assert.throws(() => socket._request());
});

test('the options of a request stay as they were', async () => {
  const world = new World();
  const socket = await world.connected({ headers: { a: '1' } });
  const options = Object.freeze({ url: '/x', params: Object.freeze({ b: 2 }), headers: Object.freeze({}) });
  socket.request(options);
  assert.deepEqual(world.socket.requests[0][2], { method: 'get', headers: { a: '1' }, data: { b: 2 }, url: '/x' });
});

test('options changed after the call are not sent', async () => {
  const world = new World();
  const socket = await world.connect();
  const options = { url: '/x', params: { a: [1], b: { c: 2 } }, headers: { d: '3' } };
  const sent = { method: 'get', url: '/x', data: { a: [1], b: { c: 2 } }, headers: { d: '3' } };
  socket.request(options);
  options.params.a.push(9);
  options.params.b.c = 9;
  options.headers.d = '9';
  Object.assign(options, { url: '/9', params: {}, method: 'post', headers: {} });
  world.socket.accept();
  assert.deepEqual(world.socket.requests.map(([, , envelope]) => envelope), [sent]);
});

/** Values that JSON would turn into something else in silence, by what the error calls them. */
const UNSENDABLE = {
  File: () => new File(['hello'], 'a.txt'),
  Blob: () => new Blob(['hello']),
  FormData: () => new FormData(),
  URLSearchParams: () => new URLSearchParams('a=1'),
  Headers: () => new Headers({ a: '1' }),
  ReadableStream: () => new ReadableStream(),
  ArrayBuffer: () => new ArrayBuffer(3),
  SharedArrayBuffer: () => new SharedArrayBuffer(3),
  DataView: () => new DataView(new ArrayBuffer(3)),
  ...Object.fromEntries([Int8Array, Uint8Array, Uint8ClampedArray, Int16Array, Uint16Array, Int32Array, Uint32Array, Float32Array,
    Float64Array, BigInt64Array, BigUint64Array].map((type) => [type.name, () => new type(2)])),
  // A Buffer has a `toJSON`, but arrives as no bytes.
  'Uint8Array (Buffer)': () => Buffer.from('hello'),
  Map: () => new Map([[1, 2]]),
  Set: () => new Set([1]),
  WeakMap: () => new WeakMap(),
  WeakSet: () => new WeakSet(),
  Promise: () => Promise.resolve(1),
  RegExp: () => /x/,
  Error: () => new Error('lost'),
  function: () => () => {},
  'function (class)': () => class {},
  symbol: () => Symbol('x'),
  bigint: () => 10n,
};
const PLACES = {
  'NAME': (value) => value,
  'NAME.a': (value) => ({ a: value }),
  'NAME.a.b[1].c': (value) => ({ a: { b: [0, { c: value }] } }),
  'NAME[0]': (value) => [value],
};

test('values that JSON loses fail the request unsent', async () => {
  const world = new World();
  const socket = await world.connected();
  for (const [type, make] of Object.entries(UNSENDABLE)) {
    for (const [place, put] of Object.entries(PLACES)) {
      const value = put(make());
      if (typeof value !== 'object') continue;
      for (const name of ['data', 'params']) {
        const refused = {
          name: 'TypeError', code: 'not_serializable', sent: false,
          message: new RegExp(`^\`${place.replace('NAME', name).replace(/[.[]/g, '\\$&')}\` cannot be sent as JSON, its type is ${type.split(' ')[0]}\\.`),
        };
        await assert.rejects(socket.request({ url: '/x', method: 'post', [name]: value }), refused);
        const [error, { statusCode }] = await new Promise((resolve) => {
          socket.request({ url: '/x', [name]: value }, (...args) => resolve(args));
        });
        assert.deepEqual([error.code, statusCode], ['not_serializable', 0]);
      }
    }
    const socketOf = await world.connected({ headers: () => ({ a: make() }) });
    await assert.rejects(socketOf.get('/x'), { name: 'TypeError', message: /^`headers\.a` cannot be sent/ });
    assert.throws(() => socket._raw.emit('event', { a: make() }), { name: 'TypeError' });
  }
  assert.deepEqual(world.sockets.flatMap(({ requests }) => requests), []);
  assert.equal(socket.isConnected(), true);
  const refused = await world.connect({ auth: { file: new Blob(['x']) }, reconnection: false });
  assert.equal(refused.state, 'disconnected');
});

test('values with a JSON form are sent as that', async () => {
  const world = new World();
  const socket = await world.connected();
  class Point { constructor() { Object.assign(this, { x: 1 }); } }
  const data = {
    date: new Date(0), url: new URL('https://a.example'), own: { toJSON: () => ({ y: 2 }) }, map: Object.assign(new Map(), { toJSON: () => 'map' }),
    point: new Point(), bare: Object.assign(Object.create(null), { z: 3 }), nothing: undefined, nan: NaN, boxed: Object('text'), hole: [, 1],
  };
  socket.post('/x', data);
  assert.deepEqual(plain(world.socket.requests[0][2].data), JSON.parse(JSON.stringify(data)));
  const circular = {};
  circular.self = { circular };
  await assert.rejects(socket.post('/x', circular), { name: 'TypeError', code: 'not_serializable', sent: false });
  let deep = {};
  for (let i = 0; i < 100000; i++) deep = { deep };
  await assert.rejects(socket.post('/x', deep), { name: 'RangeError', code: 'not_serializable', sent: false });
});

test('common headers are added where a request has not that key', async () => {
  const world = new World();
  const socket = await world.connected({ headers: { A: 'common', B: 'common', C: 'common' } });
  socket.request({ url: '/x', headers: { a: 'own', B: 'own', C: undefined } });
  assert.deepEqual(world.socket.requests[0][2].headers, { A: 'common', a: 'own', B: 'own' });
  socket.headers = { D: 'later' };
  socket.get('/x');
  assert.deepEqual(world.socket.requests[1][2].headers, { D: 'later' });
});

test('headers may be computed for each request, also by a promise, and the order stays', async () => {
  const world = new World();
  let token = 0;
  const socket = await world.connected({ headers: async () => ({ authorization: `token ${++token}` }) });
  socket.get('/a');
  socket.get('/b');
  assert.equal(world.socket.requests.length, 0);
  await settle();
  assert.deepEqual(world.socket.requests.map(([, , { url, headers }]) => [url, headers.authorization]), [['/a', 'token 1'], ['/b', 'token 2']]);
});

test('headers that cannot be had fail that request alone', async () => {
  const world = new World();
  const answers = [() => { throw new Error('thrown'); }, () => Promise.reject(new Error('rejected')), () => ({})];
  const socket = await world.connected({ headers: () => answers.shift()() });
  const asked = [socket.get('/a'), socket.get('/b'), socket.get('/c')];
  await assert.rejects(asked[0], /thrown/);
  await assert.rejects(asked[1], /rejected/);
  assert.deepEqual(world.socket.requests.map(([, , { url }]) => url), ['/c']);
});

test('headers that never come hold up nothing but what times out', async () => {
  const world = new World();
  const answers = [() => new Promise(() => {}), () => ({})];
  const socket = await world.connected({ headers: () => answers.shift()() });
  const stuck = socket.get('/a', {}, { timeout: 1000 });
  socket.get('/b');
  assert.equal(world.socket.requests.length, 0);
  await world.advance(1000);
  await assert.rejects(stuck, { code: 'timeout', sent: false });
  assert.deepEqual(world.socket.requests.map(([, , { url }]) => url), ['/b']);
});

test('requests wait for the connection, in order', async () => {
  const world = new World();
  const socket = await world.connect();
  const asked = [socket.get('/a'), socket.get('/b'), socket.get('/c')];
  assert.equal(world.socket.requests.length, 0);
  world.socket.accept();
  assert.deepEqual(world.socket.requests.map(([, , { url }]) => url), ['/a', '/b', '/c']);
  world.socket.answer(HELLO, '/b');
  assert.equal((await asked[1]).statusCode, 200);
});

test('on a socket of `connect` the queue goes before the handlers at first, and after them from then on', async () => {
  const world = new World();
  const socket = await world.connect();
  socket.get('/queued');
  socket.on('connect', () => socket.get('/handler'));
  world.socket.accept();
  const urls = () => world.socket.requests.map(([, , { url }]) => url);
  assert.deepEqual(urls(), ['/queued', '/handler']);
  world.socket.drop();
  socket.get('/queued');
  await world.advance(300);
  world.socket.accept();
  assert.deepEqual(urls(), ['/handler', '/queued']);
});

test('on `io.socket` the handlers of `connect` go first', async () => {
  const world = new World();
  const io = world.catamaran();
  Object.assign(io.sails, { url: 'http://server.example' });
  io.socket.get('/queued');
  io.socket.on('connect', () => io.socket.get('/handler'));
  await world.advance(0);
  world.socket.accept();
  assert.deepEqual(world.socket.requests.map(([, , { url }]) => url), ['/handler', '/queued']);
});

test('a lost connection fails what is in flight, once, and keeps what is queued', async () => {
  const world = new World();
  const socket = await world.connected();
  const calls = [];
  socket.get('/a', (...args) => {
    calls.push(args);
    if (socket.isConnected()) socket.disconnect();
  });
  const promise = socket.get('/b');
  const old = world.socket;
  old.drop();
  const queued = socket.get('/c');
  await assert.rejects(promise, { name: 'RequestError', code: 'disconnected', sent: true, message: 'The socket disconnected before the request completed.' });
  assert.equal(calls.length, 1);
  assert.equal(calls[0][0].message, 'The socket disconnected before the request completed.');
  assert.deepEqual(plain(calls[0][1].toPOJO()), { body: null, headers: {}, statusCode: 0 });
  assert.equal(calls[0][1].error.message, 'The socket request failed.');
  await world.advance(300);
  world.socket.accept();
  old.receive('430[{"body":"late","statusCode":200}]');
  world.socket.answer(HELLO);
  assert.equal((await queued).statusCode, 200);
  assert.equal(calls.length, 1);
});

test('a callback that closes the socket is not called again', async () => {
  const world = new World();
  const socket = await world.connected();
  let calls = 0;
  socket.get('/a', () => {
    calls += 1;
    socket.disconnect();
  });
  world.socket.answer(HELLO);
  await settle();
  assert.equal(calls, 1);
});

test('a promise that nobody looks at is no unhandled rejection', async () => {
  const unhandled = [];
  const listener = (error) => unhandled.push(error);
  process.on('unhandledRejection', listener);
  const world = new World();
  const socket = await world.connected();
  socket.get('/a');
  world.socket.drop();
  await settle();
  await settle();
  process.off('unhandledRejection', listener);
  assert.deepEqual(unhandled, []);
});

test('a request times out: promises after a minute, callbacks only if told', async () => {
  const world = new World();
  const socket = await world.connected({}, { pingInterval: 200000 });
  const errors = [];
  const late = socket.get('/a').catch((error) => errors.push(error.code, error.sent));
  socket.request({ url: '/b', timeout: 500 }, (error, jwr) => errors.push(error.code, jwr.statusCode));
  socket.get('/c', () => errors.push('never'));
  socket.get('/d', {}, { timeout: 0 }).catch(() => errors.push('never'));
  await world.advance(500);
  assert.deepEqual(errors, ['timeout', 0]);
  await world.advance(59500);
  await late;
  assert.deepEqual(errors, ['timeout', 0, 'timeout', true]);
  world.socket.answer(HELLO, '/a');
  await world.advance(100000);
  assert.equal(errors.length, 4);
});

test('a signal aborts a request, queued or in flight, with its reason', async () => {
  const world = new World();
  const socket = await world.connect();
  const reason = new Error('changed my mind');
  const abort = (when) => {
    const controller = new AbortController();
    const asked = socket.get(`/${when}`, {}, { signal: controller.signal });
    return [controller, asked];
  };
  const [queued, first] = abort('queued');
  queued.abort(reason);
  await assert.rejects(first, reason);
  world.socket.accept();
  assert.deepEqual(world.socket.requests, []);
  const [flying, second] = abort('flying');
  flying.abort(reason);
  await assert.rejects(second, reason);
  world.socket.answer(HELLO);
  await assert.rejects(socket.get('/never', {}, { signal: AbortSignal.abort(reason) }), reason);
  assert.equal(world.socket.requests.length, 1);
});

test('a signal that is used for many requests is not left with listeners', async () => {
  const world = new World();
  const socket = await world.connected();
  const { signal } = new AbortController();
  const listeners = new Set();
  signal.addEventListener = (_, listener) => listeners.add(listener);
  signal.removeEventListener = (_, listener) => listeners.delete(listener);
  const asked = socket.get('/a', {}, { signal });
  assert.equal(listeners.size, 1);
  world.socket.answer(HELLO);
  await asked;
  assert.equal(listeners.size, 0);
});

test('the queue is bounded in number and in time', async () => {
  const world = new World();
  const socket = await world.connect({ queueLimit: 2, queueExpiry: 5000, timeout: 100000 });
  const asked = [socket.get('/a'), socket.get('/b')];
  const calls = [];
  socket.get('/c', (error, jwr) => calls.push(error.code, jwr.statusCode));
  assert.deepEqual(calls, [], 'not before the call returns');
  await settle();
  assert.deepEqual(calls, ['overflow', 0]);
  await world.advance(5000);
  await assert.rejects(asked[0], { code: 'expired', sent: false });
  await assert.rejects(asked[1], { code: 'expired', sent: false });
  const fresh = socket.get('/d');
  world.socket.accept();
  assert.deepEqual(world.socket.requests.map(([, , { url }]) => url), ['/d']);
  await world.advance(6000);
  world.socket.answer(HELLO);
  assert.equal((await fresh).statusCode, 200, 'what was sent does not expire');
});

test('a request larger than the server takes fails here', async () => {
  const world = new World();
  const socket = await world.connected({}, { maxPayload: 100 });
  await assert.rejects(socket.post('/a', { text: 'é'.repeat(40) }), { code: 'too_large', sent: false });
  await assert.rejects(socket.post('/a', { get text() { throw new Error('cannot be read'); } }), /cannot be read/);
  socket.post('/a', { text: 'e' });
  assert.equal(world.socket.requests.length, 1);
});

test('a slow network holds requests back', async () => {
  const world = new World();
  const socket = await world.connected();
  world.socket.bufferedAmount = 5000000;
  socket.get('/a');
  await world.advance(1000);
  assert.equal(world.socket.requests.length, 0);
  world.socket.bufferedAmount = 0;
  await world.advance(50);
  assert.equal(world.socket.requests.length, 1);
});

test('an answer that is none fails the request', async () => {
  const world = new World();
  const socket = await world.connected();
  for (const ack of [null, 5, 'text']) {
    const asked = socket.get('/a');
    world.socket.answer(ack);
    await assert.rejects(asked, { code: 'malformed', sent: true });
  }
  socket.get('/a', () => assert.fail('answered twice'));
  world.socket.receive('4399[{}]');
  world.socket.receive('43[{}]');
  assert.equal(socket.isConnected(), true);
});

test('events reach their handlers', async () => {
  const world = new World();
  const socket = await world.connected();
  const heard = record(socket, 'said', 'bytes');
  const once = () => heard.push('once');
  const never = () => heard.push('never');
  assert.equal(socket.once('said', once).once('said', never).off('said', never), socket);
  world.socket.emit('said', { text: 'a' }, 2);
  world.socket.emit('said');
  world.socket.receive('451-["bytes",{"b":{"_placeholder":true,"num":0}}]');
  world.socket.receive(new Uint8Array([1]).buffer);
  assert.deepEqual(heard, [['said', { text: 'a' }, 2], 'once', ['said'], ['bytes', { b: {} }]]);
  socket.off('said');
  world.socket.emit('said');
  socket.on('said', never).removeAllListeners();
  world.socket.emit('said');
  assert.equal(heard.length, 4);
});

test('off with a handler that is undefined takes off nothing', async () => {
  const world = new World();
  const socket = await world.connected();
  const heard = [];
  socket.on('said', () => heard.push('on')).once('said', () => heard.push('once'));
  socket.off('said', undefined).off('said', () => {});
  world.socket.emit('said');
  assert.deepEqual(heard, ['on', 'once']);
  socket.on('other', () => heard.push('other')).off();
  world.socket.emit('said');
  world.socket.emit('other');
  assert.equal(heard.length, 2);
});

test('names of events without handlers are not kept', async () => {
  const world = new World();
  const socket = await world.connected();
  const before = socket._listeners.size;
  const handler = () => {};
  for (let i = 0; i < 100; i++) {
    socket.once(`once:${i}`, handler);
    world.socket.emit(`once:${i}`);
    socket.on(`one:${i}`, handler).off(`one:${i}`, handler);
    socket.on(`all:${i}`, handler).on(`all:${i}`, handler).off(`all:${i}`);
    socket.once(`never:${i}`, handler).off(`never:${i}`, handler);
    socket.off(`none:${i}`).off(`none:${i}`, handler);
  }
  assert.equal(socket._listeners.size, before);
});

test('a handler that throws stops nothing, and its error is seen', async () => {
  const world = new World();
  const socket = await world.connected();
  socket.on('said', () => { throw new Error('in a handler'); });
  const heard = record(socket, 'said');
  world.socket.emit('said');
  socket.get('/a', () => { throw new Error('in a callback'); });
  world.socket.answer(HELLO);
  await settle();
  assert.deepEqual(world.uncaught.map(({ message }) => message), ['in a handler', 'in a callback']);
  assert.equal(heard.length, 1);
  assert.equal(socket.isConnected(), true);
});

test('what only the client can know is not believed from the server', async () => {
  const world = new World();
  const socket = await world.connected();
  const local = ['connect', 'disconnect', 'connect_error', 'error', 'reconnecting', 'reconnect', 'reconnect_failed'];
  const heard = record(socket, ...local);
  for (const event of local) world.socket.emit(event);
  assert.deepEqual(heard, []);
});

test('an event may ask for an ack', async () => {
  const world = new World();
  const socket = await world.connected();
  socket.on('ask', (question, answer) => answer(question + 1));
  world.socket.receive('427["ask",1]');
  assert.equal(world.socket.sent.pop(), '437[2]');
});

test('events of the application go out below the requests', async () => {
  const world = new World();
  const socket = await world.connected();
  assert.equal(socket._raw.connected, true);
  assert.equal(socket._raw.id, 'id-1');
  const acks = [];
  socket._raw.emit('typing', 1);
  socket._raw.emit('typing', 2, (ack) => acks.push(ack));
  assert.deepEqual(world.socket.sent.slice(1), ['42["typing",1]', '420["typing",2]']);
  world.socket.receive('430["ok"]');
  assert.deepEqual(acks, ['ok']);
});
