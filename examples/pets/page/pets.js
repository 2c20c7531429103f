// The page: lists of records that stay as the database has them. `io.socket` is catamaran's client, whose README says what its
// own events mean; those named after a model are the messages of Sails.

const at = (id) => document.getElementById(id)
const socket = io.socket

/** Who we are, in this window: `/?user=1`. */
const me = Number(new URLSearchParams(location.search).get('user')) || null
socket.headers = me ? { 'x-user': `${me}` } : {}

/** What is shown, a list for each model; `heard` counts the messages about it. */
const lists = {
  user: { url: '/user?limit=1000', records: new Map(), heard: 0 },
  pet: { url: '/pet?populate=toys&limit=1000', records: new Map(), heard: 0 },
  toy: { url: '/toy?limit=1000', records: new Map(), heard: 0 },
}
const { user: people, pet: pets, toy: toys } = Object.fromEntries(
  Object.entries(lists).map(([model, { records }]) => [model, records]),
)

// Reading, which subscribes: the server tells every change from then on.

/** Asks until there is an answer. */
async function ask(method, url, data, more = {}) {
  for (;;) {
    try {
      return await socket.request({ method, url, data, ...more })
    } catch (error) {
      if (!['disconnected', 'expired', 'timeout'].includes(error.code)) throw error
    }
  }
}

async function read(model) {
  const list = lists[model]
  // What is heard before the answer may be newer than that.
  for (let heard; heard !== list.heard; ) {
    heard = list.heard
    const { statusCode, body } = await ask('get', list.url)
    if (statusCode !== 200) return tell(body)
    replace(model, body)
  }
}

function replace(model, records) {
  lists[model].records.clear()
  for (const record of records) put(model, record)
  show()
}

/** Keeps what is known of a record; of its toys only which ones they are. */
function put(model, record) {
  const { records } = lists[model]
  const known = { ...(model === 'pet' && { toys: [] }), ...records.get(record.id), ...record }
  if (known.toys) known.toys = known.toys.map((toy) => toy.id ?? toy)
  records.set(record.id, known)
}

// What the server tells.

for (const model of Object.keys(lists)) {
  socket.on(model, (message) => {
    lists[model].heard++
    hear(model, message)
    show()
    flash(model, message.id)
  })
}

function hear(model, { verb, id, data, attribute, addedId, removedId }) {
  if (verb === 'created' || verb === 'updated') put(model, { ...data, id })
  if (verb === 'destroyed') lists[model].records.delete(id)
  // It may be an old one that we see only now, so it may have toys.
  if (model === 'pet' && verb === 'created') readToys(id)
  const pet = model === 'pet' && pets.get(id)
  if (!pet || attribute !== 'toys') return
  if (verb === 'addedTo' && !pet.toys.includes(addedId)) pet.toys = [...pet.toys, addedId]
  if (verb === 'removedFrom') pet.toys = pet.toys.filter((toy) => toy !== removedId)
}

async function readToys(id) {
  // The list is what we are subscribed by, so this need not be repeated after a reconnect.
  const { statusCode, body } = await ask('get', `/pet/${id}/toys`, undefined, { resume: false })
  if (statusCode !== 200 || !pets.has(id)) return
  put('pet', { id, toys: body })
  show()
}

socket.on('state', showState)

// After a reconnect what we missed comes by itself, or, where that cannot be, here is all anew.
socket.on('resubscribed', ({ url, recovered, body }) => {
  const [model] = Object.entries(lists).find(([, list]) => list.url === url) ?? []
  if (model && !recovered) replace(model, body)
})

// It comes on a live connection, too.
socket.on('gap', ({ channel: model }) => {
  if (lists[model]) read(model)
})

// What the person does. The server tells everybody but us, who have the answer.

async function change(model, method, url, data) {
  const { heard } = lists[model]
  const answer = await socket.request({ method, url, data }).catch(({ message }) => ({ error: message }))
  if (answer.error) tell(answer.body ?? answer.error)
  else {
    tell()
    if (method === 'delete' && url === `/${model}/${answer.body.id}`) lists[model].records.delete(answer.body.id)
    else put(model, answer.body)
  }
  show()
  // Of two who change it at once, the answer does not say who was the last.
  if (lists[model].heard !== heard) read(model)
  return !answer.error
}

/** What went wrong, in the words of the server. */
function tell(problem) {
  const said = problem?.problems?.map(({ message }) => message).join(', ') || problem?.details || problem?.message || problem
  at('problem').textContent = { Forbidden: 'Only its owner may do that.', 'Not Found': 'It is not there any more.' }[said] ?? said ?? ''
}

for (const [form, model] of [[at('new-pet'), 'pet'], [at('new-toy'), 'toy']]) {
  form.addEventListener('submit', async (event) => {
    event.preventDefault()
    const { name, label, private: hidden } = form.elements
    const record = model === 'pet' ? { name: name.value.trim(), private: hidden.checked, owner: me } : { label: label.value.trim() }
    if (await change(model, 'post', `/${model}`, record)) form.reset()
  })
}

at('reconnect').addEventListener('click', () => socket.reconnect())

// What is shown.

function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties)
  element.append(...children)
  return element
}

function show() {
  showList('user', userItem, fillUser)
  showList('pet', petItem, fillPet)
  showList('toy', toyItem, fillToy)
  at('nobody').ariaCurrent = me === null ? 'page' : null
}

const sorted = (records) => [...records.values()].sort((one, other) => one.id - other.id)

/** Makes a list have an item for each record, in the order of their ids, and leaves those alone that it has. */
function showList(model, item, fill) {
  const { records } = lists[model]
  const list = at(model)
  for (const each of [...list.children]) if (!records.has(Number(each.dataset.id))) each.remove()
  let next = list.firstElementChild
  for (const record of sorted(records)) {
    if (Number(next?.dataset.id) === record.id) next = next.nextElementSibling
    else {
      const made = item(record)
      made.dataset.id = record.id
      list.insertBefore(made, next)
    }
    fill(list.querySelector(`:scope > [data-id="${record.id}"]`), record)
  }
}

const userItem = ({ id }) => make('li', {}, make('a', { href: `/?user=${id}` }))

function fillUser(item, { id, name }) {
  const link = item.firstElementChild
  link.textContent = name
  link.ariaCurrent = id === me ? 'page' : null
}

function petItem({ id }) {
  const update = (data) => change('pet', 'patch', `/pet/${id}`, data)
  const owner = make('select', { className: 'owner', onchange: () => update({ owner: Number(owner.value) || null }) })
  const give = make('select', { className: 'give', onchange: () => change('pet', 'put', `/pet/${id}/toys/${give.value}`) })
  const hidden = make('input', { type: 'checkbox', onchange: () => update({ private: hidden.checked }) })
  return make(
    'li',
    { className: 'pet' },
    name(40, (name) => update({ name })),
    make('label', { className: 'private' }, hidden, ' Private'),
    remove(() => change('pet', 'delete', `/pet/${id}`)),
    make('div', {}, make('label', {}, 'Owner ', owner), make('ul', { className: 'toys' }), give),
  )
}

function fillPet(item, { id, name, private: hidden, owner, toys: had }) {
  const mine = me !== null && owner === me
  fillName(item, name, mine)
  item.classList.toggle('hidden', hidden)
  const box = item.querySelector('.private input')
  box.checked = hidden
  box.disabled = !mine
  // Somebody may take in a stray.
  item.querySelector('.owner').disabled = !mine && (me === null || owner !== null)
  fillChoice(item.querySelector('.owner'), [['', 'nobody'], ...sorted(people).map(({ id, name }) => [id, name])], owner ?? '')
  const chip = (toy) => {
    const label = `Take ${toy.label} from ${name}`
    const take = make('button', { type: 'button', ariaLabel: label, disabled: !mine, onclick: () => change('pet', 'delete', `/pet/${id}/toys/${toy.id}`) }, '×')
    return make('li', {}, make('span', {}, toy.label), take)
  }
  const known = had.map((toy) => toys.get(toy)).filter(Boolean)
  item.querySelector('.toys').replaceChildren(...known.map(chip))
  const others = sorted(toys).filter((toy) => !had.includes(toy.id))
  const give = item.querySelector('.give')
  give.ariaLabel = `Give ${name} a toy`
  give.hidden = !mine || others.length === 0
  fillChoice(give, [['', 'Give a toy…'], ...others.map(({ id, label }) => [id, label])], '')
}

function toyItem({ id }) {
  return make(
    'li',
    { className: 'toy' },
    name(40, (label) => change('toy', 'patch', `/toy/${id}`, { label })),
    remove(() => change('toy', 'delete', `/toy/${id}`)),
    make('small', {}),
  )
}

function fillToy(item, { id, label }) {
  fillName(item, label, me !== null)
  const players = sorted(pets).filter((pet) => pet.toys.includes(id)).map((pet) => pet.name)
  item.querySelector('small').textContent = players.length > 0 ? `${players.join(', ')} ${players.length > 1 ? 'play' : 'plays'} with it` : 'Nobody plays with it'
}

/** A name that can be changed where it stands. */
function name(maxLength, rename) {
  const field = make('input', { className: 'name', maxLength, required: true, autocomplete: 'off' })
  field.addEventListener('change', () => rename(field.value.trim()))
  field.addEventListener('keydown', ({ key }) => key === 'Enter' && field.blur())
  return field
}

function fillName(item, text, mayWrite) {
  const field = item.querySelector('.name')
  // Nobody is interrupted who types.
  if (field !== document.activeElement) field.value = text
  field.ariaLabel = `Name of ${text}`
  field.disabled = !mayWrite
  const button = item.querySelector('.remove')
  button.ariaLabel = `Remove ${text}`
  button.disabled = !mayWrite
}

const remove = (onclick) => make('button', { className: 'quiet remove', type: 'button', onclick }, '×')

/** A choice that is open stays open, unless there is something else to choose from. */
function fillChoice(select, options, value) {
  const key = JSON.stringify(options)
  if (select.dataset.options !== key) select.replaceChildren(...options.map(([value, text]) => make('option', { value }, text)))
  select.dataset.options = key
  select.value = value
}

/** Shows for a moment what somebody else changed. */
function flash(model, id) {
  const item = at(model).querySelector(`:scope > [data-id="${id}"]`)
  item?.animate([{ boxShadow: '0 0 0 .15rem var(--accent)' }, { boxShadow: '0 0 0 .15rem transparent' }], { duration: 1500 })
}

function showState({ state }) {
  const words = { connected: 'Connected', connecting: 'Connecting…', reconnecting: 'Reconnecting…', disconnected: 'Disconnected' }
  at('state').dataset.state = state
  at('state').textContent = words[state]
  at('reconnect').hidden = state !== 'disconnected'
  document.querySelector('main').classList.toggle('stale', state !== 'connected')
}

for (const form of ['new-pet', 'new-toy']) for (const field of at(form).elements) field.disabled = me === null
show()
for (const model of Object.keys(lists)) read(model)
