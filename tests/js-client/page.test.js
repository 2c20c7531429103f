const assert = require('node:assert/strict');
const { test } = require('node:test');
const { World, plain, settle } = require('./world.js');

/** What `io.sails` says of the script tag. */
const settings = (script, globals) => new World({ script, globals }).global.io.sails;

test('a script tag connects to the origin of the page', async () => {
  const world = new World({ script: {} });
  const { io } = world.global;
  assert.equal(io.socket.mightBeAboutToAutoConnect(), true);
  await world.advance(0);
  assert.equal(world.socket.url, 'wss://page.example/socket.io/?__sails_io_sdk_version=1.2.1' +
    '&__sails_io_sdk_platform=browser&__sails_io_sdk_language=javascript&catamaran=1&EIO=4&transport=websocket');
  assert.equal(world.socket.binaryType, 'arraybuffer');
  assert.equal(world.socket.options, undefined);
  assert.equal(io.socket.isConnecting(), true);
});

test('`io.sails` has what pages read and set', () => {
  const { sdk, connect, ...rest } = settings({});
  assert.equal(typeof connect, 'function');
  assert.deepEqual(plain(rest), {
    autoConnect: true, reconnection: true, useCORSRouteToGetCookie: true, environment: 'development', transports: ['websocket'],
  });
  assert.deepEqual([sdk.version, sdk.platform, sdk.language], ['1.2.1', 'browser', 'javascript']);
});

test('attributes of the script tag are settings, and prefixed ones win', () => {
  const sails = settings({
    autoConnect: 'true', 'data-autoConnect': 'false', reconnection: 'false', environment: 'production',
    headers: '{"X-Auth":"a"}', url: 'https://other.example', transports: '["polling","websocket"]', path: '/deep',
  });
  assert.deepEqual(plain({ ...sails, connect: undefined, sdk: undefined }), {
    autoConnect: false, reconnection: false, useCORSRouteToGetCookie: true, environment: 'production',
    headers: { 'X-Auth': 'a' }, url: 'https://other.example', transports: ['polling', 'websocket'], path: '/deep',
  });
  assert.equal(settings({ autoConnect: '' }).autoConnect, true);
});

test('attributes of a wrong type are refused', () => {
  const refused = (script, line) => assert.throws(() => settings(script), ({ message }) => message.startsWith(
    `catamaran.io.js :: Unexpected/invalid configuration for ${line}`));
  refused({ autoConnect: 'no' }, '`autoConnect` provided in script tag: `no` (a `string`). Should be a boolean.');
  refused({ environment: '5' }, '`environment` provided in script tag: `5` (a `number`). Should be a string.');
  refused({ headers: 'X-Auth: a' }, '`headers` provided in script tag: `X-Auth: a` (a `string`). Should be a object.');
  refused({ headers: '[]' }, '`headers`');
  refused({ url: 'true' }, '`url` provided in script tag: `true` (a `boolean`). Should be a string.');
});

test('the environment is told by the URL of the script, or by the page', () => {
  assert.equal(settings({ src: '/js/catamaran.io.js#production' }).environment, 'production');
  assert.equal(settings({ src: '/js/catamaran.io.min.js' }).environment, 'production');
  assert.equal(settings({}, { SAILS_LOCALS: { _environment: 'staging' } }).environment, 'production');
  assert.equal(settings({}, { SAILS_LOCALS: { _environment: 'development' } }).environment, 'development');
});

test('production says nothing on the console', async () => {
  for (const [environment, lines] of [['production', 0], ['development', 2]]) {
    const world = new World({ script: { environment } });
    await world.advance(0);
    world.socket.accept();
    world.socket.emit('sails:parseError', { code: 'x' });
    world.socket.drop();
    await world.advance(300);
    world.socket.drop();
    assert.equal(world.logged.length, lines);
  }
});

test('`io.socket` goes away if it shall not connect by itself', async () => {
  for (const disable of [(io) => { io.sails.autoConnect = false; }, (io) => { io.sails.autoconnect = false; }]) {
    const world = new World({ script: {} });
    const { io } = world.global;
    disable(io);
    await world.advance(0);
    assert.deepEqual(['socket' in io, world.sockets.length], [false, 0]);
    const socket = io.sails.connect();
    await settle();
    world.socket.accept();
    assert.equal(socket.isConnected(), true);
  }
});

test('settings of all scripts of the page count', async () => {
  for (const [state, event] of [['loading', 'DOMContentLoaded'], ['interactive', 'readystatechange']]) {
    const world = new World({ script: {}, document: { readyState: state } });
    const { io } = world.global;
    await world.advance(1000);
    world.document.readyState = 'interactive';
    world.document.fire('readystatechange');
    await world.advance(0);
    assert.deepEqual([io.socket.mightBeAboutToAutoConnect(), world.sockets.length], [true, 0]);
    Object.assign(io.sails, { url: 'https://page.example:8443', useCORSRouteToGetCookie: false });
    world.document.readyState = 'complete';
    world.document.fire(event);
    world.document.fire('readystatechange');
    await world.advance(0);
    assert.equal(world.sockets.length, 1);
    assert.match(world.socket.url, /^wss:\/\/page\.example:8443\//);
  }
});

test('a page that connects before its scripts have run has its way', async () => {
  const world = new World({ script: {}, document: { readyState: 'loading' } });
  const { io } = world.global;
  io.socket.reconnect();
  await settle();
  io.socket.disconnect();
  world.document.fire('DOMContentLoaded');
  await world.advance(0);
  assert.deepEqual([io.socket.state, world.sockets.length], ['disconnected', 1]);
});

test('settings within the first tick still count', async () => {
  const world = new World({ script: {} });
  const { io } = world.global;
  Object.assign(io.sails, { url: 'https://page.example:8443', query: 'a=1', useCORSRouteToGetCookie: false });
  await world.advance(0);
  assert.match(world.socket.url, /^wss:\/\/page\.example:8443\/socket\.io\/\?a=1&__sails/);
});

test('a socket.io-client that the page has is kept, and is not extended twice', () => {
  const io = () => 'a socket.io-client';
  const world = new World({ script: {}, globals: { io } });
  assert.equal(world.global.io, io);
  assert.equal(typeof io.sails.connect, 'function');
  assert.throws(() => new World({ script: {}, globals: { io } }), /has already been augmented/);
});

test('a page of another origin fetches a cookie first, and goes on without it', async () => {
  for (const [options, src] of [[{}, 'https://other.example/__getcookie'], [{ useCORSRouteToGetCookie: '/cookie' }, 'https://other.example/cookie']]) {
    for (const outcome of ['onload', 'onerror']) {
      const world = new World({ script: { autoConnect: 'false' } });
      world.global.io.sails.connect('https://other.example', options);
      await settle();
      assert.deepEqual([world.scripts.map((script) => script.src), world.sockets.length], [[src], 0]);
      assert.equal(typeof world.global._sailsIoJSConnect, 'function');
      world.scripts[0][outcome]();
      await settle();
      assert.deepEqual([world.scripts.length, world.sockets.length], [0, 1]);
    }
  }
  const world = new World({ script: { autoConnect: 'false' } });
  world.global.io.sails.connect('https://other.example', { useCORSRouteToGetCookie: false });
  world.global.io.sails.connect('https://page.example');
  await settle();
  assert.deepEqual([world.scripts.length, world.sockets.length], [0, 2]);
});

test('a cookie that never comes does not keep it from trying again', async () => {
  const world = new World({ script: { autoConnect: 'false' } });
  const socket = world.global.io.sails.connect('https://other.example', { timeout: 1000 });
  await world.advance(1300);
  assert.equal(socket.state, 'reconnecting');
  assert.ok(world.scripts.length > 1);
});
