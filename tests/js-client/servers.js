// The servers that clients are held to: a plain Socket.IO one that answers as Sails does, and Sails itself.
const { createServer } = require('node:http');
const { once } = require('node:events');

/** What both serve: `answer(request)` gives `[status, body, headers]`, or nothing, and nothing is answered. */
const ROUTES = {
  'GET /hello': () => [200, { hello: 'world' }],
  'GET /array': () => [200, [1, 'two', null]],
  'GET /null': () => [200, null],
  'GET /text': () => [200, 'a string'],
  'GET /bytes': () => [200, Buffer.from([1, 2, 3])],
  'GET /teapot': () => [418, { short: 'stout' }],
  'GET /moved': () => [302, 'moved', { location: '/hello' }],
  'GET /header': () => [200, 'x', { 'x-set-header': 'Val' }],
  'GET /silence': () => undefined,
  'GET /kick': ({ socket }) => void socket.disconnect(),
  'GET /shout': ({ socket }) => (socket.emit('shout', { loud: true }), [200, 'shouted']),
};
for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD']) {
  ROUTES[`${method} /echo`] = ({ method, data, header }) => [200, { method, data, header }];
}

/** @returns a server at `url` that is closed by `close` */
async function plainServer() {
  const http = createServer();
  const io = new (require('socket.io').Server)(http, { allowEIO3: true, pingInterval: 5000, pingTimeout: 5000 });
  io.on('connection', (socket) => {
    for (const event of ['get', 'post', 'put', 'patch', 'delete', 'head']) {
      socket.on(event, (envelope, ack) => {
        const method = event.toUpperCase();
        const route = ROUTES[`${method} ${envelope.url}`] || (() => [404, 'Not Found']);
        const answer = route({ method, data: envelope.data, header: envelope.headers['x-own'], socket });
        if (answer) ack({ body: answer[1], headers: answer[2] || {}, statusCode: answer[0] });
      });
    }
  });
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  return {
    io,
    url: `http://127.0.0.1:${http.address().port}`,
    close: () => new Promise((resolve) => { io.close(resolve); }),
  };
}

/** @returns Sails with these routes, started */
async function lift(routes, options) {
  const sails = new (require('sails').Sails)();
  await new Promise((resolve, reject) => sails.lift({
    appPath: __dirname,
    // Any port: Sails takes the number 0 for no port at all.
    port: '0',
    explicitHost: '127.0.0.1',
    log: { level: 'silent' },
    globals: false,
    routes,
    session: { secret: 'not a secret' },
    hooks: { grunt: false, userhooks: false, sockets: require('sails-hook-sockets') },
    ...options,
  }, (error) => (error ? reject(error) : resolve())));
  return sails;
}

/** @returns a Sails server at `url` that is closed by `close` */
async function sailsServer() {
  const routes = {};
  for (const [address, route] of Object.entries(ROUTES)) {
    routes[address] = (req, res) => {
      const answer = route({ method: req.method, data: req.body, header: req.get('x-own'), socket: req.socket });
      if (!answer) return;
      const [status, body, headers = {}] = answer;
      for (const name of Object.keys(headers)) res.setHeader(name, headers[name]);
      res.status(status).send(body);
    };
  }
  const sails = await lift(routes);
  return {
    io: sails.io,
    url: `http://127.0.0.1:${sails.hooks.http.server.address().port}`,
    close: () => new Promise((resolve) => { sails.lower(resolve); }),
  };
}

module.exports = { lift, plainServer, sailsServer };
