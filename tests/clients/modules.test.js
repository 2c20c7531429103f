// The plain modules of the catamaran client in a browser, without a build.

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

for (const entry of ['src/module.js', 'catamaran.io.mjs']) {
  test(`a page imports ${entry}`, async (t) => {
    const server = await start()
    t.after(() => server.stop())
    const page = await (await bareBrowser(t)).newPage()
    const problems = []
    page.on('pageerror', ({ message }) => problems.push(message))
    await page.route('**/page', (route) => route.fulfill({ contentType: 'text/html', body: HTML.replace('ENTRY', entry) }))
    await page.route('**/client/**', (route) => {
      const body = readFileSync(new URL(new URL(route.request().url()).pathname.replace('/client/', ''), CLIENT))
      return route.fulfill({ contentType: 'text/javascript', body })
    })
    await page.goto(`${server.url}/page`)
    await page.getByText('a string 200 undefined').waitFor({ timeout: 10_000 }).catch((error) => problems.push(error.message))
    assert.deepEqual(problems, [])
  })
}
