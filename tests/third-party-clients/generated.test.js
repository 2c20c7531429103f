// Every client over every transport, with what a seed makes: cookies of any bytes, websocket handshakes that a proxy spoils, and
// names of events.
// `CATAMARAN_SEED=7 npm test` makes others. The seed is part of each test's name.

import assert from 'node:assert/strict'
import { request as httpRequest } from 'node:http'
import { after, describe, test } from 'node:test'
import { CATAMARAN, CLIENTS, WAYS, connect, open } from './clients.js'
import { Jar } from './jar.js'
import { startProxy, withCookies, withHeader, without } from './proxy.js'
import { Random, SEED } from './random.js'
import { start } from './server.js'
import { next, within } from './within.js'

const server = await start('websocket', 'polling')
after(() => server.stop())

/** Each client with the ways that it has, and numbers of its own. */
const CASES = [...CLIENTS, CATAMARAN]
  .flatMap((client) => (client.ways ?? Object.keys(WAYS)).map((way) => ({ client, way })))
  .map((each, n) => ({ ...each, seed: SEED * 1000 + n }))

/** All that a name and a value can hold, one character a byte; white space stands at no end of either. */
const bytes = (from, to) => Array.from({ length: to - from + 1 }, (_, n) => String.fromCharCode(from + n))
const OCTETS = bytes(0x21, 0xff).filter((byte) => !';\x7f'.includes(byte))
const NAMES = ['sid', 'SID', 'name', 'n\xe9', '\xff\xfe', '\xe5\x90\x8d']
const PATHS = ['/', '/jar', '/jar/', '/jar/a', '/jar/a/b', '/jar/ab', '/other', 'relative', '']
const ENDS = ['', '', '', 'Max-Age=0', 'max-age=-5', 'Max-Age=3600', 'expires=Thu, 01 Jan 1970 00:00:00 GMT',
  'Expires=Fri, 01 Jan 2100 00:00:00 GMT', 'Max-Age=3600; Expires=Thu, 01 Jan 1970 00:00:00 GMT',
  'Expires=Fri, 01 Jan 2100 00:00:00 GMT; Max-Age=0']
const ASKED = ['/jar/x', '/jar/a', '/jar/a/x', '/jar/a/b/c', '/jar/ab']

const pair = (random) => `${random.one(NAMES)}=${random.text(OCTETS, 6)}`

function setCookie(random) {
  const path = random.one(PATHS)
  const attributes = [path && `${random.one(['Path', 'path'])}=${path}`, random.one(ENDS), random.one(['', 'HttpOnly', 'SameSite=Lax'])]
  return [pair(random), ...attributes.filter(Boolean)].join('; ')
}

/** Asks over HTTP with these cookies, and returns the body and the lines of `set-cookie`, one character a byte. */
function overHttp(method, path, cookies, data) {
  return within(
    new Promise((resolve, reject) => {
      // With a text as its body, node would write its head in another encoding.
      const body = data && Buffer.from(JSON.stringify(data))
      const headers = { ...(cookies && { cookie: cookies }), ...(body && { 'content-type': 'application/json' }) }
      const url = new URL(server.url)
      const asked = httpRequest({ host: url.hostname, port: url.port, method, path, headers, agent: false }, (answer) => {
        const read = []
        answer.on('data', (chunk) => read.push(chunk)).on('end', () => {
          const text = Buffer.concat(read).toString()
          resolve({ body: text && JSON.parse(text), statusCode: answer.statusCode, lines: answer.headers['set-cookie'] ?? [] })
        })
      })
      asked.on('error', reject).end(body)
    }),
    `${method} ${path} is answered over HTTP`,
  )
}

describe('generated cookies', () => {
  for (const { client, way, seed } of CASES) {
    test(`${client.name} over ${way} sends those of a browser, seed ${seed}`, async (t) => {
      const random = new Random(seed)
      const handshake = Array.from({ length: random.below(5) }, () => pair(random)).join('; ')
      const jar = new Jar(handshake)
      const proxy = await startProxy(t, server, (head) => (handshake ? withCookies(head, handshake) : head))
      const connection = await connect(client, way, proxy)
      t.after(() => connection.close())
      const compare = async (what) => {
        for (const url of ASKED) {
          const kept = jar.header(url)
          const [ack, answer] = await Promise.all([connection.request({ method: 'get', url }), overHttp('GET', url, kept)])
          const seen = [ack.statusCode, ack.body]
          assert.deepEqual(seen, [answer.statusCode, answer.body], `the transports differ at ${url} ${what}`)
          assert.deepEqual(seen, [200, kept ? [kept] : []], `a browser sends others to ${url} ${what}`)
        }
      }
      await compare('after the handshake')
      for (let step = 0; step < 12; step++) {
        const lines = Array.from({ length: 1 + random.below(3) }, () => setCookie(random))
        const url = random.one(ASKED)
        const ack = await connection.request({ method: 'post', url, data: lines })
        const answer = await overHttp('POST', url, jar.header(url), lines)
        assert.deepEqual([ack.statusCode, ack.headers], [200, {}])
        assert.deepEqual(answer.lines, lines)
        for (const line of answer.lines) jar.set(line, url)
        await compare(`after step ${step}: POST ${url} ${JSON.stringify(lines)}`)
      }
      // One that ends while the socket lives.
      await connection.request({ method: 'post', url: '/jar/x', data: ['brief=\xe9; Path=/; Max-Age=1'] })
      const isThere = async () => (await connection.request({ method: 'get', url: '/jar/x' })).body.some((cookie) => cookie.includes('brief='))
      assert.ok(await isThere())
      await within((async () => { while (await isThere()) await new Promise((resolve) => setTimeout(resolve, 50)) })(), 'the end of a cookie')
      await compare('after the end of a cookie')
    })
  }
})

/** The server answers for this key, so that the client finds the answer wrong. */
const OTHER_KEY = 'AAAAAAAAAAAAAAAAAAAAAA=='

/** What a proxy may make of each line of a websocket handshake. The first of each leaves it as it is. */
const SPOILS = {
  http: [null, (head) => head.replace(' HTTP/1.1\r\n', ' HTTP/1.0\r\n')],
  upgrade: ['websocket', undefined, 'h2c', 'websockets'],
  connection: ['Upgrade', undefined, 'close', 'keep-alive'],
  'sec-websocket-version': ['13', undefined, '12', '8', '0'],
  'sec-websocket-key': [null, undefined, 'short==', 'dGhlIHNhbXBsZSBub25jZ!==', OTHER_KEY],
  frames: [null, 'cut'],
}

/** A change of heads, the status with which the server answers, and whether no frames pass. */
function spoil(random, round, way) {
  // In the first rounds the server finds nothing wrong, and websockets fail all the same. A client of Socket.IO that has a
  // websocket alone says nothing when that ends early.
  const subtle = [{ 'sec-websocket-key': 4 }, way !== 'websocket' && { frames: 1 }][round]
  const chosen = Object.entries(SPOILS).map(([name, { length }]) => {
    if (name === 'frames' && way === 'websocket') return [name, 0]
    return [name, subtle ? (subtle[name] ?? 0) : random.below(2) ? 0 : random.below(length)]
  })
  if (chosen.every(([, n]) => n === 0)) return spoil(random, round, way)
  const { http, upgrade, connection, 'sec-websocket-version': version, 'sec-websocket-key': key, frames } = Object.fromEntries(chosen)
  const change = (head) => {
    if (!/^GET [^ ]*transport=websocket/.test(head)) return head
    return chosen.reduce((changed, [name, n]) => {
      const value = SPOILS[name][n]
      if (n === 0 || name === 'frames') return changed
      if (typeof value === 'function') return value(changed)
      return value === undefined ? without(changed, name) : withHeader(without(changed, name), `${name}: ${value}`)
    }, head)
  }
  const isKey = key === 0 || SPOILS['sec-websocket-key'][key] === OTHER_KEY
  const status = http || upgrade || connection || version ? 426 : isKey ? 101 : 400
  return { change, status, cuts: frames > 0, what: chosen.map(([name, n]) => n && `${name} ${SPOILS[name][n]}`).filter(Boolean).join(', ') }
}

describe('generated handshakes', () => {
  for (const { client, way, seed } of CASES) {
    test(`${client.name} over ${way} survives a proxy that spoils them, seed ${seed}`, async (t) => {
      const random = new Random(seed)
      const proxy = await startProxy(t, server, (head) => head)
      const transports = WAYS[way]
      for (let round = 0; round < 8; round++) {
        const { change, status, cuts, what } = spoil(random, round, way)
        Object.assign(proxy, { change, cuts, statuses: [] })
        if (way === 'websocket') {
          const { raw, connected } = open(client, proxy.url, { transports })
          await assert.rejects(connected, (error) => !/not within/.test(error.message), what)
          raw.close()
          assert.deepEqual(proxy.statuses, [status], what)
        } else {
          const opening = open(client, proxy.url, { transports })
          const failed = way === 'polling' ? undefined : next(opening.raw.io.engine, 'upgradeError')
          const connection = await opening.connected
          t.after(() => connection.close())
          await failed
          const { statusCode, body } = await connection.request({ method: 'get', url: '/answers/object' })
          assert.deepEqual([statusCode, body, connection.transport], [200, { hello: 'world' }, 'polling'], what)
          assert.deepEqual(proxy.statuses, way === 'polling' ? [] : [status], what)
          connection.close()
        }
      }
      Object.assign(proxy, { change: (head) => head, cuts: false, statuses: [] })
      const connection = await connect(client, way, proxy)
      t.after(() => connection.close())
      assert.equal((await connection.request({ method: 'get', url: '/answers/object' })).statusCode, 200)
      assert.deepEqual(proxy.statuses, way === 'polling' ? [] : [101])
    })
  }
})

/** Characters of a name, of which JSON escapes the first ones. */
const ESCAPED = ['"', '\\', '\n', '\0', '\x1f', '\t']
const PLAIN = ['a', 'Z', ' ', '/', '<', '\x7f', 'ö', '日', '😀', '\u2028']

describe('generated names of events', () => {
  for (const { client, way, seed } of CASES) {
    test(`${client.name} over ${way} keeps its connection, seed ${seed}`, async (t) => {
      const random = new Random(seed)
      const connection = await connect(client, way, server)
      t.after(() => connection.close())
      for (let round = 0; round < 6; round++) {
        const name = random.text(PLAIN, 4) + (round % 2 ? random.one(ESCAPED) : 'a') + random.text([...PLAIN, ...ESCAPED], 4)
        connection.raw.emit(name, 1)
        const { statusCode } = await connection.request({ method: 'get', url: '/answers/object' })
        assert.equal(statusCode, 200, JSON.stringify(name))
      }
    })
  }
})

describe('paths with a host', () => {
  for (const { client, way } of CASES) {
    test(`are 400 from ${client.name} over ${way}, as over HTTP`, async (t) => {
      const connection = await connect(client, way, server)
      t.after(() => connection.close())
      for (const url of ['//a//b', '//answers/object', '/\\answers/object']) {
        const [ack, answer] = await Promise.all([connection.request({ method: 'get', url }), overHttp('GET', url)])
        assert.deepEqual([ack.statusCode, answer.statusCode], [400, 400], url)
      }
    })
  }
})
