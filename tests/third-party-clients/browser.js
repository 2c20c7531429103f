// Browsers to test in, and a network that can fail.

import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { chromium } from 'playwright-core'
import WebSocket from 'ws'
import { startExample } from './server.js'
import { within } from './within.js'

export const DESK = { width: 1100, height: 720 }
export const PHONE = { width: 360, height: 640 }

const ARGUMENTS = [
  '--disable-gpu',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--no-first-run',
  // A page that a test puts into the browser counts as one from the public network, which may not ask this machine.
  '--disable-features=LocalNetworkAccessChecks',
]

/** The browser: `CHROMIUM`, or what Debian and others call it. */
function executable() {
  if (process.env.CHROMIUM) return process.env.CHROMIUM
  return execFileSync('sh', ['-c', 'command -v chromium || command -v chromium-browser'], { encoding: 'utf8' }).trim()
}

/** With `CATAMARAN_CLIENT=src` pages get the catamaran client from the modules as these lie now, and not as the server has it. */
async function clientFromSource() {
  if (process.env.CATAMARAN_CLIENT !== 'src') return undefined
  const { bundle } = (await import('../js-client/build.js')).default
  return bundle('catamaran.io.js', { minify: false }).code
}

/** A browser with a profile of its own, which talks to nobody but the page's server. */
function launch(profile) {
  // Playwright would turn the back/forward cache off, which people's browsers have.
  const ignoreDefaultArgs = ['--disable-back-forward-cache']
  const options = { executablePath: executable(), headless: true, chromiumSandbox: false, args: ARGUMENTS, ignoreDefaultArgs }
  return chromium.launchPersistentContext(profile, options)
}

/** Runs a test with a browser, and with one of the examples or `client-app`. */
export async function inBrowser(example, run, environment) {
  const server = await startExample(example, 0, environment)
  const profile = mkdtempSync(join(tmpdir(), 'catamaran-browser-'))
  const browser = await within(launch(profile), 'the browser starts', 30_000)
  const client = await clientFromSource()
  if (client) await browser.route('**/catamaran.io.js', (route) => route.fulfill({ contentType: 'text/javascript', body: client }))
  const problems = []
  const open = async (colorScheme = 'light', viewport = DESK) => {
    const page = await browser.newPage()
    page.setDefaultTimeout(10_000)
    await page.setViewportSize(viewport)
    await page.emulateMedia({ colorScheme })
    page.on('pageerror', (error) => problems.push(error.message))
    return page
  }
  try {
    await run(server, open)
    assert.deepEqual(problems, [])
  } finally {
    await browser.close()
    rmSync(profile, { recursive: true, force: true })
    await server.stop()
  }
}

/** A browser without a server, closed after the test. */
export async function bareBrowser(t) {
  const profile = mkdtempSync(join(tmpdir(), 'catamaran-browser-'))
  const browser = await within(launch(profile), 'the browser starts', 30_000)
  t.after(async () => {
    await browser.close()
    rmSync(profile, { recursive: true, force: true })
  })
  return browser
}

/** Keeps a picture of a page where `SCREENSHOTS` says. */
export async function picture(page, name) {
  if (process.env.SCREENSHOTS) await page.screenshot({ path: join(process.env.SCREENSHOTS, `${name}.png`) })
}

/**
 * A page in the background of a browser, which can be frozen as browsers do it. Playwright cannot: its pages are always in view.
 * @returns {Promise<{ run(expression: string): Promise<any>, freeze(): Promise<void>, thaw(): Promise<void> }>}
 */
export async function backgroundPage(t, url) {
  const profile = mkdtempSync(join(tmpdir(), 'catamaran-browser-'))
  const options = ['--headless', '--no-sandbox', '--remote-debugging-port=0', `--user-data-dir=${profile}`]
  // In a group of its own, since its other processes outlive it for a moment, and write to its directory.
  const browser = spawn(executable(), [...ARGUMENTS, ...options], { stdio: ['ignore', 'ignore', 'pipe'], detached: true })
  const exited = once(browser, 'exit')
  t.after(async () => {
    process.kill(-browser.pid, 'SIGKILL')
    await exited
    rmSync(profile, { recursive: true, force: true, maxRetries: 20 })
  })
  const listening = new Promise((resolve) => {
    createInterface({ input: browser.stderr }).on('line', (line) => {
      const [, address] = /listening on (ws:\S+)/.exec(line) ?? []
      if (address) resolve(address)
    })
  })
  const devtools = new WebSocket(await within(listening, 'the browser starts', 30_000))
  await within(once(devtools, 'open'), 'the browser is reached')
  const answers = new Map()
  devtools.on('message', (text) => {
    const { id, result, error } = JSON.parse(text)
    answers.get(id)?.(error ? Promise.reject(new Error(error.message)) : result)
  })
  const ask = (method, params, sessionId) => {
    const id = answers.size
    const answer = new Promise((resolve) => answers.set(id, resolve))
    devtools.send(JSON.stringify({ id, method, params, sessionId }))
    return within(answer, method)
  }

  const { targetId } = await ask('Target.createTarget', { url: 'about:blank' })
  const { sessionId } = await ask('Target.attachToTarget', { targetId, flatten: true })
  // It answers when the page is another, so nothing is asked of the empty one.
  await ask('Page.navigate', { url }, sessionId)
  await ask('Target.createTarget', { url: 'about:blank' })
  const become = async (state) => void (await ask('Page.setWebLifecycleState', { state }, sessionId))
  return {
    async run(expression) {
      const how = { expression, returnByValue: true, awaitPromise: true }
      const { result, exceptionDetails } = await ask('Runtime.evaluate', how, sessionId)
      if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text)
      return result.value
    },
    freeze: () => become('frozen'),
    thaw: () => become('active'),
  }
}

/** A network between a client and a port of this machine. It can be cut, bring nothing back, be mended, and lead elsewhere. */
export async function proxy(t, port) {
  const open = new Set()
  const answers = new Set()
  let cut = false
  const listener = createServer((client) => {
    if (cut) return client.destroy()
    const server = connect({ port, host: '127.0.0.1' })
    for (const [from, to] of [
      [client, server],
      [server, client],
    ]) {
      open.add(from)
      from.on('error', () => {})
      from.on('close', () => {
        open.delete(from)
        to.destroy()
      })
      from.pipe(to)
    }
    answers.add(server)
    server.on('close', () => answers.delete(server))
  })
  const sever = () => open.forEach((socket) => socket.destroy())
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  t.after(() => {
    sever()
    listener.close()
  })
  return {
    url: `http://127.0.0.1:${listener.address().port}`,
    cut() {
      cut = true
      sever()
    },
    deafen() {
      for (const server of answers) {
        server.unpipe()
        server.resume()
      }
    },
    mend() {
      cut = false
    },
    lead(to) {
      port = to
    },
  }
}
