// Keeps a page up to date: the event stream says what changed, and the server renders it as a partial.

const [main, status, alarm, pause] = ['main', 'status', 'alert', 'pause'].map(id => document.getElementById(id))
const region = () => document.querySelector('[data-live]')
const isList = () => region().id === 'requests'

// Swap: children of elements with data-keyed are matched by id; any other element is replaced if it differs.
const fingerprint = node => [node.tagName, node.getAttribute('href'), node.closest('form')?.action, node.textContent].join()

function replace (old, next) {
  for (const { id } of old.querySelectorAll('details[open][id]')) next.querySelector(`[id="${id}"]`)?.setAttribute('open', '')
  const focused = old.contains(document.activeElement) && fingerprint(document.activeElement)
  old.replaceWith(next)
  if (!focused) return
  const matches = [...next.querySelectorAll('a, button, summary, pre')].filter(node => fingerprint(node) === focused)
  ;[...matches, main][0].focus({ preventScroll: true })
}

function swap (old, next) {
  if (old.isEqualNode(next)) return
  if (!('keyed' in old.dataset && 'keyed' in next.dataset)) return replace(old, next)
  for (const { name, value } of next.attributes) old.setAttribute(name, value)
  const ids = new Set([...next.children].map(child => child.id))
  const existing = new Map([...old.children].map(child => [child.id, child]))
  existing.forEach((child, id) => ids.has(id) || child.remove())
  let at = old.firstElementChild
  for (const child of [...next.children]) {
    const current = existing.get(child.id)
    if (current && current === at) at = at.nextElementSibling
    else old.insertBefore(current ?? child, at)
    if (current) swap(current, child)
    else child.classList.add('new')
  }
}

// Fetch: one request at a time; what changes meanwhile comes next. Rows change in place; new rows are inserted only while
// the top of the list is visible, otherwise they are counted.
const changed = new Set() // ids of changed rows in the list
const fresh = new Set() // ids of requests that are new to the list
let stale, busy, paused, loadedAt = Date.now() // stale: anything may have changed

function follows () {
  const list = document.getElementById('list')
  return !isList() || !list || (region().dataset.follows === 'true' && list.getBoundingClientRect().top >= 0)
}

async function refresh () {
  if (busy) return
  busy = true
  while (!document.hidden && !paused && (stale || changed.size || (fresh.size && follows()))) {
    await load(follows() && (stale || fresh.size > 0)).catch(() => { stale = true })
    await new Promise(resolve => setTimeout(resolve, stale ? 1000 : 250))
  }
  busy = false
  const note = document.getElementById('fresh')
  if (note) note.firstElementChild.textContent = `${fresh.size} new – show`
  if (note) note.hidden = !fresh.size
}

async function load (whole) {
  if (stale && !whole) document.querySelectorAll('#rows > tr').forEach(row => changed.add(row.id.slice(2)))
  ;[stale, loadedAt] = [false, Date.now()]
  const url = new URL(region().dataset.live, location)
  const ids = [...changed].slice(0, 50)
  if (whole) fresh.clear()
  else url.searchParams.set('ids', ids.join())
  for (const id of whole ? [...changed] : ids) changed.delete(id)
  const response = await fetch(url)
  const page = new DOMParser().parseFromString(await response.text(), 'text/html')
  if (!page.querySelector('[data-live]') && response.status !== 404) throw new Error(response.statusText)
  if (response.ok && 'absent' in region().dataset) location.reload()
  const parts = whole ? [region().id] : ['filters', ...ids.map(id => `r-${id}`)]
  for (const id of ['readiness', ...(response.ok ? parts : [])]) {
    const [old, next] = [document, page].map(from => from.getElementById(id))
    if (old && next) swap(old, document.importNode(next, true))
  }
}

// Listen: one event stream, from the state in which the page was rendered.
let stream, lost, seconds = 0
let last = new URL(main.dataset.events, location).searchParams.get('last_event_id')
const [lastStatus, counts] = [new Map(), new Map()] // the last status per request; the new requests per status to announce

function isNew (item) {
  const query = new URL(region().dataset.live, location).searchParams
  const filters = ['status', 'mode', 'callback_status'].filter(key => query.has(key))
  return item.id > region().dataset.bound && filters.every(key => query.get(key) === item[key])
}

function handle (event) {
  last = event.lastEventId
  if (event.type === 'reset' || !isList()) stale = true
  for (const item of event.type === 'requests' ? JSON.parse(event.data).items : []) {
    const row = document.getElementById(`r-${item.id}`)
    const before = lastStatus.get(item.id) ?? (row ?? document.getElementById('summary'))?.dataset.status
    if (lastStatus.size > 500) lastStatus.delete(lastStatus.keys().next().value)
    lastStatus.set(item.id, item.status)
    if (before !== item.status) counts.set(item.status, (counts.get(item.status) ?? 0) + 1)
    if (row) changed.add(item.id)
    else if (isList() && isNew(item)) fresh.add(item.id)
  }
  refresh()
}

const announce = (text, error = '') => [status.textContent, alarm.textContent] = [text, error]

function listen () {
  stream?.close()
  if (document.hidden || paused) return
  const url = new URL(main.dataset.events, location)
  url.searchParams.set('last_event_id', last)
  stream = new EventSource(url)
  for (const type of ['requests', 'callback', 'reset']) stream.addEventListener(type, handle)
  stream.addEventListener('benchmark', event => dispatchEvent(new CustomEvent('benchmark', { detail: JSON.parse(event.data) })))
  stream.onopen = () => { lost = clearTimeout(lost); announce('Live') }
  stream.onerror = () => {
    lost ??= setTimeout(announce, 1000, '', 'Connection lost. Reconnecting…')
    if (stream.readyState === EventSource.CLOSED) setTimeout(listen, 2000)
  }
  refresh()
}

setInterval(() => {
  const summary = [...counts].map(([state, count]) => isList() ? `${count} ${state}` : state).join(', ')
  if (++seconds % 5 === 0) counts.clear()
  if (summary && !counts.size && !paused && !lost) announce(`Live: ${summary}`)
  if (Date.now() - loadedAt > (document.querySelector('[data-ready=false]') ? 2000 : 15000)) stale = true
  if (stale || fresh.size) refresh()
  for (const node of document.querySelectorAll('[data-until]')) {
    const left = Math.ceil(node.dataset.until - Date.now() / 1000)
    node.textContent = left > 0 ? `in ${left} s` : ''
  }
}, 1000)

pause.onclick = () => {
  paused = !paused
  document.documentElement.toggleAttribute('data-paused', paused)
  pause.textContent = paused ? 'Resume' : 'Pause'
  announce(paused ? 'Paused' : '')
  listen()
}

document.onclick = ({ target }) => {
  const text = document.getElementById(target.closest('[data-copy]')?.dataset.copy)
  if (text) getSelection().selectAllChildren(text)
  if (text) navigator.clipboard?.writeText(text.textContent).then(() => announce('Copied'), () => {})
}

// Other scripts of the page use the same status and alert.
// What they announce stands on the page itself, so that only those who do not see it are told.
addEventListener('announce', ({ detail }) => {
  announce('Live')
  status.append(Object.assign(document.createElement('span'), { className: 'unseen', textContent: `: ${detail}` }))
})
addEventListener('stale', () => { stale = true; refresh() })
addEventListener('alarm', ({ detail }) => { announce('', detail); setTimeout(() => lost || announce(''), 8000) })

document.onvisibilitychange = listen
document.documentElement.classList.add('js')
listen()
