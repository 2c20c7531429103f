// The chat on two servers that share a Redis or a Postgres, in a real browser.

import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { test } from 'node:test'
import backends from '../js-client/backends.js'
import { inBrowser, picture, proxy } from './browser.js'
import { enter, lines, people, say, sayOverHttp, state } from './chat.js'
import { overHttp, startExample } from './server.js'

const { Link } = createRequire(import.meta.url)('../js-client/link.js')

const portOf = ({ url }) => new URL(url).port

for (const kind of ['Redis', 'Postgres']) {
  test(`two servers are one chat over ${kind}, of which one may die`, (t) =>
    withTwo(t, kind, async ({ servers: [first, second], environment, inRoom }) => {
      const networks = [await proxy(t, portOf(first)), await proxy(t, portOf(first))]
      const ada = await inRoom(networks[0], 'Ada')
      const bob = await inRoom(second, 'Bob', 'dark')
      const eve = await inRoom(networks[1], 'Eve')
      for (const page of [ada, bob, eve]) await people(page, 'Ada', 'Bob', 'Eve')
      await say(ada, 'one')
      await lines(bob, 'one')
      await say(bob, 'two')
      await lines(ada, 'one', 'two')
      await sayOverHttp(first, 'three')
      for (const page of [ada, bob]) await lines(page, 'one', 'two', 'three')

      // No farewell: the connections break. The next server answers Ada, and Eve never comes back.
      networks[1].cut()
      await first.stop('SIGKILL')
      networks[0].lead(portOf(second))
      await say(bob, 'four')
      await lines(bob, 'one', 'two', 'three', 'four')
      await say(ada, 'five')
      for (const page of [ada, bob]) await lines(page, 'one', 'two', 'three', 'four', 'five')
      for (const page of [ada, bob]) await people(page, 'Ada', 'Bob')
      await bob.getByRole('link', { name: 'Room 7 2 here' }).waitFor()
      await picture(ada, `cluster-${kind}`)

      // All servers end. Another knows what was said, and who is not here any more.
      const [third] = await Promise.all([startExample('chat', 0, environment), second.stop('SIGKILL')])
      t.after(() => third.stop())
      networks[0].lead(portOf(third))
      await bob.close()
      await people(ada, 'Ada')
      await lines(ada, 'one', 'two', 'three', 'four', 'five')
      assert.equal(await ada.getByText('may be missing').count(), 0)
      await say(ada, 'six')
      const zoe = await inRoom(third, 'Zoe')
      await lines(zoe, 'one', 'two', 'three', 'four', 'five', 'six')
    }))

  test(`three servers are one chat over ${kind}, of which one is killed`, (t) =>
    withServers(t, kind, 3, async ({ servers, inRoom }) => {
      const network = await proxy(t, portOf(servers[0]))
      const pages = [await inRoom(network, 'Ada'), await inRoom(servers[1], 'Bob'), await inRoom(servers[2], 'Eve')]
      const all = async (...texts) => {
        for (const page of pages) {
          await people(page, 'Ada', 'Bob', 'Eve')
          await lines(page, ...texts)
        }
      }
      for (const [index, page] of pages.entries()) await say(page, `from ${index}`).then(() => lines(page, ...froms(index)))
      await all('from 0', 'from 1', 'from 2')

      await servers[0].stop('SIGKILL')
      await say(pages[1], 'meanwhile')
      await lines(pages[2], 'from 0', 'from 1', 'from 2', 'meanwhile')
      network.lead(portOf(servers[2]))
      await say(pages[0], 'back')
      await all('from 0', 'from 1', 'from 2', 'meanwhile', 'back')
      assert.equal(await pages[0].getByText('may be missing').count(), 0)
      await picture(pages[0], `three-${kind}`)
    }))

  test(`what is said on two servers at once is in one order everywhere over ${kind}`, (t) =>
    withTwo(t, kind, async ({ servers, inRoom }) => {
      const pages = [await inRoom(servers[0], 'Ada'), await inRoom(servers[1], 'Bob')]
      const heard = await pages[0].evaluateHandle(() => {
        const heard = []
        io.socket.on('said', ({ text }) => heard.push(text))
        return heard
      })
      const said = Array.from({ length: 40 }, (_, index) => [`${index} here`, `${index} there`])
      await Promise.all(said.flatMap((texts) => texts.map((text, index) => sayOverHttp(servers[index], text))))
      const shown = ({ page, count }) =>
        page.waitForFunction((count) => document.querySelectorAll('.line').length === count, count).then(() =>
          page.locator('.line p').allTextContents(),
        )
      const [here, there] = await Promise.all(pages.map((page) => shown({ page, count: 80 })))
      assert.deepEqual(here, there)
      assert.deepEqual(here.toSorted(), said.flat().toSorted())

      // What was stored may not have been told, so it is told again, and shown once.
      const words = { id: 'once', from: 'curl', text: 'once' }
      for (const server of servers) await overHttp(server, { method: 'post', url: '/chat/rooms/7', data: words })
      await sayOverHttp(servers[0], 'last')
      for (const page of pages) await lines(page, ...here, 'once', 'last')
      assert.equal((await heard.jsonValue()).filter((text) => text === 'once').length, 2)
    }))

  test(`words wait in their window while ${kind} is away`, (t) =>
    withTwo(t, kind, async ({ data, servers, inRoom }) => {
      const [ada, bob] = [await inRoom(servers[0], 'Ada'), await inRoom(servers[1], 'Bob')]
      await say(ada, 'one')
      for (const page of [ada, bob]) await people(page, 'Ada', 'Bob')
      await lines(bob, 'one')
      await data.crash()
      await say(ada, 'two')
      await ada.getByText('not sent yet').waitFor()
      await picture(ada, `away-${kind}`)
      await data.run()
      await lines(bob, 'one', 'two')
      await say(bob, 'three')
      for (const page of [ada, bob]) {
        await lines(page, 'one', 'two', 'three')
        await people(page, 'Ada', 'Bob')
      }
      assert.equal(await ada.getByText('not sent yet').count(), 0)
    }))

  test(`who is on a server that cannot reach ${kind} is listed again when it can`, async (t) => {
    const data = await backends[kind].start()
    t.after(() => data.close())
    const link = await new Link(() => data.port).listen()
    t.after(() => link.close())
    const second = await startExample('chat', 0, data.environment(data.port))
    t.after(() => second.stop())
    await inBrowser(
      'chat',
      async (first, open) => {
        const inRoom = roomsOf(open)
        const [ada, bob] = [await inRoom(first, 'Ada'), await inRoom(second, 'Bob')]
        for (const page of [ada, bob]) await people(page, 'Ada', 'Bob')
        link.refuse()
        await people(bob, 'Bob')
        await state(ada, 'Connected')
        link.heal()
        for (const page of [ada, bob]) await people(page, 'Ada', 'Bob')
        await sayOverHttp(second, 'one')
        await lines(ada, 'one')
      },
      data.environment(link.port),
    )
  })
}

/** What the pages of the first servers have said, in the order of the servers. */
const froms = (last) => Array.from({ length: last + 1 }, (_, index) => `from ${index}`)

const withTwo = (t, kind, run) => withServers(t, kind, 2, run)

/** Servers on a backend of their own. */
async function withServers(t, kind, count, run) {
  const data = await backends[kind].start()
  t.after(() => data.close())
  const environment = data.environment(data.port)
  const others = await Promise.all(Array.from({ length: count - 1 }, () => startExample('chat', 0, environment)))
  for (const server of others) t.after(() => server.stop())
  const use = (first, open) => run({ data, environment, servers: [first, ...others], inRoom: roomsOf(open) })
  await inBrowser('chat', use, environment)
}

/** Opens a window in a room. */
function roomsOf(open) {
  return async (server, name, scheme) => {
    const page = await open(scheme)
    // A server is dead for the others after five seconds, and those on it are taken off the list within ten more.
    page.setDefaultTimeout(30_000)
    await page.goto(`${server.url}/#7`)
    await enter(page, name)
    return page
  }
}
