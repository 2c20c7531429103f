// What clients of Sails and of Socket.IO are sent is what Sails sends them, byte for byte: both servers are held to the same
// golden frames. Nothing that our own client is told reaches them, in no state of a subscription.
const assert = require('node:assert/strict');
const { after, before, describe, test } = require('node:test');
const { RawPolling, RawWebSocket } = require('./raw.js');
const { start } = require('./server.js');
const { lift } = require('./servers.js');
const { within } = require('./within.js');

/** What `POST /publish` publishes, as frames. */
const GOLDEN = [
  '42["news",{"n":1}]',
  '42["message",{"x":1}]',
  '42["p",null]',
  '42["p","str"]',
  '42["p",5]',
  '42["p",[1,2]]',
  '42["p",false]',
  '42["p",0]',
  '42["p",""]',
  '42["p",[]]',
  '42["p",{"deep":[{"er":[null,true,-1.5]}]}]',
  '42["é😀","é😀 \\" \\\\ / \\n \\u0007 \u2028"]',
  `42["long","${'x'.repeat(70000)}"]`,
  '42["moved",1,-2]',
  '42["closed"]',
  '42["all",{"n":2}]',
];
const EVENTS = GOLDEN.map((frame) => JSON.parse(frame.slice(2)));
const ack = (id, body) => `43${id}[{"body":"${body}","headers":{},"statusCode":200}]`;

/** Sails with the same routes, of those that it can have. */
async function sailsServer() {
  const routes = {
    'GET /join': (request, response) => {
      app.sockets.join(request, 'r1');
      response.send('joined');
    },
    'GET /leave': (request, response) => {
      app.sockets.leave(request, 'r1');
      response.send('left');
    },
    'POST /publish': (request, response) => {
      for (const [event, ...args] of EVENTS) {
        if (event === 'message') app.sockets.broadcast('r1', args[0]);
        else if (event === 'all') app.sockets.blast('all', args[0]);
        else if (args.length === 1) app.sockets.broadcast('r1', event, args[0]);
        // Its own methods know one argument.
        else app.io.to('r1').emit(event, ...args);
      }
      response.send('published');
    },
    'POST /others': (request, response) => {
      app.sockets.broadcast('r1', 'others', 1, request);
      response.send('published');
    },
  };
  const app = await lift(routes, { sockets: { transports: ['polling', 'websocket'] } });
  return {
    url: `http://127.0.0.1:${app.hooks.http.server.address().port}`,
    stop: () => new Promise((resolve) => { app.lower(resolve); }),
  };
}

const servers = {};
before(async () => Object.assign(servers, { Sails: await sailsServer(), catamaran: await start('golden-app') }));
after(() => Promise.all(Object.values(servers).map((server) => server.stop())));

const http = async (server, method, path) => {
  const answer = await within(fetch(server.url + path, { method }), `${method} ${path}`);
  assert.equal(answer.status, 200);
};

const RAW = {
  'Engine.IO 3, websocket': (url) => RawWebSocket.connect(url, 3),
  'Engine.IO 4, websocket': (url) => RawWebSocket.connect(url, 4),
  'Engine.IO 3, long-polling': (url) => RawPolling.connect(url, 3),
  'Engine.IO 4, long-polling': (url) => RawPolling.connect(url, 4),
};

async function raw(t, server, kind) {
  const client = await RAW[kind](server.url);
  t.after(() => client.close());
  return client;
}

for (const name of ['Sails', 'catamaran']) {
  describe(name, () => {
    for (const kind of Object.keys(RAW)) {
      test(`events and acks are the golden frames: ${kind}`, async (t) => {
        const client = await raw(t, servers[name], kind);
        client.ask('get', '/join');
        assert.deepEqual(await client.next(/^43/), [ack(0, 'joined')]);
        await http(servers[name], 'POST', '/publish');
        assert.deepEqual(await client.next(/^42\["all"/), GOLDEN);
        client.ask('get', '/leave');
        assert.deepEqual(await client.next(/^43/), [ack(1, 'left')]);
        await http(servers[name], 'POST', '/publish');
        assert.deepEqual(await client.next(/^42\["all"/), GOLDEN.slice(-1));
      });
    }

    test('who is left out hears nothing, and the others do', async (t) => {
      const [ada, bob] = [await raw(t, servers[name], 'Engine.IO 3, websocket'), await raw(t, servers[name], 'Engine.IO 4, websocket')];
      for (const client of [ada, bob]) {
        client.ask('get', '/join');
        await client.next(/^43/);
      }
      ada.ask('post', '/others');
      assert.deepEqual(await ada.next(/^43/), [ack(1, 'published')]);
      assert.deepEqual(await bob.next(/^42/), ['42["others",1]']);
    });

    for (const [client, open] of Object.entries(PUBLISHED())) {
      for (const transports of [['websocket'], ['polling']]) {
        test(`a page hears the golden events: ${client}, ${transports}`, async (t) => {
          const { ask, all, close, last } = open(servers[name].url, { transports });
          t.after(close);
          assert.deepEqual(await ask('/join'), { body: 'joined', headers: {}, statusCode: 200 });
          const heard = last('all');
          await http(servers[name], 'POST', '/publish');
          await heard;
          assert.deepEqual(all, EVENTS);
        });
      }
    }
  });
}

/** The published clients; `all` is everything that the page could hear. */
function PUBLISHED() {
  const page = (raw, emit) => {
    const all = [];
    if (raw.onAny) raw.onAny((...event) => all.push(event));
    else {
      const { onevent } = raw;
      raw.onevent = (packet) => {
        all.push(packet.data.slice());
        onevent.call(raw, packet);
      };
    }
    return {
      all,
      raw,
      close: () => raw.close(),
      ask: (url) => within(new Promise((resolve) => emit(url, resolve)), `an answer to ${url}`),
      last: (event) => within(new Promise((resolve) => { raw.on(event, resolve); }), event),
    };
  };
  const plain = (io) => (url, options) => {
    const socket = io(url, { forceNew: true, reconnectionDelay: 10, query: { __sails_io_sdk_version: '1.2.1' }, ...options });
    return page(socket, (url, done) => socket.emit('get', { url }, done));
  };
  const socketIo2 = 'socket.io-client-2';
  return {
    'sails.io.js': (url, options) => {
      delete require.cache[require.resolve(socketIo2)];
      const io = require('sails.io.js')(require(socketIo2));
      Object.assign(io.sails, { autoConnect: false, environment: 'production' });
      const { warn } = console;
      console.warn = () => {};
      const socket = io.sails.connect(url, { reconnection: true, reconnectionDelay: 10, multiplex: false, ...options });
      console.warn = warn;
      return page(socket._raw, (path, done) => socket.get(path, (body, jwr) => done(jwr.toPOJO())));
    },
    'socket.io-client 2': plain(require(socketIo2)),
    'socket.io-client 4': plain(require('socket.io-client').io),
  };
}

describe('a client that knows no positions is told none', () => {
  for (const kind of Object.keys(RAW)) {
    test(`although it sends one: ${kind}`, async (t) => {
      const client = await raw(t, servers.catamaran, kind);
      client.ask('get', '/join', { resume: { moves: ['epoch-aa', 1] } });
      assert.deepEqual(await client.next(/^43/), [ack(0, 'joined')]);
    });

    test(`as the server moves it from room to room: ${kind}`, async (t) => {
      const client = await raw(t, servers.catamaran, kind);
      client.ask('get', '/join');
      await client.next(/^43/);
      await http(servers.catamaran, 'POST', '/move');
      assert.deepEqual(await client.next(/done/), ['42["moved","in"]', '42["moved","done"]']);
    });

    test(`in what was held until its ack: ${kind}`, async (t) => {
      const client = await raw(t, servers.catamaran, kind);
      client.ask('get', '/slow');
      await http(servers.catamaran, 'GET', '/entered');
      await http(servers.catamaran, 'POST', '/publish');
      await http(servers.catamaran, 'POST', '/open');
      const [blast, answer, ...held] = await client.next(/closed/);
      // What goes to everybody waits for no subscription.
      assert.deepEqual([blast, answer], [GOLDEN.at(-1), ack(0, 'joined')]);
      assert.deepEqual(held, GOLDEN.slice(0, -1));
    });

    test(`and is disconnected where another would hear of a gap: ${kind}`, async (t) => {
      const client = await raw(t, servers.catamaran, kind);
      client.ask('get', '/slow');
      await http(servers.catamaran, 'GET', '/entered');
      await http(servers.catamaran, 'POST', '/flood');
      await http(servers.catamaran, 'POST', '/open');
      // Perhaps before it has read the answer: the connection is cut. A poll that waits is released by a packet that says
      // nothing, 6.
      const others = (await client.end()).filter((packet) => ![ack(0, 'joined'), '41', '1', '6'].includes(packet));
      assert.deepEqual(others, []);
    });
  }

  for (const [client, open] of Object.entries(PUBLISHED())) {
    test(`after a reconnect: ${client}`, async (t) => {
      const page = open(servers.catamaran.url, { transports: ['websocket'] });
      t.after(page.close);
      await page.ask('/join');
      const again = page.last('connect');
      page.raw.io.engine.close();
      await http(servers.catamaran, 'POST', '/publish');
      await again;
      assert.deepEqual(await page.ask('/join'), { body: 'joined', headers: {}, statusCode: 200 });
      const heard = page.last('all');
      await http(servers.catamaran, 'POST', '/publish');
      await heard;
      // The blast reaches whoever is connected, so perhaps also the first time.
      assert.deepEqual(page.all.filter(([event], i) => event !== 'all' || i > 0), EVENTS);
    });
  }
});
