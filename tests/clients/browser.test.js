// A page with the published sails.io.js in a real browser: what a Sails page does, against hello.

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { chromium } from 'playwright-core'
import { startHello } from './server.js'
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

test('a page asks with the published client, and shows the answer', async () => {
  const server = await startHello()
  const profile = mkdtempSync(join(tmpdir(), 'catamaran-browser-'))
  const browser = await within(launch(profile), 'the browser starts', 30_000)
  try {
    const page = await browser.newPage()
    const problems = []
    page.on('pageerror', (error) => problems.push(error.message))
    // The page and the client come from the server's own origin, as they would in an app.
    await page.route('**/page', (route) => route.fulfill({ contentType: 'text/html', body: PAGE }))
    const sdk = readFileSync(require.resolve('sails.io.js/dist/sails.io.js'))
    await page.route('**/sails.io.js', (route) => route.fulfill({ contentType: 'text/javascript', body: sdk }))
    await page.goto(`${server.url}/page`)
    await page.getByText('hello 200').waitFor({ timeout: 10_000 })
    if (process.env.SCREENSHOT) await page.screenshot({ path: process.env.SCREENSHOT })
    assert.deepEqual(problems, [])
  } finally {
    await browser.close()
    rmSync(profile, { recursive: true, force: true })
    await server.stop()
  }
})
