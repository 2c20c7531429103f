const assert = require('node:assert/strict');
const { execFileSync } = require('node:child_process');
const { mkdtempSync, cpSync, rmSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { join } = require('node:path');
const { test } = require('node:test');
const { World } = require('./world.js');

const CLIENT = join(__dirname, '../../runtime/client');

/** Runs a script beside which the package is installed as it lies. */
function run(script, type) {
  const home = mkdtempSync(join(tmpdir(), 'catamaran-client-'));
  try {
    cpSync(CLIENT, join(home, 'node_modules/catamaran.io.js'), { recursive: true });
    return execFileSync(process.execPath, [`--input-type=${type}`, '-e', script], { cwd: home, encoding: 'utf8', timeout: 20000 }).trim();
  } finally {
    rmSync(home, { recursive: true });
  }
}

test('it is imported as a module', () => {
  assert.equal(run(`
    import { connect, JWR, RequestError } from 'catamaran.io.js';
    const socket = connect('http://server.example', { WebSocket: class { close() {} } });
    console.log(socket.state, new JWR({ statusCode: 204 }).statusCode, new RequestError('timeout', 'late').name);
    socket.disconnect();`, 'module'), 'connecting 204 RequestError');
});

test('its default export is what is required', () => {
  assert.equal(run(`
    import io, { connect, JWR, RequestError } from 'catamaran.io.js';
    import { createRequire } from 'node:module';
    const required = createRequire(import.meta.url)('catamaran.io.js');
    const own = io();
    own.sails.autoConnect = false;
    console.log(io.connect === connect, io.JWR === JWR, io.RequestError === RequestError, typeof own.socket.get,
      String(Object.keys(io)) === String(Object.keys(required)));`, 'module'), 'true true true function true');
});

test('it is required, with or without a socket.io-client', () => {
  assert.equal(run(`
    const catamaran = require('catamaran.io.js');
    const io = () => {};
    const extended = catamaran(io);
    extended.sails.autoConnect = false;
    const own = catamaran();
    own.sails.autoConnect = false;
    console.log(extended === io, own !== io, typeof own.socket.get, typeof catamaran.connect);
    try { catamaran(io); } catch (error) { console.log(error.message); }
    setTimeout(() => console.log('socket' in own), 1);`, 'commonjs'),
  'true true function function\nThe socket.io client (`io`) has already been augmented.\nfalse');
});

test('a page that imports it gets no globals and no connection', async () => {
  const world = new World({ page: true, module: true });
  await world.advance(10);
  assert.deepEqual([world.global.io, world.sockets.length], [undefined, 0]);
  const { connect } = world.global.found;
  connect();
  await world.advance(0);
  assert.match(world.socket.url, /^wss:\/\/page\.example\/.*platform=browser/);
});

test('the plain modules need no build', () => {
  assert.equal(run(`
    import { connect, RequestError } from 'catamaran.io.js/src/module.js';
    const socket = connect('http://server.example', { WebSocket: class { close() {} } });
    console.log(socket.state, typeof RequestError);
    socket.disconnect();`, 'module'), 'connecting function');
});
