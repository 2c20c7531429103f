// Servers that are broken, hostile or half there, over real connections.
const assert = require('node:assert/strict');
const { once } = require('node:events');
const { createServer } = require('node:net');
const { test } = require('node:test');
const WebSocket = require('ws');
const { connect } = require('./client.js').catamaran;
const { within } = require('./within.js');

/** A TCP server at `url`. */
async function tcpServer(t, serve) {
  const sockets = new Set();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    serve(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return `http://127.0.0.1:${server.address().port}`;
}

/** A WebSocket server at `url`. */
async function wsServer(t, serve) {
  const server = new WebSocket.Server({ port: 0, host: '127.0.0.1' });
  server.on('connection', serve);
  await once(server, 'listening');
  t.after(() => {
    for (const client of server.clients) client.terminate();
    server.close();
  });
  return `http://127.0.0.1:${server.address().port}`;
}

const open = (t, url, options) => {
  const socket = connect(url, { WebSocket, reconnectionDelay: 20, reconnectionDelayMax: 40, ...options });
  t.after(() => socket.state === 'disconnected' || socket.disconnect());
  return socket;
};

const event = (socket, name) => within(new Promise((resolve) => { socket.once(name, (...args) => resolve(args)); }), `the event ${name}`);

/** A server's side of a good connection. */
const greet = (ws, handshake = {}) => {
  ws.send(`0${JSON.stringify({ sid: 'a', upgrades: [], pingInterval: 25000, pingTimeout: 20000, maxPayload: 1e6, ...handshake })}`);
  ws.once('message', () => ws.send('40{"sid":"b"}'));
};

test('a server that accepts and says nothing is given up, and tried again', async (t) => {
  const socket = open(t, await tcpServer(t, () => {}), { timeout: 100 });
  assert.equal((await event(socket, 'connect_error'))[0].message, 'timeout');
  await event(socket, 'reconnecting');
  await event(socket, 'connect_error');
});

test('a server that speaks no WebSocket is a refusal to connect', async (t) => {
  for (const answer of ['HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n', 'not HTTP at all\r\n\r\n']) {
    const socket = open(t, await tcpServer(t, (tcp) => tcp.once('data', () => tcp.end(answer))));
    await event(socket, 'connect_error');
    await event(socket, 'reconnecting');
  }
});

test('nobody there at all', async (t) => {
  let url;
  await t.test('a port that was given back', async (inner) => { url = await tcpServer(inner, () => {}); });
  const socket = open(t, url);
  await event(socket, 'connect_error');
  await event(socket, 'reconnecting');
  socket.disconnect();
  assert.equal(socket.state, 'disconnected');
});

test('disconnect while the connection is being made', async (t) => {
  const reached = new Promise((resolve) => { t.reached = resolve; });
  const socket = open(t, await tcpServer(t, (tcp) => tcp.once('data', t.reached)));
  const asked = socket.get('/a', {}, { timeout: 50 });
  await within(reached, 'the handshake');
  socket.disconnect();
  await assert.rejects(within(asked, 'its end'), { code: 'timeout', sent: false });
});

test('a connection that goes dead is noticed by its silence', async (t) => {
  const socket = open(t, await wsServer(t, (ws) => greet(ws, { pingInterval: 500, pingTimeout: 500 })));
  await event(socket, 'connect');
  const asked = socket.get('/a');
  assert.deepEqual(await event(socket, 'disconnect'), ['ping timeout']);
  await assert.rejects(within(asked, 'its end'), { code: 'disconnected' });
  await event(socket, 'connect');
});

for (const [way, options] of Object.entries({ websocket: {}, 'socket.io-client 4': { io: require('socket.io-client') } })) {
  test(`a request right after waking is answered, by ${way}`, async (t) => {
    const connections = [];
    const socket = open(t, await wsServer(t, (ws) => {
      const heard = [];
      connections.push(heard);
      greet(ws, { pingInterval: 300, pingTimeout: 200 });
      ws.on('message', (data) => {
        heard.push(String(data));
        // The first is dead to the client.
        if (connections.length > 1 && String(data).startsWith('42')) ws.send(`43${/\d+/.exec(String(data).slice(2))[0]}[{"body":"awake","headers":{},"statusCode":200}]`);
      });
    }), options);
    await event(socket, 'connect');
    // The thread stands still, as in sleep.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1100);
    assert.equal((await within(socket.post('/a'), 'an answer')).body, 'awake');
    assert.deepEqual(connections[0].filter((frame) => frame.startsWith('42')), []);
  });
}

test('a connection that is reset fails what is in flight and comes back', async (t) => {
  let first = true;
  const socket = open(t, await wsServer(t, (ws) => {
    greet(ws);
    ws.on('message', (data) => {
      if (!String(data).startsWith('42')) return;
      if (first) ws._socket.resetAndDestroy();
      else ws.send('430[{"body":"back","headers":{},"statusCode":200}]');
      first = false;
    });
  }));
  await assert.rejects(within(socket.get('/a'), 'its end'), { code: 'disconnected', sent: true });
  assert.equal((await within(socket.get('/a'), 'an answer')).body, 'back');
});

test('a server that is refused a login says why', async (t) => {
  const socket = open(t, await wsServer(t, (ws) => {
    ws.send('0{"sid":"a","pingInterval":25000,"pingTimeout":20000}');
    ws.once('message', () => ws.send('44{"message":"log in","data":{"status":401}}'));
  }));
  const [error] = await event(socket, 'connect_error');
  assert.deepEqual([error.message, error.data.status, socket.state], ['log in', 401, 'disconnected']);
});

test('a flood of garbage ends one connection after the other, slowly', async (t) => {
  let connections = 0;
  const socket = open(t, await wsServer(t, (ws) => {
    connections += 1;
    greet(ws);
    ws.on('error', () => {});
    ws.on('message', () => { for (let i = 0; i < 100; i++) ws.send(`4${'[{"'.repeat(i)}`); });
  }));
  for (let i = 0; i < 5; i++) await event(socket, 'reconnecting');
  assert.ok(connections <= 6);
});
