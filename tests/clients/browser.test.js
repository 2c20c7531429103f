// The examples in a real browser: a page with the published sails.io.js, and the chat with our own client.

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { chromium } from 'playwright-core'
import { start, startExample } from './server.js'
import { within } from './within.js'

const require = createRequire(import.meta.url)

const PAGE = `<!doctype html>
<title>hello</title>
<h1>waiting</h1>
<script src="/sails.io.js"></script>
<script>
  io.socket.get('/hello', (body, jwr) => {
    document.querySelector('h1').textContent = body.message + ' ' + jwr.statusCode
  })
</script>`

/** The browser: `CHROMIUM`, or what Debian and others call it. */
function executable() {
  if (process.env.CHROMIUM) return process.env.CHROMIUM
  return execFileSync('sh', ['-c', 'command -v chromium || command -v chromium-browser'], { encoding: 'utf8' }).trim()
}

/** A browser with a profile of its own, which talks to nobody but the page's server. */
function launch(profile) {
  const args = [
    '--disable-gpu',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    '--no-first-run',
    // The page below is put into the browser, so it counts as one from the public network, which may not ask this machine.
    '--disable-features=LocalNetworkAccessChecks',
  ]
  return chromium.launchPersistentContext(profile, { executablePath: executable(), headless: true, chromiumSandbox: false, args })
}

/** Runs a test with a browser, and with a server. */
async function inBrowser(starting, run) {
  const server = await starting
  const profile = mkdtempSync(join(tmpdir(), 'catamaran-browser-'))
  const browser = await within(launch(profile), 'the browser starts', 30_000)
  const problems = []
  const open = async () => {
    const page = await browser.newPage()
    page.setDefaultTimeout(10_000)
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

/** Keeps a picture of a page where `SCREENSHOTS` says. */
async function picture(page, name) {
  if (process.env.SCREENSHOTS) await page.screenshot({ path: join(process.env.SCREENSHOTS, `${name}.png`) })
}

test('a page asks with the published client, and shows the answer', () =>
  inBrowser(startExample('hello'), async (server, open) => {
    const page = await open()
    // The page and the client come from the server's own origin, as they would in an app.
    await page.route('**/page', (route) => route.fulfill({ contentType: 'text/html', body: PAGE }))
    const sdk = readFileSync(require.resolve('sails.io.js/dist/sails.io.js'))
    await page.route('**/sails.io.js', (route) => route.fulfill({ contentType: 'text/javascript', body: sdk }))
    await page.goto(`${server.url}/page`)
    await page.getByText('hello 200').waitFor()
    await picture(page, 'hello')
  }))

test('a page of an origin that may connect gets a cookie first, and one of another may not connect', () =>
  inBrowser(start(), async (server, open) => {
    const html = `<!doctype html><title>elsewhere</title><h1>waiting</h1><script src="${server.url}/catamaran.io.js"></script><script>
      io.sails.url = '${server.url}'
      io.sails.reconnection = false
      const show = (text) => { document.querySelector('h1').textContent = text }
      io.socket.on('connect_error', () => show('refused'))
      io.socket.get('/session', (body) => show(body))
    </script>`
    // The port of `PAGE` in `client-app`, and another.
    for (const [port, shown] of [
      [4000, 'sid=granted'],
      [4001, 'refused'],
    ]) {
      const page = await open()
      const url = `http://127.0.0.1:${port}/page`
      await page.route(url, (route) => route.fulfill({ contentType: 'text/html', body: html }))
      await page.goto(url)
      await page.getByText(shown).waitFor()
    }
  }))

test('two windows of the chat hear each other, and one that lost its network misses nothing', (t) =>
  inBrowser(startExample('chat'), async (server, open) => {
    const network = await proxy(t, new URL(server.url).port)
    const [ada, bob] = [await open(), await open()]
    await ada.goto(server.url)
    await bob.goto(network.url)
    for (const page of [ada, bob]) await page.getByText('connected', { exact: true }).waitFor()
    const say = async (page, text) => {
      await page.getByLabel('what you say').fill(text)
      await page.getByRole('button').click()
    }
    const lines = (page) => page.locator('li').allTextContents()

    await say(ada, 'one <b>')
    await bob.getByText('one <b>').waitFor()
    await say(bob, 'two')
    await ada.getByText('two').waitFor()
    await say(bob, '  ')
    await bob.getByRole('alert').getByText('say something').waitFor()

    network.cut()
    await bob.getByText('reconnecting').waitFor()
    await say(ada, 'three')
    await say(ada, 'four')
    await ada.getByText('four').waitFor()
    network.mend()
    await bob.getByText('four').waitFor()
    await picture(bob, 'chat')
    const all = ['one <b>', 'two', 'three', 'four'].map((text) => `somebody ${text}`)
    assert.deepEqual(await lines(bob), all)
    assert.deepEqual(await lines(ada), all)
  }))

/** A network between a client and a port of this machine, that can be cut and mended. */
async function proxy(t, port) {
  const open = new Set()
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
    mend() {
      cut = false
    },
  }
}
