// A rolling restart of two servers behind a balancer that learns late which of them is ready: each effect happens once.
const assert = require('node:assert/strict');
const { once } = require('node:events');
const { mkdtempSync, readFileSync, rmSync } = require('node:fs');
const http = require('node:http');
const { connect, createServer } = require('node:net');
const { tmpdir } = require('node:os');
const { join } = require('node:path');
const { test } = require('node:test');
const { setTimeout: sleep } = require('node:timers/promises');
const WebSocket = require('ws');
const { catamaran } = require('./client.js');
const { start } = require('./server.js');
const { within } = require('./within.js');

const RESTARTS = 4;
const HTTP_CLIENTS = 20;
const OUR_CLIENTS = 20;
const LATE = 2000;
const DEADLINE = '8000';

/** Forwards connections, and asks each server whether it is ready, but acts on the answer only after a while. */
class Balancer {
  constructor() {
    this.turn = 0;
    /** @type {{ url: string, ready: boolean, asked: Promise<void>, stop: AbortController }[]} */
    this.servers = [];
    this.sockets = new Set();
    this.listener = createServer((near) => this.connected(near));
  }

  async listen() {
    this.listener.listen(0, '127.0.0.1');
    await once(this.listener, 'listening');
    this.url = `http://127.0.0.1:${this.listener.address().port}`;
  }

  close() {
    for (const { stop } of this.servers) stop.abort();
    for (const socket of this.sockets) socket.destroy();
    this.listener.close();
  }

  /** Resolves when requests may go there. */
  async add(url) {
    const server = { url, ready: false, stop: new AbortController() };
    this.servers.push(server);
    await new Promise((resolve) => { this.watch(server, resolve); });
  }

  async watch(server, onReady) {
    const { signal } = server.stop;
    while (!signal.aborted) {
      const ready = await fetch(`${server.url}/health/ready`, { signal }).then(({ ok }) => ok, () => false);
      setTimeout(() => {
        server.ready = ready;
        if (ready) onReady();
      }, LATE);
      await sleep(50);
    }
  }

  remove(url) {
    const gone = this.servers.find((server) => server.url === url);
    gone.stop.abort();
    this.servers = this.servers.filter((server) => server !== gone);
  }

  connected(near) {
    const ready = this.servers.filter((server) => server.ready);
    const { url } = ready[this.turn++ % ready.length];
    const far = connect(new URL(url).port, '127.0.0.1');
    for (const [from, to] of [[near, far], [far, near]]) {
      this.sockets.add(from);
      from.setNoDelay().on('error', () => to.destroy()).on('close', () => this.sockets.delete(from)).pipe(to);
    }
  }
}

/** Asks over HTTP; again, if that was not run. */
async function post(agent, url, id, counts) {
  for (;;) {
    const request = http.request(`${url}/effects`, { method: 'POST', agent, headers: { 'content-type': 'application/json' } });
    request.end(JSON.stringify({ id }));
    const [response] = await once(request, 'response');
    response.resume();
    await once(response, 'end');
    if (response.headers.connection === 'close') counts.asked += 1;
    if (response.statusCode !== 503 || response.headers['x-catamaran-not-run'] !== '1') return response.statusCode;
  }
}

test('a rolling restart loses no request and runs none twice', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'catamaran-'));
  const file = join(folder, 'effects');
  const balancer = new Balancer();
  await balancer.listen();
  const launch = () => start('drain-app', DEADLINE, 'health', file);
  const servers = [await launch(), await launch()];
  t.after(() => {
    balancer.close();
    servers.forEach((server) => server.stop());
    rmSync(folder, { recursive: true });
  });
  await Promise.all(servers.map(({ url }) => balancer.add(url)));

  // How often an answer asked an HTTP client for a new connection, and how often one of our clients moved to another server or
  // was answered that a request was not begun.
  const counts = { asked: 0, moved: 0, repeated: 0 };
  const sent = [];
  const failed = [];
  let over = false;
  const load = async (name, ask) => {
    for (let n = 0; !over; n++) {
      const id = `${name}:${n}`;
      sent.push(id);
      const status = await ask(id).catch((error) => error);
      if (status !== 201) failed.push([id, status]);
      await sleep(Math.random() * 40);
    }
  };
  const agents = Array.from({ length: HTTP_CLIENTS }, () => new http.Agent({ keepAlive: true, maxSockets: 1 }));
  class Counted extends WebSocket {
    constructor(...args) {
      super(...args);
      this.on('message', (frame) => { counts.repeated += frame.includes('"x-catamaran-not-run"'); });
    }
  }
  const sockets = Array.from({ length: OUR_CLIENTS }, () => catamaran.connect(balancer.url, { WebSocket: Counted }));
  for (const socket of sockets) socket.on('disconnect', (reason) => { if (reason === 'transport close') counts.moved += 1; });
  const clients = [
    ...agents.map((agent, n) => load(`http ${n}`, (id) => post(agent, balancer.url, id, counts))),
    ...sockets.map((socket, n) => load(`socket ${n}`, (id) => socket.post('/effects', { id }).then(({ statusCode }) => statusCode))),
  ];

  for (let n = 0; n < RESTARTS; n++) {
    const old = servers.shift();
    await old.stop();
    balancer.remove(old.url);
    const next = await launch();
    servers.push(next);
    await within(balancer.add(next.url), 'readiness');
  }
  over = true;
  await within(Promise.all(clients), 'the last answers');
  for (const socket of sockets) socket.disconnect();
  for (const agent of agents) agent.destroy();

  const run = readFileSync(file, 'utf8').trim().split('\n');
  t.diagnostic(`${sent.length} requests, ${JSON.stringify(counts)}`);
  assert.deepEqual(failed, []);
  assert.deepEqual(run.toSorted(), sent.toSorted(), 'each effect once');
  assert.ok(Object.values(counts).every((count) => count > 0), 'each way was gone');
});
