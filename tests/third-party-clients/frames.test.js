// What goes over the wire, byte for byte, seen without a client library.

import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import WebSocket from 'ws'
import { start } from './server.js'
import { within } from './within.js'

const server = await start('websocket', 'polling')
after(() => server.stop())

/** A websocket whose messages are read one by one. */
class Raw {
  constructor(query) {
    const url = new URL(`/socket.io/?${query}`, server.url)
    url.protocol = 'ws'
    this.socket = new WebSocket(url)
    this.messages = []
    this.readers = []
    this.socket.on('message', (bytes, isBinary) => this.#take(isBinary ? bytes : bytes.toString()))
  }

  #take(message) {
    // Engine.IO 4 pings from the server, at any time.
    if (message === '2') return this.send('3')
    const reader = this.readers.shift()
    if (reader) reader(message)
    else this.messages.push(message)
  }

  send(message) {
    this.socket.send(message)
  }

  next() {
    if (this.messages.length > 0) return Promise.resolve(this.messages.shift())
    return within(new Promise((resolve) => this.readers.push(resolve)), 'a frame arrives')
  }

  /** Sends one frame and reads one. */
  async ask(message) {
    this.send(message)
    return this.next()
  }

  close() {
    this.socket.close()
  }
}

async function engineIo3(t) {
  const raw = new Raw('EIO=3&transport=websocket')
  t.after(() => raw.close())
  assert.match(
    await raw.next(),
    /^0\{"sid":"[^"]+","upgrades":\[\],"pingInterval":10000,"pingTimeout":5000,"maxPayload":\d+\}$/,
  )
  assert.equal(await raw.next(), '40')
  return raw
}

const get = (url) => `420["get",{"method":"get","headers":{},"data":{},"url":"${url}"}]`

/** Acks as the Sails server sends them; docs/wire.md says where ours are others. */
const ACKS = {
  '/answers/object': '430[{"body":{"hello":"world"},"headers":{},"statusCode":200}]',
  '/answers/array': '430[{"body":[1,2,3],"headers":{},"statusCode":200}]',
  '/answers/number': '430[{"body":42,"headers":{},"statusCode":200}]',
  '/answers/zero': '430[{"body":0,"headers":{},"statusCode":200}]',
  '/answers/true': '430[{"body":true,"headers":{},"statusCode":200}]',
  '/answers/null': '430[{"body":null,"headers":{},"statusCode":200}]',
  '/answers/text': '430[{"body":"a string","headers":{},"statusCode":200}]',
  '/answers/json-string': '430[{"body":"a string","headers":{},"statusCode":200}]',
  '/answers/nothing': '430[{"headers":{},"statusCode":200}]',
  '/answers/no-content': '430[{"headers":{},"statusCode":204}]',
  '/answers/moved': '430[{"headers":{"location":"/answers/object"},"statusCode":303}]',
  '/answers/found': '430[{"headers":{"location":"/answers/object"},"statusCode":302}]',
  '/answers/failure': '430[{"body":{"message":"Internal Server Error"},"headers":{},"statusCode":500}]',
  '/nowhere': '430[{"body":"Not Found","headers":{},"statusCode":404}]',
}

for (const [url, ack] of Object.entries(ACKS)) {
  test(`the ack of ${url}`, async (t) => {
    const raw = await engineIo3(t)
    assert.equal(await raw.ask(get(url)), ack)
  })
}

test('the ack of a status and a header', async (t) => {
  const raw = await engineIo3(t)
  const request = '427["post",{"method":"post","headers":{},"data":{"name":"Ada","age":36},"url":"/users"}]'
  const ack = '437[{"body":{"name":"Ada","age":36},"headers":{"x-created":"yes"},"statusCode":201}]'
  assert.equal(await raw.ask(request), ack)
})

test('the ack of bytes is binary: its text, then the attachment', async (t) => {
  const raw = await engineIo3(t)
  assert.equal(
    await raw.ask(get('/answers/bytes')),
    '461-0[{"body":{"_placeholder":true,"num":0},"headers":{},"statusCode":200}]',
  )
  // Engine.IO 3 puts the type of the packet, 4, in front of the bytes.
  assert.deepEqual(await raw.next(), Buffer.from([4, ...Array.from({ length: 256 }, (_, byte) => byte)]))
})

test('JSON passes as it was written, whatever a JavaScript number can hold', async (t) => {
  const raw = await engineIo3(t)
  const body = '{ "b":1e400, "a":12345678901234567890.10 }'
  const ack = `430[{"body":${body},"headers":{},"statusCode":200}]`
  assert.equal(await raw.ask(`420["post",{"url":"/mirror/json","data":${body}}]`), ack)
})

test('Engine.IO 4 has the same acks', async (t) => {
  const raw = new Raw('EIO=4&transport=websocket')
  t.after(() => raw.close())
  assert.match(await raw.next(), /^0\{"sid"/)
  assert.match(await raw.ask('40'), /^40\{"sid":"[^"]+"\}$/)
  for (const [url, ack] of Object.entries(ACKS)) assert.equal(await raw.ask(get(url)), ack)
})

test('a request without an ack id is run, and nothing is sent back', async (t) => {
  const raw = await engineIo3(t)
  raw.send('42["post",{"url":"/gates/no-ack"}]')
  assert.equal(
    await raw.ask('421["get",{"url":"/gates/no-ack"}]'),
    '431[{"body":"no-ack","headers":{},"statusCode":200}]',
  )
})

test('what is no request is refused, and the connection lives on', async (t) => {
  const raw = await engineIo3(t)
  const refusals = {
    '420["get"]': /^430\[\{"body":\{"code":"malformed",.*"statusCode":400\}\]$/,
    '420["get",null]': /^430.*"statusCode":400\}\]$/,
    '420["get","/hello"]': /^430.*"statusCode":400\}\]$/,
    '420["get",{"url":5}]': /^430.*"`url` must be a string, this is a number"/,
    '42["get",{"url":5}]': /^42\["sails:parseError",\{"body":\{"code":"malformed".*"statusCode":400\}\]$/,
  }
  for (const [frame, refusal] of Object.entries(refusals)) assert.match(await raw.ask(frame), refusal)
  assert.equal(await raw.ask(get('/answers/zero')), ACKS['/answers/zero'])
})

test('an event that is no method is ignored', async (t) => {
  const raw = await engineIo3(t)
  raw.send('420["message",{"url":"/answers/zero"}]')
  assert.equal(await raw.ask('421["get",{"url":"/answers/zero"}]'), '431[{"body":0,"headers":{},"statusCode":200}]')
})

/** The packets of an Engine.IO 3 payload; their lengths count UTF-16 units, as JavaScript does. */
function packets(payload) {
  const found = []
  for (let at = 0; at < payload.length; ) {
    const colon = payload.indexOf(':', at)
    const end = colon + 1 + Number(payload.slice(at, colon))
    found.push(payload.slice(colon + 1, end))
    at = end
  }
  return found
}

test('over long-polling, lengths count UTF-16 units', async () => {
  const poll = async (query, body) => {
    const request =
      body === undefined ? {} : { method: 'POST', headers: { 'content-type': 'text/plain;charset=UTF-8' }, body }
    const response = await within(
      fetch(`${server.url}/socket.io/?EIO=3&transport=polling&b64=1${query}`, request),
      'a poll',
    )
    assert.equal(response.status, 200)
    return response.text()
  }
  const [opening, ...rest] = packets(await poll(''))
  assert.match(opening, /^0\{"sid":"[^"]+","upgrades":\["websocket"\],/)
  const query = `&sid=${JSON.parse(opening.slice(1)).sid}`
  if (rest.length === 0) rest.push(...packets(await poll(query)))
  assert.deepEqual(rest, ['40'])

  const requests = ['😀', 'é', '😀😀'].map((text, n) => `42${n}["post",{"url":"/mirror/text","data":["${text}"]}]`)
  assert.equal(await poll(query, requests.map((packet) => `${packet.length}:${packet}`).join('')), 'ok')
  const acks = []
  while (acks.length < 3) acks.push(...packets(await poll(query)))
  assert.deepEqual(acks, [
    '430[{"body":"😀","headers":{},"statusCode":200}]',
    '431[{"body":"é","headers":{},"statusCode":200}]',
    '432[{"body":"😀😀","headers":{},"statusCode":200}]',
  ])
})
