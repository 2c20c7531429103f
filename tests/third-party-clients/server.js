// Starts a Rust server, and asks it over HTTP.

import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { within } from './within.js'

/** Builds a binary of the workspace, and returns its path. `CATAMARAN_BINARIES` names a folder that has them already. */
function binary(name) {
  if (process.env.CATAMARAN_BINARIES) return join(process.env.CATAMARAN_BINARIES, name)
  const command = ['build', '--quiet', '--bin', name, '--message-format=json-render-diagnostics']
  const stdio = ['ignore', 'pipe', 'inherit']
  const cwd = fileURLToPath(new URL('../..', import.meta.url))
  const messages = execFileSync('cargo', command, { cwd, stdio, encoding: 'utf8', maxBuffer: Infinity })
  const artifacts = messages
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  return artifacts.find(({ executable, target }) => executable && target.name === name).executable
}

/**
 * Starts `client-app` with these Engine.IO transports, or with the default ones; `CLIENT_APP` names another binary.
 * @returns {Promise<{ url: string, log: string[], stop(signal?: string): Promise<number> }>}
 */
export function start(...transports) {
  return run(process.env.CLIENT_APP ?? binary('client-app'), transports, 0)
}

/** Starts one of `examples/`, on a free port or on this one. */
export function startExample(name, port = 0, environment = {}) {
  return run(binary(name), [], port, environment)
}

/** Starts a server that prints `listening on URL`. `log` has its lines; `stop` resolves with the exit code. */
async function run(path, options, port, environment) {
  const env = { ...process.env, PORT: `${port}`, METRICS_PORT: '0', ...environment }
  const child = spawn(path, options, { stdio: ['ignore', 'pipe', 'pipe'], env })
  const kill = () => child.kill('SIGKILL')
  process.on('exit', kill)
  let errors = ''
  child.stderr.on('data', (text) => (errors += text))
  const exited = once(child, 'exit').then(([code, signal]) => {
    process.off('exit', kill)
    if (code !== 0) console.error(`${path} ended with ${signal ?? code}:\n${errors}`)
    return code
  })
  const log = []
  const listening = new Promise((resolve) => {
    createInterface({ input: child.stdout }).on('line', (line) => {
      log.push(line)
      if (line.startsWith('listening on ')) resolve(line.replace('listening on ', ''))
    })
  })
  return {
    url: await within(listening, 'the server listens', 60_000),
    log,
    stop(signal = 'SIGTERM') {
      child.kill(signal)
      // A SIGTERM gives clients of our own the time to go elsewhere.
      return within(exited, 'the server stops', 15_000)
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
