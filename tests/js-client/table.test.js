// One table of behaviour, which the Sails client and this one are both held to, by each server and way to connect.
const assert = require('node:assert/strict');
const { after, before, describe, test } = require('node:test');
const { connect } = require('./client.js').catamaran;
const { catamaran } = require('./client.js');
const { plainServer, sailsServer } = require('./servers.js');
const { within } = require('./within.js');

/** The Sails client, whose own module must not be used twice. */
function sailsClient() {
  const path = require.resolve('socket.io-client-2');
  delete require.cache[path];
  const io = require('sails.io.js')(require(path));
  Object.assign(io.sails, { autoConnect: false, environment: 'production' });
  return io;
}

const WebSocket = require('ws');
const CLIENTS = {
  'sails.io.js': { connect: (url, options) => sailsClient().sails.connect(url, options) },
  'catamaran.io.js': { connect: (url, options) => connect(url, { ...options, WebSocket }), ours: true },
  'catamaran.io.js by `io.sails`': {
    connect: (url, options) => {
      const io = catamaran();
      io.sails.autoConnect = false;
      return io.sails.connect(url, { ...options, WebSocket });
    },
    ours: true,
  },
  'catamaran.io.js by socket.io-client 4': { connect: (url, options) => connect(url, { ...options, io: require('socket.io-client') }), ours: true },
  'catamaran.io.js by socket.io-client 2': { connect: (url, options) => connect(url, { ...options, io: require('socket.io-client-2') }), ours: true },
};
const POLLING = {
  connect: (url, options) => connect(url, { ...options, io: require('socket.io-client'), transports: ['polling'] }), ours: true,
};

/** Asks with a callback, as both clients can: `[body, answer without its methods]`. */
const ask = (socket, options) => within(new Promise((resolve) => {
  socket.request(options, (body, jwr) => resolve([body, { body: jwr.body, headers: jwr.headers, statusCode: jwr.statusCode, error: jwr.error && jwr.error.message }]));
}), `an answer to ${options.url}`);

const event = (socket, name) => within(new Promise((resolve) => { socket.on(name, resolve); }), `the event ${name}`);

const failed = (status, body) => `Server responded with a ${status} status code:\n\`\`\`\n${JSON.stringify(body, null, 2)}\n\`\`\``;
const answered = (body, statusCode = 200, headers = {}, error = undefined) => [body, { body, headers, statusCode, error }];

/** `[what, request, what comes of it]`. */
const TABLE = [
  ['an object', { url: '/hello' }, answered({ hello: 'world' })],
  ['an array', { url: '/array' }, answered([1, 'two', null])],
  ['null', { url: '/null' }, answered(null)],
  ['a string', { url: '/text' }, answered('a string')],
  ['bytes', { url: '/bytes' }, answered(Buffer.from([1, 2, 3]))],
  ['an error', { url: '/teapot' }, answered({ short: 'stout' }, 418, {}, failed(418, { short: 'stout' }))],
  ['no such path', { url: '/nowhere' }, answered('Not Found', 404, {}, failed(404, 'Not Found'))],
  ['a redirect, not followed', { url: '/moved' }, answered('moved', 302, { location: '/hello' })],
  ['a header', { url: '/header' }, answered('x', 200, { 'x-set-header': 'Val' })],
  ['data and headers', { method: 'post', url: '/echo', data: { a: [1, { b: null }] }, headers: { 'x-own': 'h' } },
    answered({ method: 'POST', data: { a: [1, { b: null }] }, header: 'h' })],
  ['`params` for `data`', { method: 'PUT', url: '/echo', params: { a: 'ä' }, headers: { 'x-own': 'h' } },
    answered({ method: 'PUT', data: { a: 'ä' }, header: 'h' })],
  ['data of a GET', { url: '/echo', data: { a: 1 }, headers: { 'x-own': 'h' } }, answered({ method: 'GET', data: { a: 1 }, header: 'h' })],
];

for (const [kind, start] of [['Socket.IO 4.8', plainServer], ['Sails 1.5', sailsServer]]) {
  describe(kind, { timeout: 60000 }, () => {
    let server;
    before(async () => { server = await start(); });
    after(() => server.close());

    const clients = kind === 'Sails 1.5' ? CLIENTS : { ...CLIENTS, 'catamaran.io.js by long-polling': POLLING };
    for (const [name, { connect: dial, ours }] of Object.entries(clients)) {
      describe(name, () => {
        /** Runs the test with a socket that is closed at its end. */
        const withSocket = (options, run) => async () => {
          const socket = dial(server.url, { reconnection: false, ...options });
          try {
            await run(socket);
          } finally {
            if (socket.isConnected()) socket.disconnect();
          }
        };

        for (const [what, request, expected] of TABLE) {
          test(`answers: ${what}`, withSocket({}, async (socket) => {
            assert.deepEqual(await ask(socket, { ...request }), expected);
          }));
        }

        test('each shorthand sends its method', withSocket({ headers: { 'x-own': 'common' } }, async (socket) => {
          for (const method of ['get', 'post', 'put', 'patch', 'delete']) {
            const echoed = { method: method.toUpperCase(), data: { n: 1 }, header: 'common' };
            assert.deepEqual(await within(new Promise((resolve) => { socket[method]('/echo', { n: 1 }, resolve); }), method), echoed);
            const bare = await within(new Promise((resolve) => { socket[method]('/echo', resolve); }), method);
            assert.deepEqual(bare, { ...echoed, data: {} });
          }
        }));

        test('requests before the connection wait for it, in order', withSocket({}, async (socket) => {
          assert.deepEqual([socket.isConnected(), socket.isConnecting()], [false, true]);
          const bodies = await Promise.all(['/hello', '/text', '/array'].map((url) => ask(socket, { url })));
          assert.deepEqual(bodies.map(([body]) => body), [{ hello: 'world' }, 'a string', [1, 'two', null]]);
          assert.deepEqual([socket.isConnected(), socket.isConnecting()], [true, false]);
        }));

        test('events come in their order with answers', withSocket({}, async (socket) => {
          const seen = [];
          socket.on('shout', (data) => seen.push(data));
          seen.push((await ask(socket, { url: '/shout' }))[0]);
          assert.deepEqual(seen, [{ loud: true }, 'shouted']);
        }));

        test('a connection that goes fails what is in flight', withSocket({}, async (socket) => {
          const silent = ask(socket, { url: '/silence' });
          await ask(socket, { url: '/hello' });
          const disconnected = event(socket, 'disconnect');
          const kicked = ask(socket, { url: '/kick' });
          for (const [error, answer] of [await silent, await kicked]) {
            assert.equal(error.message, 'The socket disconnected before the request completed.');
            assert.deepEqual([answer.body, answer.statusCode, answer.headers], [null, 0, {}]);
          }
          await disconnected;
          assert.equal(socket.isConnected(), false);
        }));

        test('disconnect, then reconnect, with requests between', withSocket({}, async (socket) => {
          await ask(socket, { url: '/hello' });
          assert.throws(() => socket.reconnect(), { message: 'Cannot connect- socket is already connected' });
          assert.throws(() => { socket.url = 'http://other'; }, { message: 'Cannot change value of `url` while socket is connected.' });
          socket.disconnect();
          assert.throws(() => socket.disconnect(), { message: 'Cannot disconnect- socket is already disconnected' });
          const waiting = ask(socket, { url: '/hello' });
          socket.reconnect();
          assert.throws(() => socket.reconnect(), { message: 'Cannot connect- socket is already connecting' });
          assert.deepEqual(await waiting, answered({ hello: 'world' }));
        }));

        test('arguments that are wrong are refused', withSocket({}, async (socket) => {
          const first = (run) => { try { run(); } catch (error) { return error.message.split('\n')[0]; } return 'nothing was thrown'; };
          assert.deepEqual([
            first(() => socket.get('/hello', {}, 'callback')),
            first(() => socket.get(5)),
            first(() => socket.request({ url: '/x', method: 5 })),
            first(() => socket.request({ url: '/x', headers: 'x' })),
            first(() => socket.post('/x', 'text')),
            first(() => socket.put('/x', 'text')),
            first(() => socket.request({ url: '/x', data: {}, params: {} })),
            typeof first(() => socket._request()),
          ], [
            'Invalid callback function!',
            'Invalid or missing URL!',
            'Invalid `method` provided (should be a string like "post" or "put")',
            'Invalid `headers` provided (should be a dictionary with string values)',
            'Invalid `data` provided (should be a dictionary with JSON-serializable values)',
            'Invalid `params` provided (should be a dictionary with JSON-serializable values)',
            'Cannot specify both `params` and `data`!  They are aliases of each other.',
            'string',
          ]);
          await ask(socket, { url: '/hello' });
        }));

        if (!ours) return;

        test('a request without a callback is a promise', withSocket({}, async (socket) => {
          assert.equal((await within(socket.get('/teapot'), 'an answer')).statusCode, 418);
          const silent = socket.get('/silence');
          await within(socket.get('/hello'), 'an answer');
          socket.disconnect();
          await assert.rejects(within(silent, 'its end'), { code: 'disconnected', sent: true });
        }));

        test('a connection that breaks is made again, and handlers stay', withSocket({ reconnection: true }, async (socket) => {
          await within(socket.get('/hello'), 'an answer');
          const id = socket._raw.id;
          const back = event(socket, 'reconnect');
          server.io.sockets.sockets.get(id).conn.close();
          await back;
          const shout = event(socket, 'shout');
          await within(socket.get('/shout'), 'an answer');
          assert.deepEqual(await shout, { loud: true });
          assert.notEqual(socket._raw.id, id);
        }));

        test('a server that sends us away is left alone', withSocket({ reconnection: true }, async (socket) => {
          const gone = event(socket, 'disconnect');
          socket.get('/kick');
          assert.equal(await gone, 'io server disconnect');
          assert.equal(socket.state, 'disconnected');
        }));
      });
    }
  });
}
