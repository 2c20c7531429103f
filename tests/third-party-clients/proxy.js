// A proxy in front of the server, which changes the heads of the requests that pass.

import { once } from 'node:events'
import { connect, createServer } from 'node:net'

/**
 * Starts a proxy on a free port. `change` gets the head of each request, one character a byte, and returns another.
 * Each connection carries one request, unless that is upgraded. `statuses` has those of websocket handshakes; with `cuts`, nothing
 * of a websocket passes after its handshake.
 * @returns {Promise<{ url: string, statuses: number[], cuts: boolean, change(head: string): string }>}
 */
export async function startProxy(t, server, change) {
  const proxy = { change, statuses: [], cuts: false }
  const sockets = new Set()
  const listener = createServer((near) => {
    const far = connect(new URL(server.url).port, '127.0.0.1')
    for (const socket of [near, far]) sockets.add(socket.on('error', () => {}))
    let head = ''
    const read = (bytes) => {
      head += bytes.toString('latin1')
      const end = head.indexOf('\r\n\r\n') + 2
      if (end === 1) return
      near.off('data', read)
      const isWebsocket = /^GET [^ ]*transport=websocket/.test(head)
      if (isWebsocket) {
        far.once('data', (answer) => {
          proxy.statuses.push(Number(answer.toString().slice(9, 12)))
          if (proxy.cuts) near.end(answer.subarray(0, answer.indexOf('\r\n\r\n') + 4))
        })
      }
      const whole = isWebsocket ? head.slice(0, end) : withHeader(without(head.slice(0, end), 'connection'), 'connection: close')
      far.write(proxy.change(whole) + head.slice(end), 'latin1')
      if (!(isWebsocket && proxy.cuts)) {
        near.pipe(far)
        far.pipe(near)
      }
    }
    near.on('data', read).on('close', () => far.destroy())
    far.on('close', () => near.destroy())
  })
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  t.after(() => {
    for (const socket of sockets) socket.destroy()
    listener.close()
  })
  return Object.assign(proxy, { url: `http://127.0.0.1:${listener.address().port}` })
}

/** The lines of one header. */
const lines = (name) => new RegExp(`^${name}:.*\r\n`, 'gim')

/** A head without this header. */
export function without(head, name) {
  return head.replace(lines(name), '')
}

/** A head with one header more. */
export function withHeader(head, line) {
  return head.replace('\r\n', `\r\n${line}\r\n`)
}

/** A head whose `cookie` has these pairs before those of the client, as a browser sends them. */
export function withCookies(head, cookies) {
  const own = head.match(lines('cookie'))?.[0].slice('cookie:'.length).trim()
  return withHeader(without(head, 'cookie'), `cookie: ${own ? `${cookies}; ${own}` : cookies}`)
}
