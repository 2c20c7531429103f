// The examples in a real browser: a page with the published sails.io.js, and the chat with our own client.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { test } from 'node:test'
import { PHONE, backgroundPage, inBrowser, picture, proxy } from './browser.js'
import { enter, lines, people, say, sayOverHttp, state } from './chat.js'
import { startExample } from './server.js'
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

test('a page asks with the published client, and shows the answer', () =>
  inBrowser('hello', async (server, open) => {
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
  inBrowser('client-app', async (server, open) => {
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

test('two windows of the chat hear each other, and see who is there', () =>
  inBrowser('chat', async (server, open) => {
    const [ada, bob] = [await open(), await open()]
    await ada.goto(server.url)
    await picture(ada, 'entrance')
    await enter(ada, 'Ada', 7)
    await bob.goto(`${server.url}/#7`)
    await enter(bob, 'Bob')
    for (const page of [ada, bob]) await people(page, 'Ada', 'Bob')

    await say(ada, 'one <b>')
    await lines(bob, 'one <b>')
    await say(bob, '  ')
    await say(bob, 'two\nlines')
    await sayOverHttp(server, 'three')
    for (const page of [ada, bob]) await lines(page, 'one <b>', 'two\nlines', 'three')
    await picture(ada, 'talk')

    // From room to room, and back to what was said in the first.
    await bob.getByLabel('Number of another room').fill('8')
    await bob.getByRole('button', { name: 'Open' }).click()
    await people(bob, 'Bob')
    await people(ada, 'Ada')
    await ada.getByRole('link', { name: 'Room 8 1 here' }).waitFor()
    await say(ada, 'four')
    await say(bob, 'elsewhere')
    await lines(bob, 'elsewhere')
    await bob.getByRole('link', { name: 'Room 7 1 here' }).click()
    await people(bob, 'Ada', 'Bob')
    for (const page of [ada, bob]) await lines(page, 'one <b>', 'two\nlines', 'three', 'four')

    // The same person in two windows is there once, and by another name is somebody else.
    const second = await open()
    await second.goto(`${server.url}/#7`)
    await enter(second, 'Bob')
    await people(second, 'Ada', 'Bob')
    await bob.getByRole('button', { name: 'Change name' }).click()
    await enter(bob, 'Bert')
    for (const page of [ada, bob, second]) await people(page, 'Ada', 'Bert', 'Bob')
    await bob.evaluate(() => (location.hash = ''))
    await bob.getByRole('heading', { name: 'Come in' }).waitFor()
    await people(ada, 'Ada', 'Bob')
    await second.close()
    await people(ada, 'Ada')
  }))

test('what is too long is refused in words, and can be said again', () =>
  inBrowser('chat', async (server, open) => {
    const ada = await open()
    await ada.goto(`${server.url}/#7`)
    await enter(ada, 'Ada')
    await ada.getByLabel('Message', { exact: true }).evaluate((field) => field.removeAttribute('maxlength'))
    const long = 'long '.repeat(500)
    await say(ada, long)
    await ada.getByRole('alert').getByText('what you say has at most 2000 characters').waitFor()
    await picture(ada, 'refused')
    assert.equal(await ada.getByLabel('Message', { exact: true }).inputValue(), long)
    await say(ada, 'short')
    await lines(ada, 'short')
    assert.equal(await ada.getByRole('alert').textContent(), '')
  }))

test('a window that lost its network misses nothing, and what is said in it waits', (t) =>
  inBrowser('chat', async (server, open) => {
    const network = await proxy(t, new URL(server.url).port)
    const [ada, bob] = [await open(), await open('dark')]
    await ada.goto(`${server.url}/#7`)
    await bob.goto(`${network.url}/#7`)
    await enter(ada, 'Ada')
    await enter(bob, 'Bob')
    await people(ada, 'Ada', 'Bob')
    await say(ada, 'one')
    await lines(bob, 'one')

    network.cut()
    await state(bob, 'Reconnecting…')
    await people(ada, 'Ada')
    await say(ada, 'two')
    await say(bob, 'three')
    await say(bob, 'four')
    await bob.getByText('not sent yet').nth(1).waitFor()
    await say(ada, 'two and a half')
    await lines(ada, 'one', 'two', 'two and a half')
    await lines(bob, 'one')
    await picture(bob, 'away')

    network.mend()
    await state(bob, 'Connected')
    for (const page of [ada, bob]) {
      await lines(page, 'one', 'two', 'two and a half', 'three', 'four')
      await people(page, 'Ada', 'Bob')
    }
    assert.equal(await bob.getByText('not sent yet').count(), 0)
    assert.equal(await bob.getByText('may be missing').count(), 0)
    await picture(bob, 'back')
  }))

test('who goes to another room, and takes another name, while the network is lost, does so when it is back', (t) =>
  inBrowser('chat', async (server, open) => {
    const network = await proxy(t, new URL(server.url).port)
    const [ada, bob] = [await open(), await open()]
    await ada.goto(`${server.url}/#7`)
    await bob.goto(`${network.url}/#7`)
    await enter(ada, 'Ada')
    await enter(bob, 'Bob')
    await people(ada, 'Ada', 'Bob')

    network.cut()
    await state(bob, 'Reconnecting…')
    await bob.getByRole('button', { name: 'Change name' }).click()
    await enter(bob, 'Bert')
    network.mend()
    for (const page of [ada, bob]) await people(page, 'Ada', 'Bert')

    network.cut()
    await state(bob, 'Reconnecting…')
    await bob.getByLabel('Number of another room').fill('8')
    await bob.getByRole('button', { name: 'Open' }).click()
    await say(bob, 'elsewhere')
    network.mend()
    await lines(bob, 'elsewhere')
    await people(bob, 'Bert')
    await people(ada, 'Ada')
    await lines(ada)
  }))

test('words whose answer was lost are sent again, and heard once', (t) =>
  inBrowser('chat', async (server, open) => {
    const network = await proxy(t, new URL(server.url).port)
    const [ada, bob] = [await open(), await open()]
    await ada.goto(`${server.url}/#7`)
    await bob.goto(`${network.url}/#7`)
    await enter(ada, 'Ada')
    await enter(bob, 'Bob')
    await people(bob, 'Ada', 'Bob')

    network.deafen()
    await say(bob, 'one')
    await lines(ada, 'one')
    await lines(bob)
    await say(bob, 'two')
    network.cut()
    await state(bob, 'Reconnecting…')
    network.mend()
    for (const page of [ada, bob]) await lines(page, 'one', 'two')
    // It did not come back to be said by hand.
    assert.equal(await bob.getByLabel('Message', { exact: true }).inputValue(), '')
  }))

test('a window that missed too much is told so, unless what it missed can be read', (t) =>
  inBrowser('chat', async (server, open) => {
    const network = await proxy(t, new URL(server.url).port)
    const [ada, bob] = [await open(), await open()]
    await ada.goto(`${server.url}/#7`)
    await bob.goto(`${network.url}/#7`)
    await enter(ada, 'Ada')
    await enter(bob, 'Bob')
    await say(ada, 'one')
    await lines(bob, 'one')
    // All it takes is the request that the client repeats.
    let asked = 0
    bob.on('websocket', (socket) => socket.on('framesent', ({ payload }) => (asked += payload.includes('?name=Bob'))))
    const gaps = await bob.evaluateHandle(() => {
      const gaps = []
      io.socket.on('gap', ({ channel }) => gaps.push(channel))
      return gaps
    })

    // More comings and goings than the room's history has, and one line between.
    network.cut()
    await state(bob, 'Reconnecting…')
    await say(ada, 'two')
    await ada.evaluate(async () => {
      for (let times = 0; times < 130; times++) {
        await io.socket.delete('/chat/rooms/7')
        await io.socket.get('/chat/rooms/7?name=Ada')
      }
    })
    network.mend()
    await lines(bob, 'one', 'two')
    assert.ok((await gaps.jsonValue()).includes('room:7'))
    assert.equal(asked, 1)
    assert.equal(await bob.getByText('may be missing').count(), 0)
    for (const page of [ada, bob]) await people(page, 'Ada', 'Bob')

    // More lines than the room remembers.
    network.cut()
    await state(bob, 'Reconnecting…')
    await ada.evaluate(async () => {
      for (let number = 0; number < 300; number++) await io.socket.post('/chat/rooms/7', { from: 'Ada', text: `${number}` })
    })
    network.mend()
    await lines(bob, 'one', 'two', ...Array.from({ length: 100 }, (_, index) => `${index + 200}`))
    const around = await bob.getByText('may be missing').evaluate((gap) => [
      gap.previousElementSibling.querySelector('p').textContent,
      gap.nextElementSibling.querySelector('p').textContent,
    ])
    assert.deepEqual(around, ['two', '200'])
    await bob.getByText('may be missing').scrollIntoViewIfNeeded()
    await picture(bob, 'gap')
  }))

test('a window that is told of a gap on a live connection reads the room anew', () =>
  inBrowser('chat', async (server, open) => {
    const bob = await open()
    await bob.goto(`${server.url}/#7`)
    await enter(bob, 'Bob')
    await sayOverHttp(server, 'one')
    await lines(bob, 'one')
    // No server can be made to say so at will, so the window is made to miss a line, and the client to tell it.
    await bob.evaluate(() => io.socket.delete('/chat/rooms/7'))
    await sayOverHttp(server, 'two')
    await bob.evaluate(() => io.socket._emit('gap', { channel: 'room:7', reason: 'not retained' }))
    await lines(bob, 'one', 'two')
    await people(bob, 'Bob')
    assert.equal(await bob.getByText('may be missing').count(), 0)
  }))

test('the chat goes on when its server is back', () =>
  inBrowser('chat', async (server, open) => {
    const [ada, bob] = [await open(), await open('light', PHONE)]
    for (const page of [ada, bob]) await page.goto(`${server.url}/#7`)
    await enter(ada, 'Ada')
    await enter(bob, 'Bob')
    await say(ada, 'one')
    await lines(bob, 'one')

    await server.stop()
    for (const page of [ada, bob]) await state(page, 'Reconnecting…')
    await say(bob, 'two')
    await bob.getByText('not sent yet').waitFor()
    await picture(ada, 'server-gone')
    await picture(bob, 'server-gone-phone')

    // It has forgotten what was said; the windows have not, and cannot know what else there was.
    const again = await startExample('chat', new URL(server.url).port)
    try {
      for (const page of [ada, bob]) {
        await state(page, 'Connected')
        await people(page, 'Ada', 'Bob')
        await lines(page, 'one', 'two')
        await page.getByText('may be missing').waitFor()
      }
      await say(ada, 'three')
      for (const page of [ada, bob]) await lines(page, 'one', 'two', 'three')
      await picture(ada, 'server-back')
      await picture(bob, 'server-back-phone')
    } finally {
      for (const page of [ada, bob]) await page.close()
      await again.stop()
    }
  }))

test('a window that was frozen shows what was said meanwhile', async (t) => {
  const server = await startExample('chat')
  t.after(() => server.stop())
  const network = await proxy(t, new URL(server.url).port)
  const bob = await backgroundPage(t, `${network.url}/`)
  const until = (condition) =>
    bob.run(`new Promise((resolve) => {
      const look = () => (${condition} ? resolve() : setTimeout(look, 20))
      look()
    })`)
  const lines = (...texts) =>
    until(`JSON.stringify([...document.querySelectorAll('.line p')].map((p) => p.textContent)) === '${JSON.stringify(texts)}'`)
  await until(`document.readyState === 'complete'`)
  await bob.run(`
    document.querySelector('#name').value = 'Bob'
    document.querySelector('#room').value = '7'
    document.querySelector('#entrance').requestSubmit()`)
  await until(`document.querySelector('#people')?.textContent === 'Bob (you)'`)
  await bob.run(`
    events = []
    for (const type of ['freeze', 'resume']) document.addEventListener(type, () => events.push(type))`)

  // DevTools answers before the page has stopped.
  const freeze = async () => {
    const before = await bob.run(`events.length`)
    await bob.freeze()
    await within((async () => { while ((await bob.run(`events.length`)) === before); })(), 'the page freezes')
  }
  await freeze()
  await sayOverHttp(server, 'one')
  assert.equal(await bob.run(`document.querySelectorAll('.line').length`), 0)
  await bob.thaw()
  await lines('one')

  // And one that its server has given up.
  await freeze()
  network.cut()
  await sayOverHttp(server, 'two')
  network.mend()
  await bob.thaw()
  await lines('one', 'two')
  assert.deepEqual(await bob.run(`events`), ['freeze', 'resume', 'freeze', 'resume'])
  await bob.run(`document.querySelector('#text').value = 'three'; document.querySelector('#composer').requestSubmit()`)
  await lines('one', 'two', 'three')
  await until(`document.querySelector('#people').textContent === 'Bob (you)'`)
})

for (const cached of [true, false]) {
  test(`the chat works after going away and back, ${cached ? 'from' : 'without'} the back/forward cache`, () =>
    inBrowser('chat', async (server, open) => {
      const [ada, bob] = [await open(), await open()]
      await ada.goto(`${server.url}/#7`)
      await enter(ada, 'Ada')
      await bob.goto(server.url)
      await enter(bob, 'Bob', 7)
      await people(ada, 'Ada', 'Bob')
      if (!cached) await bob.evaluate(() => addEventListener('unload', () => {}))
      await bob.evaluate(() => addEventListener('pageshow', ({ persisted }) => (document.body.dataset.persisted = persisted)))

      await bob.goto('data:text/html,elsewhere')
      await people(ada, 'Ada')
      await say(ada, 'one')
      await bob.evaluate(() => void setTimeout(() => history.back()))
      await lines(bob, 'one')
      assert.equal(await bob.evaluate(() => document.body.dataset.persisted), cached ? 'true' : undefined)
      await say(bob, 'two')
      for (const page of [ada, bob]) {
        await lines(page, 'one', 'two')
        await people(page, 'Ada', 'Bob')
      }
    }))
}

test('who came and who went is shown as it was, in whatever order two servers tell it', () =>
  inBrowser('chat', async (server, open) => {
    const ada = await open()
    await ada.goto(`${server.url}/#7`)
    await enter(ada, 'Ada')
    await people(ada, 'Ada')
    const tell = (event, later, name) =>
      ada.evaluate(
        ([event, later, name]) => io.socket._emit(event, { room: 7, at: Date.now() + 1000 * later, name }),
        [event, later, name],
      )
    await tell('joined', 1, 'Bob')
    await people(ada, 'Ada', 'Bob')
    await tell('left', 3, 'Bob')
    await tell('joined', 2, 'Bob')
    await tell('left', -1000, 'Ada')
    await people(ada, 'Ada')
    const counted = (later, here) =>
      ada.evaluate(
        ([later, here]) => io.socket._emit('counted', { room: 8, at: Date.now() + 1000 * later, here }),
        [later, here],
      )
    await counted(2, 5)
    await counted(1, 4)
    await ada.getByRole('link', { name: 'Room 8 5 here' }).waitFor()

    // What is read anew is older than what was told meanwhile.
    await tell('joined', 4, 'Eve')
    await ada.evaluate(() => io.socket.delete('/chat/rooms/7'))
    await sayOverHttp(server, 'one')
    await ada.evaluate(() => io.socket._emit('gap', { channel: 'room:7', reason: 'missed' }))
    await lines(ada, 'one')
    await people(ada, 'Ada', 'Eve')
  }))

test('the chat fits a phone, in the light and in the dark', () =>
  inBrowser('chat', async (server, open) => {
    for (const [scheme, room] of [['light', 7], ['dark', 8]]) {
      const page = await open(scheme, PHONE)
      await page.goto(`${server.url}/#${room}`)
      await enter(page, 'Somebody whose name is as long as it gets')
      await say(page, `words that are long, ${'like'.repeat(40)} this`)
      await page.getByText('words that').last().waitFor()
      await picture(page, `phone-${scheme}`)
      await page.getByRole('button', { name: 'Rooms' }).click()
      await page.getByText('Somebody whose').first().waitFor()
      await picture(page, `phone-${scheme}-people`)
      assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), PHONE.width)
      await page.keyboard.press('Escape')

      // What comes while one reads further up is announced, and does not move the page.
      for (let number = 0; number < 12; number++) await say(page, `${number}`)
      await page.getByRole('log').getByText('11', { exact: true }).waitFor()
      await page.getByRole('log').evaluate((log) => (log.scrollTop = 0))
      await sayOverHttp(server, 'below', room)
      await page.getByRole('button', { name: '1 new' }).waitFor()
      assert.equal(await page.getByRole('log').evaluate((log) => log.scrollTop), 0)
      await picture(page, `phone-${scheme}-unread`)
      await page.getByRole('button', { name: '1 new' }).click()
      await page.getByRole('button', { name: '1 new' }).waitFor({ state: 'hidden' })
      await page.close()
    }
  }))
