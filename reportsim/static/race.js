// The race: its controls redraw the prediction; while it runs, the bars grow between two polls.

const race = document.getElementById('race')
const form = document.getElementById('race-form')
const calm = matchMedia('(prefers-reduced-motion: reduce)')
const POLL_MS = 300
const paused = () => 'paused' in document.documentElement.dataset

// Redraw: the server renders, the elements with these ids are replaced.
const PARTS = ['race-head', 'distribution', 'race-plug', 'race-sides']
let latest = 0
let drawnAt = performance.now()

async function draw (url) {
  const number = ++latest
  const response = await fetch(url)
  const page = new DOMParser().parseFromString(await response.text(), 'text/html')
  const next = page.getElementById('race')
  if (!response.ok || !next || number !== latest) return
  const open = document.querySelector('#race-sides details')?.open
  for (const id of PARTS) {
    const [old, fresh] = [document.getElementById(id), page.getElementById(id)]
    if (old && fresh && !old.isEqualNode(fresh)) old.replaceWith(document.importNode(fresh, true))
  }
  if (open) document.querySelector('#race-sides details').open = true
  drawnAt = performance.now()
  const wasRunning = 'running' in race.dataset
  race.toggleAttribute('data-running', 'running' in next.dataset)
  race.dataset.race = next.dataset.race
  form.querySelector('.big').replaceWith(document.importNode(page.querySelector('#race-form .big'), true))
  if (wasRunning && !('running' in race.dataset)) dispatchEvent(new CustomEvent('announce', { detail: document.querySelector('#race-sides .verdict').textContent }))
}

const preview = () => `${form.dataset.preview}&${new URLSearchParams(new FormData(form))}`
const current = () => `${form.dataset.preview}&${location.search.slice(1)}`
let waiting
form.addEventListener('input', ({ target }) => {
  const value = target.parentElement.querySelector('.value')
  if (value) value.textContent = value.textContent.replace(/^[\d.]+/, target.value)
  if ('running' in race.dataset) return
  clearTimeout(waiting)
  waiting = setTimeout(() => draw(preview()).catch(() => {}), 120)
})

// Start, and pull the plug: posted without leaving the page; without JavaScript the same form redirects.
const ACTIONS = {
  race: async url => {
    history.replaceState(null, '', url)
    await draw(current())
    run()
  },
  plug: () => draw(current())
}
form.addEventListener('submit', async event => {
  const button = event.submitter
  const done = ACTIONS[button?.value]
  if (!done) return
  event.preventDefault()
  const body = new URLSearchParams(new FormData(form, button))
  button.disabled = true
  try {
    const response = await fetch(button.getAttribute('formaction') ?? form.getAttribute('action'), { method: 'POST', body, redirect: 'follow' })
    if (!new URL(response.url).searchParams.has('race')) {
      const page = new DOMParser().parseFromString(await response.text(), 'text/html')
      throw new Error(page.querySelector('.refused p, .narrow > h1 + p')?.textContent ?? `The service answered ${response.status}.`)
    }
    await done(response.url)
  } catch (error) {
    button.disabled = false
    dispatchEvent(new CustomEvent('alarm', { detail: error.message }))
  }
})

let running
async function run () {
  if (running) return
  running = true
  requestAnimationFrame(grow)
  while ('running' in race.dataset) {
    await new Promise(resolve => setTimeout(resolve, calm.matches ? 1000 : POLL_MS))
    if (!document.hidden && !paused()) await draw(current()).catch(() => {})
  }
  running = false
}

let grownAt = 0
function grow (moment) {
  if (!('running' in race.dataset)) return
  requestAnimationFrame(grow)
  if (paused() || (calm.matches && moment - grownAt < 1000)) return
  grownAt = moment
  const sides = document.getElementById('race-sides')
  const { now, length } = sides.dataset
  if (Number(now) === 0) return
  const at = Math.min(100 * (Number(now) + performance.now() - drawnAt) / length, 100)
  for (const bar of sides.querySelectorAll('[data-open]')) bar.setAttribute('width', `${Math.max(at - parseFloat(bar.getAttribute('x')), 0)}%`)
}

if ('running' in race.dataset) run()
