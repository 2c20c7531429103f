// Against our own server.
const assert = require('node:assert/strict');
const { after, before, test } = require('node:test');
const WebSocket = require('ws');
const { connect } = require('./client.js').catamaran;
const { start } = require('./server.js');
const { within } = require('./within.js');

let server;
before(async () => { server = await start('client-app', 'websocket', 'polling'); });
after(() => server.stop());

const open = (t, options) => {
  const socket = connect(server.url, { WebSocket, ...options });
  t.after(() => socket.state === 'disconnected' || socket.disconnect());
  return socket;
};

const ask = async (socket, ...args) => {
  const { body, headers, statusCode } = await within(socket.request(...args), `an answer to ${args[0].url}`);
  return { body, headers, statusCode };
};

const WAYS = {
  websocket: {},
  'socket.io-client 4': { io: require('socket.io-client') },
  'socket.io-client 4, long-polling': { io: require('socket.io-client'), transports: ['polling'] },
  'socket.io-client 2': { io: require('socket.io-client-2') },
};

for (const [way, options] of Object.entries(WAYS)) {
  test(`a refusal tells its status, by ${way}`, async (t) => {
    for (const [status, state, reason] of [[401, 'disconnected', 'Unauthorized'], [503, 'reconnecting', 'Service Unavailable']]) {
      const socket = open(t, { ...options, query: `refuse=${status}` });
      const refused = within(new Promise((resolve) => { socket.once('connect_error', resolve); }), 'the refusal');
      const told = within(new Promise((resolve) => { socket.once('error', resolve); }), 'the error');
      const error = await refused;
      assert.deepEqual([error.message, error.data], [`${status} ${reason}: as you wish`, { status }]);
      assert.equal(await told, error);
      assert.equal(socket.state, state);
      socket.query = '';
      socket.reconnect();
      assert.deepEqual((await ask(socket, { url: '/answers/zero' })).body, 0);
    }
  });

  test(`answers of each kind, by ${way}`, async (t) => {
    const socket = open(t, options);
    const ok = (body, headers = {}) => ({ body, headers, statusCode: 200 });
    assert.deepEqual(await ask(socket, { url: '/answers/object' }), ok({ hello: 'world' }));
    assert.deepEqual(await ask(socket, { url: '/answers/zero' }), ok(0));
    assert.deepEqual(await ask(socket, { url: '/answers/null' }), ok(null));
    assert.deepEqual(await ask(socket, { url: '/answers/text' }), ok('a string'));
    assert.deepEqual(await ask(socket, { url: '/answers/no-content' }), { body: undefined, headers: {}, statusCode: 204 });
    assert.deepEqual(await ask(socket, { url: '/answers/moved' }), { body: undefined, headers: { location: '/answers/object' }, statusCode: 303 });
    const bytes = await ask(socket, { url: '/answers/bytes' });
    assert.deepEqual(Buffer.from(bytes.body), Buffer.from(Array.from({ length: 256 }, (_, i) => i)));
    assert.equal((await ask(socket, { url: '/answers/large' })).body.length, 25000);
    assert.deepEqual(await ask(socket, { url: '/nowhere' }), { body: 'Not Found', headers: {}, statusCode: 404 });
    assert.equal((await ask(socket, { url: '/answers/panic' })).statusCode, 500);
  });

  test(`methods, data and headers, by ${way}`, async (t) => {
    const socket = open(t, { ...options, headers: async () => ({ authorization: 'token', 'x-own': 'common' }) });
    const echo = async (method, data) => (await ask(socket, { method, url: '/echo?a=1', data, headers: { 'x-own': 'own' } })).body;
    const { method, query, headers } = await echo('get', { b: 2 });
    assert.deepEqual([method, query, headers.authorization, headers['x-own']], ['GET', 'a=1&b=2', 'token', 'own']);
    for (const name of ['post', 'put', 'patch', 'delete']) {
      const echoed = await echo(name, { b: 'é' });
      assert.deepEqual([echoed.method, echoed.query, JSON.parse(echoed.body)], [name.toUpperCase(), 'a=1', { b: 'é' }]);
    }
    assert.deepEqual(await ask(socket, { method: 'post', url: '/users', data: { name: 'Ada', age: 36 } }),
      { body: { name: 'Ada', age: 36 }, headers: { 'x-created': 'yes' }, statusCode: 201 });
  });
}

test('the socket is the one that the server knows, and says who it is', async (t) => {
  const socket = open(t, { query: 'lang=en' });
  const { body: { id, query } } = await ask(socket, { url: '/me' });
  assert.equal(id, socket._raw.id);
  assert.match(query, /^lang=en&__sails_io_sdk_version=1\.2\.1&.*&catamaran=1&EIO=4&transport=websocket$/);
});

test('answers come as requests finish', async (t) => {
  const socket = open(t);
  const waiting = socket.get('/gates/one');
  assert.equal((await ask(socket, { url: '/answers/zero' })).body, 0);
  await ask(socket, { method: 'post', url: '/gates/one' });
  assert.equal((await within(waiting, 'the gate')).body, 'one');
});

test('a login over the socket lasts for the socket', async (t) => {
  const socket = open(t);
  await ask(socket, { method: 'post', url: '/session/7' });
  assert.match((await ask(socket, { url: '/session' })).body, /sid=7/);
  socket.disconnect();
  socket.reconnect();
  assert.equal((await ask(socket, { url: '/session' })).body, null);
});

test('a request larger than the server takes does not cost the connection', async (t) => {
  const socket = open(t);
  await ask(socket, { url: '/answers/zero' });
  const { id } = socket._raw;
  await assert.rejects(within(socket.post('/mirror/json', ['x'.repeat(4 << 20)]), 'a refusal'), { code: 'too_large', sent: false });
  assert.equal((await ask(socket, { url: '/answers/zero' })).statusCode, 200);
  assert.equal(socket._raw.id, id);
});

test('a probe is answered, and nothing comes of it', async (t) => {
  const socket = open(t);
  await ask(socket, { url: '/answers/zero' });
  const { id } = socket._raw;
  const answered = new Promise((resolve) => {
    socket._connection.socket.addEventListener('message', ({ data }) => data.startsWith('44/catamaran-probe,') && resolve());
  });
  socket._connection.probe();
  await within(answered, 'an answer to the probe');
  assert.equal((await ask(socket, { url: '/answers/zero' })).statusCode, 200);
  assert.equal(socket._raw.id, id);
});
