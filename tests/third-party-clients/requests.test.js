// Every client over every transport: a request over a socket is answered like the same request over HTTP.

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { CLIENTS, WAYS, connect, showsPublicId } from './clients.js'
import { overHttp, start } from './server.js'

const server = await start('websocket', 'polling')
after(() => server.stop())

/** Requests, and what they are answered with; `headers` are those of the ack. */
const SAME_OVER_HTTP = [
  // Bodies of each kind.
  { ask: { method: 'get', url: '/answers/object' }, body: { hello: 'world' } },
  { ask: { method: 'get', url: '/answers/array' }, body: [1, 2, 3] },
  { ask: { method: 'get', url: '/answers/number' }, body: 42 },
  { ask: { method: 'get', url: '/answers/zero' }, body: 0 },
  { ask: { method: 'get', url: '/answers/true' }, body: true },
  { ask: { method: 'get', url: '/answers/null' }, body: null },
  { ask: { method: 'get', url: '/answers/json-string' }, body: 'a string' },
  { ask: { method: 'get', url: '/answers/text' }, body: 'a string' },
  {
    ask: { method: 'get', url: '/answers/html' },
    body: '<p>a page</p>',
    headers: { 'content-type': 'text/html; charset=utf-8' },
  },
  { ask: { method: 'get', url: '/answers/nothing' }, body: undefined },
  { ask: { method: 'get', url: '/answers/no-content' }, status: 204, body: undefined },

  // Statuses without a body, whatever the action gives them, and one that is no answer.
  ...[204, 205, 304].map((status) => ({ ask: { method: 'get', url: `/answers/status/${status}` }, status, body: undefined })),
  {
    ask: { method: 'get', url: '/answers/status/103' },
    status: 500,
    body: { code: 'informational_status', message: 'the action answered with a status of 1xx, which is no answer: use 200 or above' },
  },
  // Paths that every client encodes.
  { ask: { method: 'get', url: '/answers/größe/süß' }, body: 'süß' },

  // Methods.
  { ask: { method: 'get', url: '/users/7' }, body: { id: 7 } },
  {
    ask: { method: 'post', url: '/users', data: { name: 'Ada', age: 36 } },
    status: 201,
    body: { name: 'Ada', age: 36 },
    headers: { 'x-created': 'yes' },
  },
  {
    ask: { method: 'put', url: '/users/7', data: { name: 'Ada', age: 37 } },
    body: { id: 7, name: 'Ada', age: 37 },
  },
  { ask: { method: 'patch', url: '/users/7', data: { age: 38 } }, body: { id: 7, change: { age: 38 } } },
  { ask: { method: 'delete', url: '/users/7', data: {} }, status: 204, body: undefined },
  {
    ask: { method: 'head', url: '/users/7' },
    body: undefined,
    headers: { 'content-type': 'application/json' },
  },
  {
    ask: { method: 'options', url: '/users/7', data: {} },
    status: 405,
    body: 'Method Not Allowed',
    headers: { allow: 'GET,HEAD,PUT,PATCH,DELETE' },
  },

  // Headers and redirects, which nobody follows.
  {
    ask: { method: 'get', url: '/answers/headers' },
    body: { ok: true },
    headers: { 'x-custom': 'yes', 'x-mixed-case': 'yes', vary: 'accept, cookie' },
  },
  {
    ask: { method: 'get', url: '/answers/moved' },
    status: 303,
    body: undefined,
    headers: { location: '/answers/object' },
  },
  {
    ask: { method: 'get', url: '/answers/found' },
    status: 302,
    body: undefined,
    headers: { location: '/answers/object' },
  },

  // Failures.
  { ask: { method: 'get', url: '/users/seven' }, status: 400 },
  { ask: { method: 'get', url: '/nowhere' }, status: 404, body: 'Not Found' },
  {
    ask: { method: 'post', url: '/answers/object', data: {} },
    status: 405,
    body: 'Method Not Allowed',
    headers: { allow: 'GET,HEAD' },
  },
  { ask: { method: 'post', url: '/users', data: { name: 'Ada' } }, status: 422 },
  { ask: { method: 'get', url: '/answers/failure' }, status: 500, body: { message: 'Internal Server Error' } },
  {
    ask: { method: 'get', url: '/answers/panic' },
    status: 500,
    body: { code: 'panicked', message: 'the action failed unexpectedly' },
  },

  // What reaches the handler.
  { ask: { method: 'get', url: '/echo?a=1&a=2' } },
  {
    ask: { method: 'get', url: '/echo', data: { text: 'a b&c', list: [1, 'two'], nested: { deep: true }, none: null } },
  },
  { ask: { method: 'get', url: '/echo?first=1', data: { second: '😀' } } },
  { ask: { method: 'get', url: '/echo', headers: { 'x-own': 'yes', authorization: 'Bearer t' } } },
  { ask: { method: 'post', url: '/echo?in=query', data: { in: 'body', float: 1.5, none: null, list: [] } } },
  { ask: { method: 'put', url: '/echo', data: ['an', 'array'] } },
  { ask: { method: 'patch', url: '/echo', data: { emoji: '👩‍👩‍👧', clé: 'ü' } } },
  { ask: { method: 'delete', url: '/echo', data: { reason: 'old' } } },
  { ask: { method: 'options', url: '/echo', data: { why: 'not' } } },
  { ask: { method: 'get', url: '/echo?name=%F0%9F%98%80&größe=😀 1' } },
]

/** Texts that a length in the wrong unit, or a decoder cut in the middle, would tear. */
const TEXTS = {
  'Latin letters': 'größer, naïve',
  'three-byte characters': '日本語のテキスト',
  'an emoji': '😀',
  'emoji joined into one': '👩‍👩‍👧‍👦 🏳️‍🌈',
  'letters beyond the first plane': '𝕊𝓐𝔘',
  'control characters and separators': 'a\u0000b\u001ec\u2028d\nе"\\',
  'many emoji': '😀é日a'.repeat(2_000),
}

/** Data that the Sails client refuses to send, or replaces by an object. */
const SCALARS = ['text', '', '😀', 0, 1.5, true, false, null]

for (const client of CLIENTS) {
  for (const way of Object.keys(WAYS)) {
    const takesBinary = client.engineio === 4 || way !== 'polling'

    describe(`${client.name} over ${way}`, () => {
      let connection
      before(async () => (connection = await connect(client, way, server)))
      after(() => connection.close())

      for (const { ask, status = 200, headers = {}, ...expected } of SAME_OVER_HTTP) {
        test(`${ask.method} ${ask.url} ${ask.data ? JSON.stringify(ask.data) : ''}`, async () => {
          // The Sails client adds to what it is given.
          const [ack, response] = await Promise.all([connection.request({ ...ask }), overHttp(server, ask)])
          assert.equal(ack.statusCode, status)
          assert.equal(response.statusCode, status)
          assert.deepEqual(ack.body, response.body)
          if ('body' in expected) assert.deepEqual(ack.body, expected.body)
          assert.deepEqual(ack.headers, headers)
          for (const [name, value] of Object.entries(headers)) assert.equal(response.headers[name], value)
        })
      }

      test('a body of bytes arrives whole', async () => {
        const ask = { method: 'get', url: '/answers/bytes' }
        const [ack, response] = await Promise.all([connection.request({ ...ask }), overHttp(server, ask)])
        assert.equal(ack.statusCode, 200)
        if (takesBinary) {
          assert.deepEqual(ack.headers, {})
          assert.deepEqual(Buffer.from(ack.body), response.body)
        } else {
          assert.deepEqual(ack.headers, { 'content-transfer-encoding': 'base64' })
          assert.deepEqual(Buffer.from(ack.body, 'base64'), response.body)
        }
        assert.equal((await connection.request({ method: 'get', url: '/answers/text' })).body, 'a string')
      })

      test('bytes in a request are refused', async () => {
        const ask = { method: 'post', url: '/mirror/json', data: { file: Buffer.from([1, 2, 3]) } }
        const { statusCode, body } = await connection.request(ask)
        assert.equal(statusCode, 400)
        assert.equal(body.code, 'malformed')
      })

      for (const [what, text] of Object.entries(TEXTS)) {
        test(`${what} pass both ways, as JSON, as text and as bytes`, async () => {
          const ask = (url) => connection.request({ method: 'post', url, data: [text, text] })
          const [json, plain, bytes] = await Promise.all([
            ask('/mirror/json'),
            ask('/mirror/text'),
            ask('/mirror/bytes'),
          ])
          assert.deepEqual(json.body, [text, text])
          assert.equal(plain.body, text + text)
          assert.equal(Buffer.from(bytes.body, takesBinary ? undefined : 'base64').toString(), text + text)
        })
      }

      test('a text passes in the URL and in the query', async () => {
        const ask = { method: 'get', url: '/gates/😀', data: { text: '日本 😀' } }
        await connection.request({ method: 'post', url: '/gates/%F0%9F%98%80' })
        assert.equal((await connection.request(ask)).body, '😀')
      })

      test('a lone surrogate in a text fails its request, not the connection', async () => {
        const data = ['\ud83d']
        assert.equal((await connection.request({ method: 'post', url: '/mirror/text', data })).statusCode, 400)
        assert.equal((await connection.request({ method: 'get', url: '/answers/text' })).statusCode, 200)
      })

      test('an event of whatever name costs no connection', async () => {
        const acks = []
        for (const name of ['größe', 'say "hi"', 'back\\slash', 'line\nbreak', '😀']) {
          connection.raw.emit(name, 1, (...args) => acks.push(args))
        }
        assert.equal((await connection.request({ method: 'get', url: '/answers/text' })).statusCode, 200)
        // No action has such a name.
        assert.deepEqual(acks, [])
      })

      test('a body of 300 kB passes both ways', async () => {
        const list = Array.from({ length: 20_000 }, (_, n) => `${n} größer 😀`)
        assert.ok(JSON.stringify(list).length > 300_000)
        const { body, statusCode } = await connection.request({ method: 'post', url: '/mirror/json', data: list })
        assert.equal(statusCode, 200)
        assert.deepEqual(body, list)
        assert.equal((await connection.request({ method: 'get', url: '/answers/large' })).body.length, 25_000)
      })

      test('requests at once are answered each with its own', async () => {
        const numbers = Array.from({ length: 60 }, (_, n) => n)
        const ask = (n) =>
          connection.request({ method: 'post', url: '/mirror/json', data: { n, text: '😀'.repeat(n) } })
        const acks = await Promise.all(numbers.map(ask))
        assert.deepEqual(
          acks.map(({ body }) => body.n),
          numbers,
        )
        assert.deepEqual(
          acks.map(({ body }) => body.text.length),
          numbers.map((n) => 2 * n),
        )
      })

      test('a request that waits holds up no other', async () => {
        const gate = `${client.name} ${way}`
        const url = `/gates/${encodeURIComponent(gate)}`
        const order = []
        const waiting = connection.request({ method: 'get', url }).then(({ body }) => order.push(body))
        await connection.request({ method: 'get', url: '/answers/text' }).then(({ body }) => order.push(body))
        await connection.request({ method: 'post', url })
        await waiting
        assert.deepEqual(order, ['a string', gate])
      })

      test('more requests than one socket may have waiting are refused', async () => {
        const url = `/gates/${encodeURIComponent(`many of ${client.name} ${way}`)}`
        const waiting = Array.from({ length: 64 }, () => connection.request({ method: 'get', url }))
        const { statusCode, body } = await connection.request({ method: 'get', url: '/answers/text' })
        assert.equal(statusCode, 429)
        assert.equal(body.code, 'too_many_in_flight')
        await overHttp(server, { method: 'post', url })
        const acks = await Promise.all(waiting)
        assert.ok(acks.every(({ statusCode }) => statusCode === 200))
      })

      test('headers of the handshake cannot be set by a packet', async () => {
        const headers = {
          host: 'elsewhere',
          origin: 'http://elsewhere',
          cookie: 'sid=stolen',
          'x-forwarded-for': '1.2.3.4',
        }
        const echoed = await connection.request({ method: 'get', url: '/echo', headers: { ...headers } })
        assert.deepEqual(echoed.body.headers, { host: new URL(server.url).host })
        assert.equal((await connection.request({ method: 'get', url: '/session' })).body, null)
      })

      test('headers are strings, numbers and booleans; null is none', async () => {
        const headers = { 'x-text': 'a', 'X-Number': 5, 'x-yes': true, 'x-none': null }
        const { body } = await connection.request({ method: 'get', url: '/echo', headers })
        const { host, ...own } = body.headers
        assert.deepEqual(own, { 'x-text': 'a', 'x-number': '5', 'x-yes': 'true' })
      })

      test('a header that HTTP cannot carry is refused', async () => {
        const { statusCode, body } = await connection.request({ method: 'get', url: '/echo', headers: { 'x-a': '😀' } })
        assert.equal(statusCode, 400)
        assert.match(body.message, /`x-a`/)
      })

      test('an action sees the socket that asked', async () => {
        const { body } = await connection.request({ method: 'get', url: '/me' })
        assert.equal(body.id === connection.raw.id, showsPublicId(client, way))
        assert.match(body.query, new RegExp(`EIO=${client.engineio}`))
        assert.equal(/__sails_io_sdk_version=1\.2\.1/.test(body.query), client.isSails)
        assert.equal((await overHttp(server, { method: 'get', url: '/me' })).statusCode, 426)
      })

      if (!client.isSails) {
        for (const data of SCALARS) {
          test(`${JSON.stringify(data)} is a body`, async () => {
            const { statusCode, body } = await connection.request({ method: 'post', url: '/mirror/json', data })
            assert.equal(statusCode, 200)
            assert.equal(body, data)
          })
        }

        test('a request without data has no body', async () => {
          const ask = { method: 'post', url: '/echo' }
          const [ack, response] = await Promise.all([connection.request(ask), overHttp(server, ask)])
          assert.equal(ack.body.body, '')
          assert.deepEqual(ack.body, response.body)
        })
      }
    })

    describe(`cookies of ${client.name} over ${way}`, () => {
      const cookie = async (connection) => (await connection.request({ method: 'get', url: '/session' })).body
      const login = (connection, id) => connection.request({ method: 'post', url: `/session/${id}` })

      test('that of the handshake comes with every request, and answers change it', async (t) => {
        const connection = await connect(client, way, server, { headers: { cookie: 'theme=dark; sid=old' } })
        t.after(() => connection.close())
        assert.equal(await cookie(connection), 'theme=dark; sid=old')
        await login(connection, 'new')
        assert.deepEqual((await cookie(connection)).split('; ').sort(), ['sid=new', 'theme=dark'])
      })

      test('a socket without one keeps what it is given, which its script never sees', async (t) => {
        const [one, other] = await Promise.all([connect(client, way, server), connect(client, way, server)])
        t.after(() => [one, other].forEach((connection) => connection.close()))
        const { headers, body } = await login(one, 'mine')
        assert.equal(body, 'welcome')
        assert.deepEqual(headers, {})
        assert.equal(await cookie(one), 'sid=mine')
        assert.equal(await cookie(other), null)
      })
    })
  }
}
