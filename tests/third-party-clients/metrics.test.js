// The example `metrics`, as a load balancer and as Prometheus ask it.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CLIENTS, connect } from './clients.js'
import { startExample } from './server.js'

test('metrics counts requests over both transports, on a port of its own', async () => {
  const server = await startExample('metrics')
  const [, page] = /^metrics on (.*)$/.exec(server.log[0])
  assert.equal((await fetch(`${server.url}/hello`)).status, 200)
  assert.equal((await fetch(`${server.url}/health/ready`)).status, 200)
  assert.equal((await fetch(`${server.url}/metrics`)).status, 404)
  const connection = await connect(CLIENTS[0], 'websocket', server)
  await connection.request({ method: 'get', url: '/hello' })

  const response = await fetch(page)
  assert.equal(response.status, 200)
  const lines = (await response.text()).split('\n')
  for (const line of [
    '# TYPE catamaran_sockets gauge',
    'catamaran_sockets 1',
    'catamaran_requests_total{transport="http",status="200"} 1',
    'catamaran_requests_total{transport="http",status="404"} 1',
    'catamaran_requests_total{transport="socket",status="200"} 1',
    'catamaran_requests_in_flight{transport="socket"} 0',
  ]) {
    assert.ok(lines.includes(line), `${line} in\n${lines.join('\n')}`)
  }
  connection.close()
  // A SIGTERM would wait for load balancers first.
  assert.equal(await server.stop('SIGINT'), 0)
})
