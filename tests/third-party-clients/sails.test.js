// What sails.io.js does beyond requests: its own socket, its queue, its global headers, its errors.

import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import { freshSails } from './clients.js'
import { overHttp, start } from './server.js'
import { next, within } from './within.js'

const server = await start()
after(() => server.stop())

for (const socketio of ['socket.io-client-2.0', 'socket.io-client-2.5']) {
  /** A socket, and `ask`, which resolves with the arguments of the callback of a request. */
  const connect = (t, options = {}) => {
    const socket = freshSails(socketio).sails.connect(server.url, options)
    t.after(() => socket._raw.close())
    return { socket, ask: asking(socket) }
  }
  const asking =
    (socket) =>
    (method, ...request) =>
      within(
        new Promise((resolve) => socket[method](...request, (...values) => resolve(values))),
        `${method} is answered`,
      )

  describe(`sails.io.js on ${socketio}`, () => {
    test('the shorthands of all methods are answered', async (t) => {
      const { ask } = connect(t)
      assert.deepEqual((await ask('get', '/users/7'))[0], { id: 7 })
      assert.deepEqual((await ask('post', '/users', { name: 'Ada', age: 36 }))[0], { name: 'Ada', age: 36 })
      assert.deepEqual((await ask('put', '/users/7', { name: 'Ada', age: 37 }))[0], { id: 7, name: 'Ada', age: 37 })
      assert.deepEqual((await ask('patch', '/users/7', { age: 38 }))[0], { id: 7, change: { age: 38 } })
      const [body, jwr] = await ask('delete', '/users/7')
      assert.equal(body, undefined)
      assert.equal(jwr.statusCode, 204)
    })

    test('`request` takes a method, its data as `data` or `params`, and headers', async (t) => {
      const { ask } = connect(t)
      const headers = { 'x-own': 'yes' }
      for (const data of ['data', 'params']) {
        const [echo] = await ask('request', { method: 'PUT', url: '/echo', [data]: { a: 1 }, headers: { ...headers } })
        assert.equal(echo.method, 'PUT')
        assert.equal(echo.body, '{"a":1}')
        assert.equal(echo.headers['x-own'], 'yes')
      }
      assert.equal((await ask('request', { url: '/echo' }))[0].method, 'GET')
      assert.equal((await ask('request', { method: 'options', url: '/echo' }))[0].method, 'OPTIONS')
      const [body, jwr] = await ask('request', { method: 'head', url: '/echo' })
      assert.equal(body, undefined)
      assert.equal(jwr.statusCode, 200)
    })

    test('requests made before the connection wait for it, in order', async (t) => {
      const { socket, ask } = connect(t)
      assert.equal(socket.isConnected(), false)
      const order = []
      const answers = [1, 2, 3].map((n) => ask('post', '/mirror/json', [n]).then(([[n]]) => order.push(n)))
      assert.equal(socket.requestQueue.length, 3)
      await Promise.all(answers)
      assert.deepEqual(order, [1, 2, 3])
    })

    test('`io.socket` connects by itself, after the script that set it up', async (t) => {
      const io = freshSails(socketio)
      io.sails.autoConnect = true
      io.sails.url = server.url
      const connected = next(io.socket, 'connect')
      const answered = asking(io.socket)('get', '/answers/object')
      assert.equal(io.socket.mightBeAboutToAutoConnect(), true)
      assert.deepEqual((await answered)[0], { hello: 'world' })
      await connected
      t.after(() => io.socket.disconnect())
    })

    test('headers for all requests join those of each', async (t) => {
      const { ask } = connect(t, { headers: { 'x-all': 'all', 'x-both': 'all' } })
      const [{ headers }] = await ask('request', { url: '/echo', headers: { 'x-both': 'one', 'x-one': 'one' } })
      const { host, ...own } = headers
      assert.deepEqual(own, { 'x-all': 'all', 'x-both': 'one', 'x-one': 'one' })
    })

    test('headers of the first connection come with every request', async (t) => {
      const { ask } = connect(t, { initialConnectionHeaders: { authorization: 'Bearer t', cookie: 'sid=1' } })
      assert.equal((await ask('get', '/echo'))[0].headers.authorization, 'Bearer t')
      assert.equal((await ask('get', '/session'))[0], 'sid=1')
    })

    test('a query of the connection reaches the action', async (t) => {
      const { ask } = connect(t, { query: 'token=1' })
      assert.match((await ask('get', '/me'))[0].query, /^token=1&__sails_io_sdk_version=1\.2\.1&/)
    })

    test('a failure has an error with its status and body', async (t) => {
      const { ask } = connect(t)
      const [body, jwr] = await ask('get', '/nowhere')
      assert.equal(body, 'Not Found')
      assert.match(jwr.error.message, /^Server responded with a 404 status code:\n```\n"?Not Found"?\n```$/)
      assert.deepEqual(jwr.toPOJO(), { body: 'Not Found', headers: {}, statusCode: 404 })
    })

    test('a redirect is no error, and is not followed', async (t) => {
      const { ask } = connect(t)
      const [body, jwr] = await ask('get', '/answers/moved')
      assert.equal(body, undefined)
      assert.equal(jwr.error, undefined)
      assert.equal(jwr.statusCode, 303)
      assert.equal(jwr.headers.location, '/answers/object')
    })

    test('a request under way fails when the connection ends', async (t) => {
      const { socket, ask } = connect(t)
      const gate = `/gates/never-of-${socketio}`
      await ask('get', '/answers/zero')
      const waiting = ask('get', gate)
      // The second answer says that the server has begun the first request.
      await ask('get', '/answers/zero')
      socket.disconnect()
      const [error, jwr] = await waiting
      assert.match(error.message, /disconnected before the request completed/)
      assert.equal(jwr.statusCode, 0)
    })

    test('`reconnect` is a new connection, which sends what was asked meanwhile', async (t) => {
      const { socket, ask } = connect(t)
      const [before] = await ask('get', '/me')
      socket.disconnect()
      const answered = ask('get', '/me')
      socket.reconnect()
      const [after] = await answered
      assert.notEqual(after.id, before.id)
      assert.equal(after.id, socket._raw.id)
    })

    test('a lost connection is made anew where that is asked for', async (t) => {
      const { socket, ask } = connect(t, { reconnection: true, reconnectionDelay: 10 })
      const [before] = await ask('get', '/me')
      const lost = next(socket, 'disconnect')
      const again = next(socket, 'reconnect')
      socket._raw.io.engine.close()
      await lost
      const [after] = await ask('get', '/me')
      await again
      assert.notEqual(after.id, before.id)
      assert.equal(after.id, socket._raw.id)
    })

    test('a request without a callback is run', async (t) => {
      const { socket, ask } = connect(t)
      await ask('get', '/answers/zero')
      const gate = `/gates/no-callback-of-${socketio}`
      socket.post(gate)
      assert.equal((await overHttp(server, { method: 'get', url: gate })).statusCode, 200)
    })

    test('one that cannot be read is told by an event', async (t) => {
      const { socket, ask } = connect(t)
      await ask('get', '/answers/zero')
      const told = next(socket, 'sails:parseError')
      socket._raw.emit('get', { url: 5 })
      const [{ statusCode, body }] = await told
      assert.equal(statusCode, 400)
      assert.equal(body.code, 'malformed')
    })
  })
}
