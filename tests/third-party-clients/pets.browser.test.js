// The page of the example `pets`: lists that change in each window when somebody changes a record.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DESK, PHONE, inBrowser, picture, proxy } from './browser.js'
import { database } from './pets.js'
import { overHttp, startExample } from './server.js'

test('what one window changes the other shows, without being loaded anew', (t) =>
  inPets(t, async (server, open) => {
    const [ann, bob] = [await enter(open, server, 'Ann'), await enter(open, server, 'Bob', 'dark')]
    await pets(ann, 'Mittens', 'Polly', 'Rex')
    await pets(bob, 'Polly', 'Rex')
    await Promise.all([ann, bob].map((page) => page.evaluate(() => (document.body.dataset.loaded = 'once'))))

    // A new one, another name, another owner.
    await add(bob, 'pet', 'Max')
    await pets(bob, 'Max', 'Polly', 'Rex')
    await pets(ann, 'Max', 'Mittens', 'Polly', 'Rex')
    await rename(bob, 'Max', 'Maximilian')
    for (const page of [ann, bob]) await pet(page, 'Maximilian').waitFor()
    await pet(bob, 'Maximilian').getByLabel('Owner').selectOption('Ann')
    await ann.waitForFunction(() => document.querySelector('[data-id="4"] .owner').value === '1')

    // Toys: given, taken away, new, gone.
    await pet(bob, 'Polly').getByLabel('Give Polly a toy').selectOption('Ball')
    await toysOf(ann, 'Polly', 'Ball')
    await ann.getByText('Rex, Polly play with it').waitFor()
    await pet(bob, 'Polly').getByRole('button', { name: 'Take Ball from Polly' }).click()
    await toysOf(ann, 'Polly')
    await add(ann, 'toy', 'Bone')
    await pet(ann, 'Rex').getByLabel('Give Rex a toy').selectOption('Bone')
    await toysOf(bob, 'Rex', 'Ball', 'Bone')
    await picture(ann, 'pets')
    await picture(bob, 'pets-dark')
    await remove(ann, 'Ball')
    for (const page of [ann, bob]) await toysOf(page, 'Rex', 'Bone')

    await remove(ann, 'Maximilian')
    await pets(bob, 'Polly', 'Rex')
    // Somebody who comes by HTTP.
    const cy = { name: 'Cy', email: 'cy@example.org', password: 's3cret' }
    assert.equal((await overHttp(server, { method: 'post', url: '/user', data: cy })).statusCode, 200)
    await changeOverHttp(server, 2, '/pet/3', { owner: 3 })
    for (const page of [ann, bob]) {
      await page.getByRole('link', { name: 'Cy' }).waitFor()
      await page.waitForFunction(() => document.querySelector('[data-id="3"] .owner').selectedOptions[0]?.textContent === 'Cy')
      assert.equal(await page.evaluate(() => document.body.dataset.loaded), 'once')
    }
  }))

test('a pet that becomes private vanishes for others, and comes back with its toys', (t) =>
  inPets(t, async (server, open) => {
    const [ann, bob, visitor] = [await enter(open, server, 'Ann'), await enter(open, server, 'Bob'), await enter(open, server)]
    for (const page of [bob, visitor]) await pets(page, 'Polly', 'Rex')
    for (const label of ['Private', 'Owner', 'Name of Rex', 'Remove Rex']) {
      assert.equal(await pet(bob, 'Rex').getByLabel(label).isDisabled(), true, label)
    }
    assert.equal(await visitor.getByRole('form', { name: 'New pet' }).getByRole('button').isDisabled(), true)
    await toysOf(bob, 'Rex', 'Ball')

    await pet(ann, 'Rex').getByLabel('Private').check()
    for (const page of [bob, visitor]) await pets(page, 'Polly')
    await bob.getByText('Nobody plays with it').nth(1).waitFor()
    await pets(ann, 'Mittens', 'Polly', 'Rex')
    await picture(ann, 'pets-private')
    await picture(bob, 'pets-private-others')

    await pet(ann, 'Rex').getByLabel('Give Rex a toy').selectOption('Mouse')
    await pet(ann, 'Rex').getByLabel('Private').uncheck()
    for (const page of [bob, visitor]) {
      await pets(page, 'Polly', 'Rex')
      await toysOf(page, 'Rex', 'Ball', 'Mouse')
    }

    // The other one again, as somebody else in the same window.
    await bob.getByRole('link', { name: 'Ann' }).click()
    await pets(bob, 'Mittens', 'Polly', 'Rex')
    await bob.getByRole('link', { name: 'a visitor' }).click()
    await pets(bob, 'Polly', 'Rex')
  }))

test('what the server refuses is told in words, and shown as it was', (t) =>
  inPets(t, async (server, open) => {
    const ann = await enter(open, server, 'Ann')
    await pet(ann, 'Rex').getByLabel('Name of Rex').evaluate((field) => field.removeAttribute('maxlength'))
    await rename(ann, 'Rex', 'x'.repeat(41))
    await ann.getByRole('alert').getByText('greater than 40').waitFor()
    await pet(ann, 'Rex').waitFor()
    await picture(ann, 'pets-refused')
    // A private one cannot be given away.
    await pet(ann, 'Mittens').getByLabel('Owner').selectOption('Bob')
    await ann.getByRole('alert').getByText('Only its owner may do that.').waitFor()
    assert.equal(await pet(ann, 'Mittens').getByLabel('Owner').inputValue(), '1')
    await rename(ann, 'Rex', 'Max')
    await pet(ann, 'Max').waitFor()
    assert.equal(await ann.getByRole('alert').textContent(), '')
  }))

test('a window that was away shows what was changed meanwhile', (t) =>
  inPets(t, async (server, open) => {
    const network = await proxy(t, new URL(server.url).port)
    const [ann, bob] = [await enter(open, server, 'Ann'), await enter(open, network, 'Bob')]
    await pets(bob, 'Polly', 'Rex')
    network.cut()
    await state(bob, 'Reconnecting…')
    await changeOverHttp(server, 2, '/pet/3', { name: 'Pollux' })
    await remove(ann, 'Ball')
    await add(ann, 'pet', 'Max')
    await pet(ann, 'Rex').getByLabel('Private').check()
    await pets(ann, 'Max', 'Mittens', 'Pollux', 'Rex')
    await pets(bob, 'Polly', 'Rex')
    // What is done meanwhile comes before what is asked anew.
    await rename(bob, 'Mouse', 'Rat')
    network.mend()
    await state(bob, 'Connected')
    await pets(bob, 'Max', 'Pollux')
    for (const page of [ann, bob]) await toys(page, 'Rat')
    await add(ann, 'toy', 'Bone')
    await toys(bob, 'Bone', 'Rat')

    await pet(ann, 'Rex').getByLabel('Private').uncheck()
    await pets(bob, 'Max', 'Pollux', 'Rex')
  }))

test('of two who change a pet at once all show the last', (t) =>
  inPets(t, async (server, open) => {
    const [ann, other] = [await enter(open, server, 'Ann'), await enter(open, server, 'Ann')]
    await pets(other, 'Mittens', 'Polly', 'Rex')
    await delayAnswer(other, 'patch')
    await rename(other, 'Rex', 'Max')
    await answer(other, 'held')
    await rename(ann, 'Max', 'Moritz')
    await answer(other, 'given')
    await pets(other, 'Mittens', 'Moritz', 'Polly')
    await pets(ann, 'Mittens', 'Moritz', 'Polly')
  }))

test('a window that is told of a gap on a live connection reads the list anew', (t) =>
  inPets(t, async (server, open) => {
    const bob = await enter(open, server, 'Bob')
    await pets(bob, 'Polly', 'Rex')
    // No server can be made to say so at will, so the window is made to miss a message, and the client to tell it.
    await bob.evaluate(() => io.socket.off('pet'))
    await changeOverHttp(server, 1, '/pet/1', { name: 'Max' })
    await bob.evaluate(gap)
    await pets(bob, 'Max', 'Polly')
  }))

test('a list that is changed while a window reads it is read again', (t) =>
  inPets(t, async (server, open) => {
    const bob = await enter(open, server, 'Bob')
    await pets(bob, 'Polly', 'Rex')
    await delayAnswer(bob, 'get')
    await bob.evaluate(gap)
    await answer(bob, 'held')
    await changeOverHttp(server, 1, '/pet/1', { name: 'Max' })
    await answer(bob, 'given')
    await pets(bob, 'Max', 'Polly')
  }))

test('the windows go on when the server is back', async (t) => {
  const environment = database(t)
  await inBrowser('pets', async (server, open) => {
    const [ann, bob] = [await enter(open, server, 'Ann'), await enter(open, server, 'Bob', 'light', PHONE)]
    await pets(ann, 'Mittens', 'Polly', 'Rex')
    await server.stop()
    for (const page of [ann, bob]) await state(page, 'Reconnecting…')
    // It is done once there is a server.
    await rename(ann, 'Rex', 'Max')
    await picture(bob, 'pets-phone-server-gone')

    const again = await startExample('pets', new URL(server.url).port, environment)
    try {
      for (const page of [ann, bob]) await state(page, 'Connected')
      await pets(bob, 'Max', 'Polly')
      await pets(ann, 'Max', 'Mittens', 'Polly')
      await remove(bob, 'Polly')
      await pets(ann, 'Max', 'Mittens')
    } finally {
      for (const page of [ann, bob]) await page.close()
      await again.stop('SIGINT')
    }
  }, environment)
})

test('the pets fit a phone, in the light and in the dark', (t) =>
  inPets(t, async (server, open) => {
    for (const scheme of ['light', 'dark']) {
      const page = await enter(open, server, 'Ann', scheme, PHONE)
      await add(page, 'pet', `The longest ${scheme} name that there can be`.padEnd(40, '.'))
      await add(page, 'toy', `${scheme}${'W'.repeat(35)}`)
      await pet(page, 'Rex').getByLabel('Give Rex a toy').selectOption(`${scheme}${'W'.repeat(35)}`)
      await pet(page, 'Rex').getByRole('button', { name: `Take ${scheme}` }).waitFor()
      assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), PHONE.width)
      await picture(page, `pets-phone-${scheme}`)
      await page.evaluate(() => scrollTo(0, document.body.scrollHeight))
      await picture(page, `pets-phone-${scheme}-below`)
      await page.close()
    }
  }))

const inPets = (t, run) => inBrowser('pets', run, database(t))

/** A page of somebody, or of a visitor. */
async function enter(open, server, name, scheme = 'light', viewport = DESK) {
  const page = await open(scheme, viewport)
  await page.goto(server.url)
  if (name) await page.getByRole('link', { name }).click()
  await page.getByRole('link', { name: name ?? 'a visitor' }).and(page.locator('[aria-current=page]')).waitFor()
  return page
}

async function add(page, model, name) {
  const form = page.getByRole('form', { name: `New ${model}` })
  await form.getByRole('textbox').fill(name)
  await form.getByRole('button', { name: 'Add' }).click()
}

async function rename(page, from, to) {
  await page.getByLabel(`Name of ${from}`, { exact: true }).fill(to)
  await page.keyboard.press('Enter')
}

const remove = (page, name) => page.getByRole('button', { name: `Remove ${name}` }).click()

/** What a user changes from another program. */
async function changeOverHttp(server, user, url, data) {
  const { statusCode } = await overHttp(server, { method: 'patch', url, data, headers: { 'x-user': `${user}` } })
  assert.equal(statusCode, 200)
}

/** In a page: the server says that messages are lost. */
const gap = () => io.socket._emit('gap', { channel: 'pet', reason: 'not retained' })

/** Holds the next answer of this kind back until a message came, as if it had been on its way for longer. */
function delayAnswer(page, method) {
  return page.evaluate((method) => {
    const { socket } = io
    const { dataset } = document.body
    const request = socket.request.bind(socket)
    socket.request = async (options) => {
      const answer = await request(options)
      if (options.method !== method || dataset.answer) return answer
      dataset.answer = 'held'
      await new Promise((resolve) => socket.on('pet', resolve))
      dataset.answer = 'given'
      return answer
    }
  }, method)
}

const answer = (page, state) => page.locator(`body[data-answer=${state}]`).waitFor()

/** The item of the pet of this name. */
const pet = (page, name) => page.locator('.pet', { has: page.getByLabel(`Name of ${name}`, { exact: true }) })

/** The state of the connection, in the page's words. */
const state = (page, words) => page.getByRole('status').getByText(words, { exact: true }).waitFor()

/** Waits until these, and no others, are listed; by name. */
const pets = (page, ...names) => shown(page, '.pet > .name', names)
const toys = (page, ...names) => shown(page, '.toy > .name', names)

async function toysOf(page, name, ...labels) {
  const item = await pet(page, name).getAttribute('data-id')
  await shown(page, `.pet[data-id="${item}"] .toys span`, labels)
}

async function shown(page, selector, expected) {
  const texts = (all) => all.map((each) => each.value ?? each.textContent).sort()
  const same = ({ selector, expected }) => {
    const all = [...document.querySelectorAll(selector)].map((each) => each.value ?? each.textContent)
    return JSON.stringify(all.sort()) === JSON.stringify(expected)
  }
  // What is there after all says more than that the time is up.
  await page.waitForFunction(same, { selector, expected }).catch(async () => {
    assert.deepEqual(await page.locator(selector).evaluateAll(texts), expected)
  })
}
