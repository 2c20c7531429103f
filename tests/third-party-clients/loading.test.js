// How pages and workers load the catamaran client: as a script, as a module, and as plain modules without a build.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { bareBrowser } from './browser.js'
import { start } from './server.js'

const CLIENT = new URL('../../runtime/client/', import.meta.url)
const HTML = `<!doctype html><title>modules</title><h1>waiting</h1><script type="module">
  import { connect } from '/client/ENTRY'
  const socket = connect({ useCORSRouteToGetCookie: false })
  const { body, statusCode } = await socket.get('/answers/text')
  document.querySelector('h1').textContent = body + ' ' + statusCode + ' ' + typeof io
</script>`

/** The answer to a request for a file of the client. */
function clientFile(route) {
  const body = readFileSync(new URL(new URL(route.request().url()).pathname.replace('/client/', ''), CLIENT))
  return route.fulfill({ contentType: 'text/javascript', body })
}

for (const entry of ['src/module.js', 'catamaran.io.mjs']) {
  test(`a page imports ${entry}`, async (t) => {
    const server = await start()
    t.after(() => server.stop())
    const page = await (await bareBrowser(t)).newPage()
    const problems = []
    page.on('pageerror', ({ message }) => problems.push(message))
    await page.route('**/page', (route) => route.fulfill({ contentType: 'text/html', body: HTML.replace('ENTRY', entry) }))
    await page.route('**/client/**', clientFile)
    await page.goto(`${server.url}/page`)
    await page.getByText('a string 200 undefined').waitFor({ timeout: 10_000 }).catch((error) => problems.push(error.message))
    assert.deepEqual(problems, [])
  })
}

test('a worker asks its own origin', async (t) => {
  const server = await start()
  t.after(() => server.stop())
  const page = await (await bareBrowser(t)).newPage()
  const script = `import io, { connect } from '/client/catamaran.io.mjs'
    connect().get('/answers/text').then(({ body }) => postMessage(body + ' ' + (io.connect === connect)), ({ message }) => postMessage(message))`
  await page.route('**/page', (route) => route.fulfill({ contentType: 'text/html', body: '<!doctype html><title>worker</title>' }))
  await page.route('**/worker.js', (route) => route.fulfill({ contentType: 'text/javascript', body: script }))
  await page.route('**/client/**', clientFile)
  await page.goto(`${server.url}/page`)
  const said = await page.evaluate(() => new Promise((resolve) => {
    const worker = new Worker('/worker.js', { type: 'module' })
    worker.onmessage = ({ data }) => resolve(data)
    worker.onerror = ({ message }) => resolve(message)
  }))
  assert.equal(said, 'a string true')
})

test('what a page has of files and forms fails a request unsent', async (t) => {
  const page = await (await bareBrowser(t)).newPage()
  await page.route('**/*', (route) => {
    if (route.request().url().includes('/client/')) return clientFile(route)
    return route.fulfill({ contentType: 'text/html', body: '<!doctype html><title>x</title><form><input name=a><input type=file></form>' })
  })
  await page.goto('https://page.example/')
  const outcomes = await page.evaluate(async () => {
    const sent = []
    window.WebSocket = class {
      constructor() { setTimeout(() => this.onmessage({ data: '0{"sid":"a","pingInterval":25000,"pingTimeout":20000}' })) }
      send(frame) {
        if (frame.startsWith('40')) this.onmessage({ data: '40{"sid":"b"}' })
        else sent.push(frame)
      }
      close() {}
    }
    const { connect } = await import('/client/catamaran.io.mjs')
    const socket = connect()
    await new Promise((resolve) => socket.on('connect', resolve))
    const values = [
      new File(['a'], 'a.txt'), new Blob(['a']), new FormData(document.querySelector('form')), document.querySelector('form'),
      document.querySelector('[type=file]').files, document, window, new ImageData(1, 1), new Request('/a'), new Response('a'),
      new ReadableStream(), new ArrayBuffer(1), new Uint8Array(1), new Map(), new Headers(), new URLSearchParams('a=1'),
    ]
    const outcomes = []
    for (const value of values) {
      for (const data of [value, { deep: [value] }]) {
        outcomes.push(await socket.post('/a', data).then(() => 'sent', ({ name, code, sent }) => `${name} ${code} ${sent}`))
      }
    }
    return { outcomes: [...new Set(outcomes)], sent }
  })
  assert.deepEqual(outcomes, { outcomes: ['TypeError not_serializable false'], sent: [] })
})

/** How a page may say that it does not want to be connected, in a script tag after the client's. */
const REFUSALS = {
  'an inline script': '<script>io.sails.autoConnect = false</script>',
  'a script that is slow to come': '<script src="/slow.js"></script>',
  'a script far below': `${'<p>text</p>'.repeat(20_000)}<script>io.sails.autoConnect = false</script>`,
  'a deferred script': '<script defer src="/slow.js"></script>',
  'a module': '<script type="module" src="/slow.js"></script>',
}

for (const [kind, refusal] of Object.entries(REFUSALS)) {
  test(`\`autoConnect = false\` in ${kind} is never too late`, async (t) => {
    const browser = await bareBrowser(t)
    let handshakes = 0
    for (let load = 0; load < 10; load++) {
      const page = await browser.newPage()
      const defer = kind === 'a deferred script' ? 'defer' : ''
      const body = `<!doctype html><title>x</title><script>
        window.opened = 0
        window.WebSocket = class { constructor() { window.opened++ } close() {} }
      </script><script ${defer} src="/client/catamaran.io.js"></script>${refusal}`
      await page.route('**/*', async (route) => {
        const { pathname } = new URL(route.request().url())
        if (pathname.startsWith('/client/')) return clientFile(route)
        if (pathname !== '/slow.js') return route.fulfill({ contentType: 'text/html', body })
        await new Promise((resolve) => setTimeout(resolve, 100))
        return route.fulfill({ contentType: 'text/javascript', body: 'io.sails.autoConnect = false' })
      })
      await page.goto('https://page.example/')
      // After the client has decided.
      await page.waitForFunction(() => !('socket' in io) || window.opened > 0)
      handshakes += await page.evaluate(() => window.opened)
      await page.close()
    }
    assert.equal(handshakes, 0)
  })
}
