// Starts the Rust server `client-app`, and asks it over HTTP.

import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { within } from './within.js'

/** Path of the server: `CLIENT_APP`, or what cargo builds. */
function binary() {
  if (process.env.CLIENT_APP) return process.env.CLIENT_APP
  const command = [
    'build',
    '--quiet',
    '-p',
    'catamaran-tests',
    '--bin',
    'client-app',
    '--message-format=json-render-diagnostics',
  ]
  const stdio = ['ignore', 'pipe', 'inherit']
  const cwd = fileURLToPath(new URL('../..', import.meta.url))
  const messages = execFileSync('cargo', command, { cwd, stdio, encoding: 'utf8', maxBuffer: Infinity })
  const artifacts = messages
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  return artifacts.find(({ executable, target }) => executable && target.name === 'client-app').executable
}

/**
 * Starts a server with these Engine.IO transports, or with the default ones.
 * @returns {Promise<{ url: string, stop(): Promise<number> }>} `stop` resolves with the exit code.
 */
export async function start(...transports) {
  const child = spawn(binary(), transports, { stdio: ['ignore', 'pipe', 'pipe'] })
  const kill = () => child.kill('SIGKILL')
  process.on('exit', kill)
  let log = ''
  child.stderr.on('data', (text) => (log += text))
  const exited = once(child, 'exit').then(([code, signal]) => {
    process.off('exit', kill)
    if (code !== 0) console.error(`client-app ended with ${signal ?? code}:\n${log}`)
    return code
  })
  const [line] = await within(once(createInterface({ input: child.stdout }), 'line'), 'the server listens')
  return {
    url: line.replace('listening on ', ''),
    stop() {
      child.kill('SIGTERM')
      return within(exited, 'the server stops')
    },
  }
}

/**
 * Sends over HTTP what a client would send over a socket, and reads the answer as an ack.
 * @returns {Promise<{ body: unknown, headers: Record<string, string>, statusCode: number }>}
 */
export async function overHttp(server, { method, url, data, headers = {} }) {
  const target = new URL(url, server.url)
  const request = { method: method.toUpperCase(), redirect: 'manual', headers }
  if (method === 'get' || method === 'head') {
    for (const [name, value] of Object.entries(data ?? {})) {
      for (const item of [value].flat()) target.searchParams.append(name, queryValue(item))
    }
  } else if (data !== undefined) {
    request.headers = { 'content-type': 'application/json', ...headers }
    request.body = JSON.stringify(data)
  }
  const response = await within(fetch(target, request), `${method} ${url} is answered over HTTP`)
  const body = readBody(Buffer.from(await response.arrayBuffer()), response.headers.get('content-type') ?? '')
  return { body, headers: Object.fromEntries(response.headers), statusCode: response.status }
}

function queryValue(value) {
  if (value === null) return ''
  return typeof value === 'object' ? JSON.stringify(value) : String(value)
}

function readBody(bytes, contentType) {
  if (bytes.length === 0) return undefined
  if (contentType.startsWith('application/json')) return JSON.parse(bytes)
  return contentType.startsWith('text/') ? bytes.toString() : bytes
}
