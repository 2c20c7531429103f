// What `channel-app` serves under /storm, on the servers that ours is compared with: `node storm-server.js KIND`.
// It prints `listening on http://127.0.0.1:PORT`.
const { createServer } = require('node:http');
const { once } = require('node:events');
const { json } = require('node:stream/consumers');
const { lift } = require('./servers.js');

/** By whom each number of each channel is. */
let numbers = {};

const last = (channel) => (numbers[channel] || []).length;

/** Publishes the next number of a channel, by `emit(channel, number)`. */
function publishNext(emit, channel, padding, by) {
  (numbers[channel] = numbers[channel] || []).push(by);
  emit(channel, { channel, number: last(channel), padding: '.'.repeat(padding) });
}

function burst(emit, { ids, padding }) {
  for (let id = 0; id < ids; id++) {
    publishNext(emit, `long:${id}`, padding, null);
    publishNext(emit, `shared:${id}`, 0, null);
  }
}

/** Socket.IO, whose pages ask by the same packets as those of Sails; `recovery`: with its state recovery. */
async function socketio(recovery) {
  const http = createServer(async (request, response) => {
    if (request.method === 'POST') burst((channel, value) => io.to(channel).emit('number', value), await json(request));
    if (request.method === 'PUT') numbers = await json(request);
    response.setHeader('content-type', 'application/json').end(JSON.stringify(numbers));
  });
  const io = new (require('socket.io').Server)(http, recovery ? { connectionStateRecovery: {} } : {});
  io.on('connection', (socket) => {
    socket.on('get', ({ url }, ack) => {
      const [, id] = /(\d+)$/.exec(url);
      const channels = [`long:${id}`, `shared:${id}`];
      socket.join(channels);
      ack({ body: channels.map(last), headers: {}, statusCode: 200 });
    });
    socket.on('post', ({ url }) => {
      const [, id, client] = /(\d+)\/by\/(\d+)$/.exec(url);
      publishNext((channel, value) => socket.to(channel).emit('number', value), `long:${id}`, 0, Number(client));
    });
  });
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  return http;
}

async function sails() {
  const emit = (channel, value, omit) => app.sockets.broadcast(channel, 'number', value, omit);
  const routes = {
    'POST /storm/burst': (request, response) => {
      burst(emit, request.body);
      response.ok();
    },
    'PUT /storm/published': (request, response) => {
      numbers = request.body;
      response.ok();
    },
    'GET /storm/published': (request, response) => response.json(numbers),
    'GET /storm/:id': (request, response) => {
      const channels = [`long:${request.params.id}`, `shared:${request.params.id}`];
      for (const channel of channels) app.sockets.join(request, channel);
      response.json(channels.map(last));
    },
    'POST /storm/:id/by/:client': (request, response) => {
      const { id, client } = request.params;
      publishNext((channel, value) => emit(channel, value, request), `long:${id}`, 0, Number(client));
      response.ok();
    },
  };
  const app = await lift(routes);
  return app.hooks.http.server;
}

const SERVERS = { 'socket.io': () => socketio(false), recovery: () => socketio(true), sails };

SERVERS[process.argv[2]]().then((http) => console.log(`listening on http://127.0.0.1:${http.address().port}`));
