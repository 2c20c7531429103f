// DOM clobbering: HTML of a user, sanitised and so without scripts, may still name elements. `document.NAME` and
// `window.NAME` then are these elements. The client must not take them for what it reads there.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { bareBrowser } from './browser.js'

const CLIENT = readFileSync(new URL('../../runtime/client/catamaran.io.js', import.meta.url), 'utf8')
const PAGE = 'https://page.example/'
const API = 'https://api.example'

const names = (pattern) => [...new Set([...CLIENT.matchAll(pattern)].map(([name]) => name))]
/** The properties that the client reads of anything. */
const PROPERTIES = names(/(?<=\.)[A-Za-z_$][\w$]*/g)
/** Every name in the client, global variables among them; shorter ones are local variables of the minified file. */
const NAMES = names(/[A-Za-z_$][\w$]*/g).filter((name) => name.length > 2 || PROPERTIES.includes(name))

/** Those that are more than a property of something. */
const GLOBALS = names(/(?<![.\w$])[A-Za-z_$][\w$]*(?!\w*:)/g).filter((name) => NAMES.includes(name))

/** The settings of a script tag, as an attacker would like them. */
const SETTINGS = `data-url="https://evil.example" url="https://evil.example" data-headers='{"x-evil":"1"}' data-autoConnect="false" ` +
  'data-path="/evil" data-environment="production" src="data:,#production"'
/** A form's fields are its properties. */
const fields = PROPERTIES.map((name) => `<input name="${name}" value="production">`).join('')

/** Elements that a browser lets be found by their name, each with all that it can carry. */
const KINDS = {
  img: (name) => `<img id="${name}" name="${name}" ${SETTINGS}>`,
  form: (name) => `<form id="${name}" name="${name}" action="https://evil.example" ${SETTINGS}></form>`,
  'form with fields': (name) => `<form id="${name}">${fields}</form>`,
  a: (name) => `<a id="${name}" name="${name}" href="https://evil.example" ${SETTINGS}></a>`,
  'two a': (name) => `<a id="${name}" href="https://evil.example"></a><a id="${name}" name="sails" href="https://evil.example"></a>`,
  iframe: (name) => `<iframe id="${name}" name="${name}" ${SETTINGS.replace(/ src=.*/, '')}></iframe>`,
  embed: (name) => `<embed id="${name}" name="${name}" ${SETTINGS.replace(/ src=.*/, '')}>`,
  object: (name) => `<object id="${name}" name="${name}" ${SETTINGS.replace(/ src=.*/, '')}></object>`,
}

/** A server in the page: it accepts each connection, and writes down what was opened and sent. */
function fakeServer() {
  window.opened = []
  window.sent = []
  window.WebSocket = class {
    constructor(url) {
      window.opened.push(new URL(url).origin)
      this.readyState = 1
      setTimeout(() => this.onmessage?.({ data: '0{"sid":"a","pingInterval":25000,"pingTimeout":20000}' }))
    }
    send(frame) {
      window.sent.push(frame.startsWith('40{') ? 'connect' : frame)
      if (frame.startsWith('40{')) this.onmessage?.({ data: '40{"sid":"b"}' })
      if (frame.startsWith('40/')) queueMicrotask(() => this.onmessage?.({ data: '44/catamaran-probe,{"message":"Invalid namespace"}' }))
    }
    close() { window.sent.push('close') }
  }
}

/** What a page does with the client, which is what is compared. */
async function use(api) {
  const { io } = window
  const { connect: _, sdk: { platform }, ...settings } = io.sails
  const connected = (socket) => new Promise((resolve) => (socket.isConnected() ? resolve() : socket.on('connect', resolve)))
  await connected(io.socket)
  const own = window.opened.splice(0)
  window.sent.length = 0
  EventTarget.prototype.dispatchEvent.call(document, new Event('visibilitychange'))
  const probed = window.sent.splice(0)
  io.socket.disconnect()
  const other = io.sails.connect(api)
  await connected(other)
  EventTarget.prototype.dispatchEvent.call(window, new Event('pagehide'))
  return { platform, settings, own, probed, other: window.opened, sent: window.sent, state: other.state }
}

/** Opens a page with this HTML before the script tag. @returns what the client did there, and what else was loaded */
async function visit(browser, html) {
  const page = await browser.newPage()
  const body = `<!doctype html><title>x</title><script>(${fakeServer})()</script>${html}<script src="${PAGE}catamaran.io.js"></script>`
  const loaded = []
  const problems = []
  page.on('pageerror', ({ message }) => problems.push(message))
  await page.route('**/*', (route) => {
    const url = route.request().url()
    if (url === PAGE) return route.fulfill({ contentType: 'text/html', body })
    if (url === `${PAGE}catamaran.io.js`) return route.fulfill({ contentType: 'text/javascript', body: CLIENT })
    loaded.push(url)
    return route.fulfill({ contentType: 'text/javascript', body: '' })
  })
  try {
    await page.goto(PAGE)
    const did = await Promise.race([page.evaluate(use, API), new Promise((resolve) => setTimeout(resolve, 5000, 'nothing'))])
    return { did, loaded, problems }
  } catch ({ message }) {
    return { did: message.split('\n')[0], loaded, problems }
  } finally {
    await page.close()
  }
}

const same = (one, other) => JSON.stringify(one) === JSON.stringify(other)

test('named elements change nothing the client reads', async (t) => {
  const browser = await bareBrowser(t)
  const clean = await visit(browser, '')
  assert.deepEqual(clean, {
    did: {
      platform: 'browser',
      settings: { autoConnect: true, reconnection: true, useCORSRouteToGetCookie: true, environment: 'development', transports: ['websocket'] },
      own: ['wss://page.example'],
      probed: ['40/catamaran-probe,'],
      other: ['wss://api.example'],
      sent: ['41', 'close', 'connect', '41', 'close'],
      state: 'reconnecting',
    },
    loaded: [`${API}/__getcookie`],
    problems: [],
  })
  for (const [kind, element] of Object.entries(KINDS)) {
    await t.test(kind, async () => {
      const fits = async (names) => same(await visit(browser, names.map(element).join('')), clean)
      assert.deepEqual(await guilty(kind === 'form with fields' ? GLOBALS : NAMES, fits), [])
    })
  }
  await t.test('base', async () => assert.deepEqual(await visit(browser, '<base href="https://evil.example/">'), clean))
})

/** The names that change something, by halves. */
async function guilty(names, fits) {
  if (names.length === 0 || (await fits(names))) return []
  if (names.length === 1) return names
  const middle = names.length >> 1
  return [...(await guilty(names.slice(0, middle), fits)), ...(await guilty(names.slice(middle), fits))]
}
