// What the published `sails.io.js` hears of each change to a record: the messages of Sails, in its order.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { freshSails } from './clients.js'
import { database } from './pets.js'
import { overHttp, startExample } from './server.js'
import { within } from './within.js'

const [ANN, BOB] = [1, 2]

// What the database begins with. Rex has the toy 1.
const REX = { id: 1, name: 'Rex', private: false, owner: ANN }
const MITTENS = { id: 2, name: 'Mittens', private: true, owner: ANN }
const POLLY = { id: 3, name: 'Polly', private: false, owner: BOB }
const BALL = { id: 1, label: 'Ball' }
const MOUSE = { id: 2, label: 'Mouse' }
const PERSON = { ann: { id: 1, name: 'Ann' }, bob: { id: 2, name: 'Bob' } }

const created = (model, data) => [model, { verb: 'created', data, id: data.id }]
const updated = (model, previous, data) => [model, { verb: 'updated', data: { ...data, id: previous.id }, id: previous.id, previous }]
const destroyed = (model, previous) => [model, { verb: 'destroyed', id: previous.id, previous }]
const addedTo = (model, id, attribute, addedId) => [model, { id, verb: 'addedTo', attribute, addedId }]
const removedFrom = (model, id, attribute, removedId) => [model, { id, verb: 'removedFrom', attribute, removedId }]

const MAX = { id: 4, name: 'Max', private: false, owner: ANN }
const CY = { id: 3, name: 'Cy' }
const BONE = { id: 3, label: 'Bone' }

/** What Ann asks, or somebody else, the answer, and what is told of it. */
const CHANGES = {
  'a new record': [['post', '/toy', { label: 'Bone' }], BONE, [created('toy', BONE)]],
  'a new record with a key, after the record that it leads to': [
    ['post', '/pet', { name: 'Max', owner: ANN }],
    MAX,
    [addedTo('user', ANN, 'pets', 4), created('pet', MAX)],
  ],
  'a new record without what is hidden': [
    ['post', '/user', { name: 'Cy', email: 'cy@example.org', password: 's3cret' }],
    CY,
    [created('user', CY)],
  ],
  'a new record with members of many to many': [
    ['post', '/pet', { name: 'Max', owner: ANN, toys: [1, 2] }],
    MAX,
    [addedTo('user', ANN, 'pets', 4), addedTo('toy', 1, 'pets', 4), addedTo('toy', 2, 'pets', 4), created('pet', MAX)],
  ],
  'an update': [['patch', '/pet/1', { name: 'Max' }], { ...REX, name: 'Max' }, [updated('pet', REX, { name: 'Max' })]],
  'an update as Sails once asked for it': [
    ['put', '/toy/1', { label: 'Balloon' }],
    { ...BALL, label: 'Balloon' },
    [updated('toy', BALL, { label: 'Balloon' })],
  ],
  'an update of a key': [
    ['patch', '/pet/1', { owner: BOB }],
    { ...REX, owner: BOB },
    [removedFrom('user', ANN, 'pets', 1), addedTo('user', BOB, 'pets', 1), updated('pet', REX, { owner: BOB })],
  ],
  'the end of a record, and of what led to it': [
    ['delete', '/pet/1'],
    REX,
    [destroyed('pet', REX), removedFrom('toy', 1, 'pets', 1), removedFrom('user', ANN, 'pets', 1)],
  ],
  'the end of a record that keys lead to': [
    ['delete', '/user/2'],
    PERSON.bob,
    [destroyed('user', PERSON.bob), updated('pet', POLLY, { owner: null })],
    BOB,
  ],
  'nothing of a member that is one already': [['put', '/user/1/pets/1'], { ...PERSON.ann, pets: [REX, MITTENS] }, []],
  'a member less': [
    ['delete', '/user/1/pets/1'],
    { ...PERSON.ann, pets: [MITTENS] },
    [removedFrom('user', ANN, 'pets', 1), updated('pet', REX, { owner: null })],
  ],
  'a member of many to many': [
    ['put', '/pet/1/toys/2'],
    { ...REX, toys: [BALL, MOUSE] },
    [addedTo('pet', 1, 'toys', 2), addedTo('toy', 2, 'pets', 1)],
  ],
  'a member of many to many less': [
    ['delete', '/pet/1/toys/1'],
    { ...REX, toys: [] },
    [removedFrom('pet', 1, 'toys', 1), removedFrom('toy', 1, 'pets', 1)],
  ],
  'other members: who goes': [
    ['put', '/user/2/pets', []],
    { ...PERSON.bob, pets: [] },
    [removedFrom('user', BOB, 'pets', 3), updated('pet', POLLY, { owner: null })],
    BOB,
  ],
  'other members of many to many': [
    ['put', '/pet/1/toys', [2]],
    { ...REX, toys: [MOUSE] },
    [
      addedTo('pet', 1, 'toys', 2),
      addedTo('toy', 2, 'pets', 1),
      removedFrom('pet', 1, 'toys', 1),
      removedFrom('toy', 1, 'pets', 1),
    ],
  ],
}

for (const [what, [request, answer, messages, who = ANN]] of Object.entries(CHANGES)) {
  for (const transport of ['a socket', 'HTTP']) {
    test(`told is ${what}; asked by ${transport}`, async (t) => {
      const server = await pets(t)
      const [writer, watcher] = [await connect(t, server, who), await connect(t, server, ANN)]
      for (const socket of [writer, watcher]) await watchAll(socket)

      const ask = transport === 'HTTP' ? (...request) => askHttp(server, who, ...request) : writer.ask
      assert.deepEqual(await ask(...request), { statusCode: 200, body: answer })
      const [toWatcher, toWriter] = await told(server, watcher, writer)
      assert.deepEqual(toWatcher, messages)
      // Who asked by a socket knows; by HTTP, that socket is somebody else's.
      assert.deepEqual(toWriter, transport === 'HTTP' ? messages : [])
    })
  }
}

test('nothing is told of what was refused', async (t) => {
  const server = await pets(t)
  const [writer, watcher] = [await connect(t, server, BOB), await connect(t, server, ANN)]
  await watchAll(watcher)
  for (const [method, url, data, status] of [
    ['patch', '/pet/1', { name: '' }, 400],
    ['patch', '/pet/1', { nobody: 1 }, 400],
    ['patch', '/pet/1', { name: 'Max', private: true }, 403],
    ['patch', '/pet/2', { name: 'Mine' }, 404],
    ['post', '/user', { name: 'Ann', email: 'ann@example.org', password: 's3cret', pets: [3] }, 400],
    ['put', '/user/2/pets', [3, 2], 404],
    ['put', '/user/2/pets/2', undefined, 404],
    ['delete', '/pet/2', undefined, 404],
    // What is Ann's she changes herself, whichever way Bob comes.
    ['delete', '/pet/1', undefined, 403],
    ['put', '/user/2/pets/1', undefined, 403],
    ['patch', '/user/2', { pets: [1, 3] }, 403],
    ['post', '/user', { name: 'Cy', email: 'cy@example.org', password: 's3cret', pets: [3] }, 403],
    ['delete', '/user/1/pets/1', undefined, 403],
    ['post', '/pet', { name: 'Max', owner: ANN }, 403],
    ['put', '/pet/1/toys/2', undefined, 403],
    ['delete', '/pet/1/toys/1', undefined, 403],
    ['put', '/pet/1/toys', [], 403],
    ['put', '/toy/2/pets/1', undefined, 403],
    ['post', '/toy', { label: 'Bone', pets: [1] }, 400],
    ['delete', '/toy/1', undefined, 403],
    ['patch', '/user/1', { name: 'Anna' }, 403],
    ['delete', '/user/1', undefined, 403],
  ]) {
    assert.equal((await writer.ask(method, url, data)).statusCode, status, `${method} ${url}`)
  }
  assert.deepEqual(await told(server, watcher), [[]])
})

test('a record that gets out of sight ends, and begins again when it is back', async (t) => {
  const server = await pets(t)
  const [ann, bob] = [await connect(t, server, ANN), await connect(t, server, BOB)]
  await watchAll(bob)
  assert.deepEqual((await bob.ask('get', '/pet')).body, [REX, POLLY])

  await ann.ask('patch', '/pet/1', { private: true })
  assert.deepEqual(await told(server, bob), [[['pet', { verb: 'destroyed', id: 1 }]]])
  assert.equal((await bob.ask('get', '/pet/1')).statusCode, 404)
  await ann.ask('patch', '/pet/1', { name: 'Max' })
  await ann.ask('put', '/pet/1/toys/2')
  await ann.ask('post', '/pet', { name: 'Secret', private: true, owner: ANN })
  assert.deepEqual(await told(server, bob), [[]])
  await ann.ask('patch', '/pet/1', { private: false })
  assert.deepEqual(await told(server, bob), [[created('pet', { ...REX, name: 'Max' })]])
})

test('who asked for one record hears of that, who asked for the list of new ones as well', async (t) => {
  const server = await pets(t)
  const [one, all] = [await connect(t, server, ANN), await connect(t, server, ANN)]
  await one.ask('get', '/pet/1')
  await all.ask('get', '/pet')
  for (const socket of [one, all]) await socket.ask('get', '/toy')
  const change = (...request) => askHttp(server, ANN, ...request)
  await change('post', '/pet', { name: 'Max', owner: ANN })
  await change('patch', '/pet/4', { name: 'Moritz' })
  await change('patch', '/pet/1', { name: 'Roy' })

  const rex = updated('pet', REX, { name: 'Roy' })
  const heard = await told(server, one, all)
  assert.deepEqual(heard, [[rex], [created('pet', MAX), updated('pet', MAX, { name: 'Moritz' }), rex]])
})

async function pets(t) {
  const server = await startExample('pets', 0, database(t))
  // At once, since sockets are still connected.
  t.after(() => server.stop('SIGINT'))
  return server
}

/** A socket of somebody. `heard` has its messages, oldest first. */
async function connect(t, server, user) {
  const io = freshSails('socket.io-client-2.0')
  const socket = io.sails.connect(server.url, { headers: { 'x-user': `${user}` } })
  t.after(() => socket._raw.close())
  const heard = []
  let arrived = () => {}
  for (const model of ['user', 'pet', 'toy']) {
    socket.on(model, (message) => {
      heard.push([model, message])
      arrived()
    })
  }
  const ask = (method, url, data) => {
    const answered = new Promise((resolve) => {
      socket.request({ method, url, data }, (body, { statusCode }) => resolve({ statusCode, body }))
    })
    return within(answered, `${method} ${url} is answered`)
  }
  /** Takes what was heard before this toy was made. */
  const before = async (toy) => {
    const isLast = ([model, { verb, id }]) => model === 'toy' && verb === 'created' && id === toy
    const there = new Promise((resolve) => (arrived = () => heard.some(isLast) && resolve()))
    arrived()
    await within(there, `the toy ${toy} is heard of, after ${JSON.stringify(heard)}`)
    return heard.splice(0, heard.findIndex(isLast) + 1).slice(0, -1)
  }
  return { ask, before }
}

async function watchAll({ ask }) {
  for (const model of ['user', 'pet', 'toy']) assert.equal((await ask('get', `/${model}`)).statusCode, 200)
}

async function askHttp(server, user, method, url, data) {
  const { statusCode, body } = await overHttp(server, { method, url, data, headers: { 'x-user': `${user}` } })
  return { statusCode, body }
}

/** What each of these sockets was told, up to now; they hear of toys, and one that is made for this is the last. */
async function told(server, ...sockets) {
  const { body } = await askHttp(server, ANN, 'post', '/toy', { label: 'the last' })
  return Promise.all(sockets.map((socket) => socket.before(body.id)))
}
