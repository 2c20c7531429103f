// The page: a room, who is in it, and what is said there. `io.socket` is catamaran's client, whose README says what its
// events mean.

const at = (id) => document.getElementById(id)
const socket = io.socket

/** Who we are, in this window. */
let me = sessionStorage.getItem('name') ?? ''
/** The room that is open: its number, or nothing. */
let room
/** What is shown of it, each line by its time, which is its own. */
const lines = new Map()
/** Since when the room is shown, and who came or went after that: their names, and when that was. */
let since = 0
const changes = new Map()
const here = new Set()
/** How many are in each room, and as of when. */
const rooms = new Map()
/** What we said and the server has not answered, oldest first. */
const outbox = []
let unread = 0
/** Whether we missed something, and have not read anew since. */
let stale = false

const path = (number) => `/chat/rooms/${number}`
const entrance = () => `${path(room)}?name=${encodeURIComponent(me)}`

/**
 * Asks until there is an answer: what its connection takes along is asked again on the next one, and what the server cannot do
 * now, a little later.
 */
async function ask(method, url, data) {
  for (;;) {
    try {
      const answer = await socket[method](url, data)
      if (answer.statusCode !== 503) return answer
      await new Promise((resolve) => setTimeout(resolve, 1000))
    } catch (error) {
      if (!['disconnected', 'expired', 'timeout'].includes(error.code)) throw error
    }
  }
}

/** Why a request did not succeed, in words; nothing if it did. */
const problemOf = (asked) =>
  asked.then(
    ({ statusCode, body }) => (statusCode < 400 ? '' : (body?.message ?? `The server answered ${statusCode}.`)),
    (error) => error.message,
  )

function tell(problem) {
  for (const place of document.querySelectorAll('.problem')) place.textContent = problem
}

// Coming and going.

/** Goes to the room of the address, or to the entrance. */
function go() {
  const [, number] = /^#(\d{1,15})$/.exec(location.hash) ?? []
  if (number) at('room').value = number
  if (!number) leave()
  if (!me || !number) return showEntrance()
  const next = Number(number)
  if (next !== room) {
    leave()
    enter(next)
  }
  at('welcome').hidden = true
  at('chat').hidden = false
  showSide(false)
  if (matchMedia('(pointer: fine)').matches) at('text').focus()
}

function showEntrance() {
  at('chat').hidden = true
  at('welcome').hidden = false
  at('name').value = me
  at('name').focus()
}

function leave() {
  if (room === undefined) return
  ask('delete', path(room))
  room = undefined
}

async function enter(number) {
  room = number
  lines.clear()
  here.clear()
  changes.clear()
  at('log').replaceChildren()
  at('empty').hidden = true
  outbox.filter((words) => words.room === number).forEach(showPending)
  at('me').textContent = me
  at('title').textContent = `Room ${number}`
  tell('')
  showUnread(0)
  showHere()
  showRooms()
  await read()
  toNewest()
}

/** Subscribes, and reads what is there. */
async function read() {
  const url = entrance()
  const asked = ask('get', url)
  const problem = await problemOf(asked)
  if (url !== entrance()) return
  if (problem) tell(problem)
  else showContent((await asked).body)
}

/** Shows all that is in a room; what is shown already stays. */
function showContent(body) {
  // Where one of these was shown before the gap, the others fill it.
  const gap = at('gap')
  if (body.lines.some((line) => lines.has(line.at) && line.at < gap?.dataset.at)) gap.remove()
  gap?.removeAttribute('id')
  stale = false
  at('empty').hidden = false
  body.lines.forEach(showLine)
  // Who came or went after this was read is told already.
  const later = [...changes].filter(([, { when }]) => when > body.at)
  since = body.at
  changes.clear()
  here.clear()
  body.here.forEach((name) => here.add(name))
  later.forEach(([name, { when, present }]) => change(name, when, present))
  showHere()
}

/** Somebody came or went. Of what several servers say of somebody, the latest counts, in whatever order it comes. */
function change(name, when, present) {
  if (when <= (changes.get(name)?.when ?? since)) return
  changes.set(name, { when, present })
  if (present) here.add(name)
  else here.delete(name)
}

// What the server tells.

socket.on('said', showLine)
socket.on('joined', (event) => showChange(event, true))
socket.on('left', (event) => showChange(event, false))
socket.on('counted', (count) => {
  showCount(count)
  showRooms()
})

socket.on('state', showState)

// After a reconnect what we missed comes by itself, or, where that cannot be, here is all anew.
socket.on('resubscribed', ({ url, recovered, body }) => {
  if (url === '/chat/rooms') return recovered || showCounts(body)
  if (url === entrance()) return recovered || showContent(body)
  // We left, or took another name, while there was no connection.
  ask('delete', url.replace(/\?.*/, ''))
  if (room !== undefined) read()
})

socket.on('gap', ({ channel }) => {
  if (channel === 'lobby') setTimeout(readRooms)
  if (channel !== `room:${room}`) return
  stale = true
  if (lines.size > 0) showGap()
  // `resubscribed` follows at once, unless the connection is the same.
  setTimeout(() => stale && read())
})

socket.on('lost', ({ channels, reason }) => {
  if (channels.includes(`room:${room}`)) tell(`The server took you out of this room (${reason}).`)
})

async function readRooms() {
  const asked = ask('get', '/chat/rooms')
  if (!(await problemOf(asked))) showCounts((await asked).body)
}

// What is shown.

function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties)
  element.append(...children)
  return element
}

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' })

function showLine(line) {
  if (line.room !== room || lines.has(line.at)) return
  const item = bubble(line, line.at)
  lines.set(line.at, item)
  pending(line.id)?.remove()
  place(item)
}

/** Our words, after all others until the server has them. */
function showPending(words) {
  const item = bubble(words, Date.now())
  item.append(make('em', {}, 'not sent yet'))
  item.classList.add('pending')
  Object.assign(item.dataset, { at: Infinity, id: words.id })
  place(item)
}

const pending = (id) => [...at('log').querySelectorAll('.pending')].find((item) => item.dataset.id === id)

function bubble({ from, text }, time) {
  const date = new Date(time)
  const when = make('time', { dateTime: date.toISOString() }, clock.format(date))
  const item = make('li', { className: 'line' }, make('small', {}, make('b', {}, from), when), make('p', { dir: 'auto' }, text))
  item.classList.toggle('mine', from === me)
  // With the minute, so that a name stands once above what is said at a time.
  Object.assign(item.dataset, { at: time, by: `${from} ${when.textContent}` })
  return item
}

function showGap() {
  at('gap')?.remove()
  const item = make('li', { id: 'gap', className: 'gap' }, 'Some messages may be missing here')
  item.dataset.at = Math.max(...lines.keys()) + 0.5
  place(item)
}

/** Puts something where its time says, and keeps the newest in view for whoever looks at it. */
function place(item) {
  const log = at('log')
  const wasAtNewest = isAtNewest()
  const before = [...log.children].findLast((other) => Number(other.dataset.at) <= Number(item.dataset.at))
  before ? before.after(item) : log.prepend(item)
  for (const each of [item, item.nextElementSibling]) {
    each?.classList.toggle('same', each.previousElementSibling?.dataset.by === each.dataset.by)
  }
  if (wasAtNewest || item.matches('.pending')) log.scrollTop = log.scrollHeight
  if (item.matches('.line:not(.mine)') && (!wasAtNewest || document.hidden)) showUnread(unread + 1)
}

function isAtNewest() {
  const { scrollHeight, scrollTop, clientHeight } = at('log')
  return scrollHeight - scrollTop - clientHeight < 60
}

function toNewest() {
  at('log').scrollTop = at('log').scrollHeight
  showUnread(0)
}

function showUnread(count) {
  unread = count
  at('unread').hidden = count === 0 || isAtNewest()
  at('unread').textContent = `${count} new ↓`
  document.title = `${count ? `(${count}) ` : ''}Room ${room}`
}

function showChange({ room: where, at: when, name }, present) {
  if (where !== room) return
  change(name, when, present)
  showHere()
  // The other servers may have taken ours for dead. If we came back meanwhile, that is about to be told.
  if (name === me && !present) setTimeout(() => where === room && !here.has(me) && read(), 1000)
}

function showHere() {
  const names = [...here].sort((one, other) => one.localeCompare(other))
  const item = (name) => make('li', {}, make('span', {}, name, make('small', {}, name === me ? ' (you)' : '')))
  at('people').replaceChildren(...names.map(item))
  at('more').textContent = `${here.size} here · Rooms`
}

function showCounts(counts) {
  const listed = new Set(counts.map(({ room: number }) => number))
  for (const number of rooms.keys()) if (!listed.has(number)) rooms.delete(number)
  counts.forEach(showCount)
  showRooms()
}

function showCount(count) {
  if (!(count.at < rooms.get(count.room)?.at)) rooms.set(count.room, count)
}

function showRooms() {
  for (const list of document.querySelectorAll('.rooms')) {
    const numbers = [...new Set([...rooms.keys(), ...(room === undefined ? [] : [room])])].sort((one, other) => one - other)
    const link = (number) => {
      const count = make('span', {}, rooms.get(number)?.here ? `${rooms.get(number).here} here` : 'empty')
      const item = make('a', { href: `#${number}` }, `Room ${number}`, count)
      if (number === room) item.setAttribute('aria-current', 'page')
      return make('li', {}, item)
    }
    list.replaceChildren(...numbers.map(link))
  }
}

function showState({ state }) {
  const words = { connected: 'Connected', connecting: 'Connecting…', reconnecting: 'Reconnecting…', disconnected: 'Disconnected' }
  at('state').dataset.state = state
  at('state').textContent = words[state]
  at('reconnect').hidden = state !== 'disconnected'
  at('people').classList.toggle('stale', state !== 'connected')
  at('text').placeholder = state === 'connected' ? 'Say something' : 'Say something, for later'
}

/** On a phone. */
function showSide(open) {
  at('side').classList.toggle('open', open)
  at('more').setAttribute('aria-expanded', open)
  if (open) at('side').focus()
}

// What the person does.

/** Sends one after the other, so that they arrive in order. */
async function send(words) {
  outbox.push(words)
  if (words.room === room) showPending(words)
  if (outbox.length > 1) return
  for (let next; (next = outbox[0]); outbox.shift()) {
    const { room: where, ...line } = next
    const problem = await problemOf(ask('post', path(where), line))
    tell(problem)
    // If there is none, the line itself takes the place of what is pending.
    if (!problem) continue
    pending(next.id)?.remove()
    at('text').value = [next.text, at('text').value].filter(Boolean).join('\n')
  }
}

at('composer').addEventListener('submit', (event) => {
  event.preventDefault()
  const text = at('text').value
  at('text').value = ''
  at('text').focus()
  // The server keeps one line of an id, so it is safe to send it again.
  const id = crypto.getRandomValues(new Uint32Array(4)).join('-')
  if (text.trim()) send({ room, id, from: me, text })
})

at('text').addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return
  event.preventDefault()
  at('composer').requestSubmit()
})

at('entrance').addEventListener('submit', (event) => {
  event.preventDefault()
  const name = at('name').value.trim()
  if (name !== me) leave()
  me = name
  sessionStorage.setItem('name', me)
  openRoom(at('room').value)
})

at('door').addEventListener('submit', (event) => {
  event.preventDefault()
  openRoom(at('another').value)
  at('door').reset()
})

function openRoom(number) {
  const hash = `#${Number(number)}`
  if (location.hash === hash) go()
  else location.hash = hash
}

at('rename').addEventListener('click', showEntrance)
at('more').addEventListener('click', () => showSide(!at('side').matches('.open')))
at('side').addEventListener('keydown', (event) => {
  if (event.key !== 'Escape') return
  showSide(false)
  at('more').focus()
})
at('reconnect').addEventListener('click', () => socket.reconnect())
at('unread').addEventListener('click', toNewest)
// What waits for long grows by the words that say so.
at('log').addEventListener('animationend', () => isAtNewest() && toNewest())
at('log').addEventListener('scroll', () => isAtNewest() && !document.hidden && showUnread(0))
document.addEventListener('visibilitychange', () => isAtNewest() && !document.hidden && showUnread(0))
addEventListener('hashchange', go)

readRooms()
go()
