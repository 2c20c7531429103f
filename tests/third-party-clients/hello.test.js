// The README's promise: one action, asked by `curl` and by the published client of Sails.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CLIENTS, connect } from './clients.js'
import { startExample } from './server.js'

test('hello answers HTTP and every client alike, after it printed its routes', async () => {
  const server = await startExample('hello')
  assert.match(server.log[0], /^GET +\/hello +both +hello::hello$/)

  const response = await fetch(`${server.url}/hello`)
  assert.equal(response.status, 200)
  assert.equal(await response.text(), '{"message":"hello"}')

  for (const client of CLIENTS) {
    const connection = await connect(client, 'websocket', server)
    const answer = await connection.request({ method: 'get', url: '/hello' })
    assert.deepEqual(answer, { body: { message: 'hello' }, headers: {}, statusCode: 200 }, client.name)
    connection.close()
  }
  await server.stop()
})

for (const signal of ['SIGTERM', 'SIGINT']) {
  test(`hello stops at once on ${signal}, also while sockets are connected`, async () => {
    const server = await startExample('hello')
    const connection = await connect(CLIENTS[0], 'websocket', server)
    await connection.request({ method: 'get', url: '/hello' })
    assert.equal(await server.stop(signal), 0)
  })
}
