// How connections begin and end.

import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import { CLIENTS, WAYS, connect, open, showsPublicId } from './clients.js'
import { start } from './server.js'
import { next, within } from './within.js'

const server = await start('websocket', 'polling')
after(() => server.stop())

for (const client of CLIENTS) {
  /** A query as this client takes it. */
  const query = (text) => (client.engineio === 3 ? text : Object.fromEntries(new URLSearchParams(text)))

  describe(client.name, () => {
    for (const way of Object.keys(WAYS)) {
      test(`requests sent right inside the connect handler are answered, over ${way}`, async (t) => {
        const bodies = Array.from({ length: 40 }, (_, n) => {
          const { raw, send } = client.open(server.url, { transports: WAYS[way] })
          t.after(() => raw.close())
          const answered = new Promise((resolve, reject) => {
            raw.once('connect', () =>
              send({ method: 'post', url: '/mirror/json', data: [n] }, (ack) => resolve(ack.body)),
            )
            raw.once('connect_error', reject)
          })
          return within(answered, `socket ${n} is answered`)
        })
        assert.deepEqual(
          await Promise.all(bodies),
          Array.from({ length: 40 }, (_, n) => [n]),
        )
      })
    }

    test('no answer is lost to the upgrade from polling to websocket', async (t) => {
      const { raw, connected } = open(client, server.url, { transports: ['polling', 'websocket'] })
      t.after(() => raw.close())
      const upgraded = next(raw.io.engine, 'upgrade')
      const connection = await connected
      let done = false
      upgraded.then(() => (done = true))
      let n = 0
      // One request after the other, before, while and after the transport changes, of text and of bytes.
      for (let more = 20; more > 0; more -= done ? 1 : 0) {
        const data = [`${n++} 😀`]
        const [json, bytes] = await Promise.all([
          connection.request({ method: 'post', url: '/mirror/json', data }),
          connection.request({ method: 'post', url: '/mirror/bytes', data }),
        ])
        assert.deepEqual(json.body, data)
        assert.equal(Buffer.from(bytes.body, typeof bytes.body === 'string' ? 'base64' : undefined).toString(), data[0])
      }
      assert.equal(connection.transport, 'websocket')
    })

    test('several sockets of one process are several clients', async (t) => {
      const ways = [...Object.keys(WAYS), ...Object.keys(WAYS)]
      const connections = await Promise.all(ways.map((way) => connect(client, way, server)))
      t.after(() => connections.forEach((connection) => connection.close()))
      const asked = connections.map((connection) => connection.request({ method: 'get', url: '/me' }))
      const ids = (await Promise.all(asked)).map(({ body }) => body.id)
      ids.forEach((id, nth) => {
        assert.equal(id === connections[nth].raw.id, showsPublicId(client, ways[nth]), ways[nth])
      })
      assert.equal(new Set(ids).size, connections.length)
    })

    // The Sails client writes its query behind the namespace, and socketioxide answers under that whole name, which the
    // client does not listen to.
    if (!client.isSails) {
      test('an unknown namespace is an error, and the others go on', async (t) => {
        const connection = await connect(client, 'websocket', server)
        const { raw, connected } = open(client, `${server.url}/nowhere`, { transports: ['websocket'] })
        t.after(() => [connection, raw].forEach((socket) => socket.close()))
        await assert.rejects(connected, { message: 'Invalid namespace' })
        assert.equal((await connection.request({ method: 'get', url: '/answers/zero' })).body, 0)
      })
    }

    for (const way of Object.keys(WAYS)) {
      test(`a refusal is told with its status and why, over ${way}`, async (t) => {
        const { raw, connected } = open(client, server.url, { transports: WAYS[way], query: query('refuse=401') })
        t.after(() => raw.close())
        let error
        await connected.catch((reason) => (error = reason))
        assert.equal(error.message, '401 Unauthorized: as you wish')
        assert.equal(error instanceof Error, client.engineio === 4)
        assert.equal(raw.connected, false)
      })
    }

    if (client.engineio === 4) {
      test('what is said when connecting reaches the application', async (t) => {
        const { raw, connected } = open(client, server.url, { transports: ['websocket'], auth: { refuse: 403 } })
        t.after(() => raw.close())
        await assert.rejects(connected, { message: '403 Forbidden: as you wish' })
        raw.auth = {}
        const accepted = next(raw, 'connect')
        raw.connect()
        await accepted
      })
    }

    test('a server that stops says so to its clients, and hears of their end', async (t) => {
      const stopping = await start('websocket', 'polling')
      const ways = Object.keys(WAYS)
      const connections = await Promise.all(ways.map((way, name) => connect(client, way, stopping, { query: query(`name=${name}`) })))
      t.after(() => connections.forEach((connection) => connection.close()))
      const disconnected = connections.map(({ raw }) => next(raw, 'disconnect'))
      assert.equal(await stopping.stop(), 0)
      await Promise.all(disconnected)
      assert.deepEqual(stopping.log.slice(1).sort(), ['0 is gone', '1 is gone', '2 is gone'])
    })
  })
}

describe('an application that names no transports', async () => {
  const websocketOnly = await start()
  after(() => websocketOnly.stop())

  for (const client of CLIENTS) {
    test(`takes ${client.name} over websocket`, async (t) => {
      const connection = await connect(client, 'websocket', websocketOnly)
      t.after(() => connection.close())
      assert.deepEqual((await connection.request({ method: 'get', url: '/answers/object' })).body, { hello: 'world' })
    })

    test(`refuses ${client.name} over polling`, async (t) => {
      const { raw, connected } = open(client, websocketOnly.url, { transports: ['polling'] })
      t.after(() => raw.close())
      await assert.rejects(connected, /xhr poll error/)
    })
  }

  for (const protocol of [3, 4]) {
    test(`tells an Engine.IO ${protocol} client over polling why`, async () => {
      const url = `${websocketOnly.url}/socket.io/?EIO=${protocol}&transport=polling`
      const response = await within(fetch(url), 'the refusal')
      assert.equal(response.status, 400)
      assert.match(response.headers.get('content-type'), /^application\/json/)
      assert.deepEqual(await response.json(), { code: '3', message: 'Bad request' })
    })
  }
})
