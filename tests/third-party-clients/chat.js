// The chat as a person sees it in a browser.

import assert from 'node:assert/strict'
import { overHttp } from './server.js'

export async function enter(page, name, room) {
  await page.getByLabel('Your name').fill(name)
  if (room) await page.getByLabel('Room number').fill(`${room}`)
  await page.getByRole('button', { name: 'Enter' }).click()
}

export async function say(page, text) {
  await page.getByLabel('Message', { exact: true }).fill(text)
  await page.getByRole('button', { name: 'Send' }).click()
}

export async function sayOverHttp(server, text, room = 7) {
  const answer = await overHttp(server, { method: 'post', url: `/chat/rooms/${room}`, data: { from: 'curl', text } })
  assert.equal(answer.statusCode, 201)
}

/** The state of the connection, in the page's words. */
export const state = (page, words) => page.getByRole('status').getByText(words, { exact: true }).waitFor()

/** Waits until these, and no others, were said and heard, in this order. */
export const lines = (page, ...texts) => shown(page, '#log .line:not(.pending) p', texts)

/** Waits until these, and no others, are listed as here. */
export const people = (page, ...names) => shown(page, '#people li > span', names)

async function shown(page, selector, expected) {
  const texts = () => page.locator(selector).evaluateAll((all) => all.map((each) => each.textContent.replace(' (you)', '')))
  const same = ({ selector, expected }) => {
    const all = [...document.querySelectorAll(selector)].map((each) => each.textContent.replace(' (you)', ''))
    return JSON.stringify(all) === JSON.stringify(expected)
  }
  // What is there after all says more than that the time is up.
  await page.waitForFunction(same, { selector, expected }).catch(async () => assert.deepEqual(await texts(), expected))
}
