// The published clients behind one face: connect, request, close.

import { createRequire } from 'node:module'
import { sep } from 'node:path'
import { next, within } from './within.js'

const require = createRequire(import.meta.url)
const WebSocket = require('ws')
const catamaran = require('../../runtime/client/catamaran.io.js')

/** How a client reaches the server, and the `transports` option that says so. */
export const WAYS = {
  websocket: ['websocket'],
  polling: ['polling'],
  'polling, then an upgrade': ['polling', 'websocket'],
}

/** Whether `socket.id` of a client is the public one. A client of Engine.IO 3 shows the secret of its polling session. */
export function showsPublicId(client, way) {
  return client.engineio === 4 || way === 'websocket'
}

/** A copy of a package that shares no state with other copies of it. */
export function fresh(name) {
  const inside = `${sep}node_modules${sep}${name}${sep}`
  for (const path of Object.keys(require.cache)) {
    if (path.includes(inside)) delete require.cache[path]
  }
  return require(name)
}

/** `sails.io.js` on a copy of its own of this socket.io-client; its logs are silent, and nothing connects by itself. */
export function freshSails(socketio) {
  const io = fresh('sails.io.js')(fresh(socketio))
  io.sails.environment = 'production'
  io.sails.autoConnect = false
  return io
}

function sails(name, socketio) {
  const io = freshSails(socketio)
  return {
    name,
    engineio: 3,
    isSails: true,
    open(url, { headers, ...options }) {
      const socket = quietly(() =>
        io.sails.connect(url, { multiplex: false, initialConnectionHeaders: headers, ...options }),
      )
      return { socket, raw: socket._raw, send: (request, ack) => socket.request(request, (_body, jwr) => ack(jwr)) }
    },
  }
}

/** Without the warning, meant for browsers, that the SDK prints wherever it is given two transports. */
function quietly(connect) {
  const { warn } = console
  console.warn = () => {}
  try {
    return connect()
  } finally {
    console.warn = warn
  }
}

function plain(name, engineio, io) {
  return {
    name,
    engineio,
    isSails: false,
    open(url, { headers, ...options }) {
      const socket = io(url, { forceNew: true, reconnection: false, extraHeaders: headers, ...options })
      return { socket, raw: socket, send: ({ method, ...request }, ack) => socket.emit(method, request, ack) }
    },
  }
}

/** The clients in the field, each with the Engine.IO protocol it speaks. */
export const CLIENTS = [
  sails('sails.io.js on socket.io-client 2.0.3', 'socket.io-client-2.0'),
  sails('sails.io.js on socket.io-client 2.5.0', 'socket.io-client-2.5'),
  plain('socket.io-client 2.5.0', 3, fresh('socket.io-client-2.5')),
  plain('socket.io-client 4', 4, require('socket.io-client').io),
]

/** The catamaran client, which has one way, with the face of the others. */
export const CATAMARAN = {
  name: 'catamaran',
  engineio: 4,
  isSails: false,
  ways: ['websocket'],
  open(url, { headers, transports, ...options }) {
    class Headed extends WebSocket {
      constructor(address) {
        super(address, { headers })
      }
    }
    const socket = catamaran.connect(url, { WebSocket: Headed, reconnection: false, ...options })
    const raw = {
      io: { engine: { transport: { name: 'websocket' } } },
      on: (event, handler) => socket.on(event, handler),
      once: (event, handler) => socket.once(event, handler),
      emit: (...args) => socket._raw.emit(...args),
      close: () => socket.state === 'disconnected' || socket.disconnect(),
    }
    return { socket, raw, send: (request, ack) => socket.request(request).then(ack, () => {}) }
  },
}

/** A connected socket, whichever client made it. */
class Connection {
  constructor(opened) {
    Object.assign(this, opened)
    // Once it is lost, or a request was not answered, all requests fail at once instead of waiting each in turn.
    this.broken = new Promise((_, reject) => (this.fail = reject))
    this.broken.catch(() => {})
    this.raw.on('disconnect', (reason) => this.fail(new Error(`disconnected: ${reason}`)))
  }

  /** The name of the transport that carries packets now. */
  get transport() {
    return this.raw.io.engine.transport.name
  }

  /** Resolves with the ack; a key that the ack does not have is `undefined`. */
  request(request) {
    const { method, url } = request
    const answered = new Promise((resolve) => {
      this.send(request, ({ body, headers, statusCode }) => resolve({ body, headers, statusCode }))
    })
    const answer = within(Promise.race([answered, this.broken]), `${method} ${url} is answered`)
    answer.catch(this.fail)
    return answer
  }

  close() {
    this.raw.close()
  }
}

/** Starts connecting; `connected` resolves with the connection, or rejects with the client's error. */
export function open(client, url, options) {
  const opened = client.open(url, options)
  const connected = new Promise((resolve, reject) => {
    opened.raw.once('connect', () => resolve(new Connection(opened)))
    opened.raw.once('connect_error', reject)
    opened.raw.once('error', reject)
  })
  return { ...opened, connected: within(connected, `${client.name} connects`) }
}

/** A connection that has reached the last of its transports. */
export async function connect(client, way, server, options = {}) {
  const transports = WAYS[way]
  const connection = await open(client, server.url, { transports, ...options }).connected
  if (connection.transport !== transports.at(-1)) await next(connection.raw.io.engine, 'upgrade')
  return connection
}
