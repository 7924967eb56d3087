// The race: its controls redraw what to expect, and while it runs its bars grow between two looks at the service.

const race = document.getElementById('race')
const form = document.getElementById('race-form')
const calm = matchMedia('(prefers-reduced-motion: reduce)')
const LOOK_MS = 300
const paused = () => 'paused' in document.documentElement.dataset

// Redrawing: the server renders, the parts with these ids are replaced.
const PARTS = ['race-head', 'distribution', 'lanes']
let asked = 0
let drawnAt = performance.now()

async function draw (url) {
  const mine = ++asked
  const response = await fetch(url)
  const page = new DOMParser().parseFromString(await response.text(), 'text/html')
  const next = page.getElementById('race')
  if (!response.ok || !next || mine !== asked) return
  const open = document.querySelector('#lanes details')?.open
  for (const id of PARTS) {
    const [old, fresh] = [document.getElementById(id), page.getElementById(id)]
    if (!old.isEqualNode(fresh)) old.replaceWith(document.importNode(fresh, true))
  }
  if (open) document.querySelector('#lanes details').open = true
  drawnAt = performance.now()
  const raced = 'racing' in race.dataset
  race.toggleAttribute('data-racing', 'racing' in next.dataset)
  race.dataset.race = next.dataset.race
  form.querySelector('.big').replaceWith(document.importNode(page.querySelector('#race-form .big'), true))
  if (raced && !('racing' in race.dataset)) dispatchEvent(new CustomEvent('say', { detail: document.querySelector('#lanes .verdict').textContent }))
}

const preview = () => `${form.dataset.preview}&${new URLSearchParams(new FormData(form))}`
const current = () => `${form.dataset.preview}&${location.search.slice(1)}`
let waiting
form.addEventListener('input', ({ target }) => {
  const value = target.parentElement.querySelector('.value')
  if (value) value.textContent = value.textContent.replace(/^[\d.]+/, target.value)
  if ('racing' in race.dataset) return
  clearTimeout(waiting)
  waiting = setTimeout(() => draw(preview()).catch(() => {}), 120)
})

// Running: sent without leaving the page; without script the same form does it by a redirect.
form.addEventListener('submit', async event => {
  if (event.submitter?.value !== 'race') return
  event.preventDefault()
  const body = new URLSearchParams(new FormData(form))
  body.set('mode', 'race')
  event.submitter.disabled = true
  try {
    const response = await fetch('/', { method: 'POST', body, redirect: 'follow' })
    const id = new URL(response.url).searchParams.get('race')
    if (!id) {
      const page = new DOMParser().parseFromString(await response.text(), 'text/html')
      throw new Error(page.querySelector('.refused p')?.textContent ?? `The service answered ${response.status}.`)
    }
    history.replaceState(null, '', response.url)
    await draw(current())
    run()
  } catch (error) {
    form.querySelector('.big').disabled = false
    dispatchEvent(new CustomEvent('alarm', { detail: error.message }))
  }
})

let running
async function run () {
  if (running) return
  running = true
  requestAnimationFrame(grow)
  while ('racing' in race.dataset) {
    await new Promise(resolve => setTimeout(resolve, calm.matches ? 1000 : LOOK_MS))
    if (!document.hidden && !paused()) await draw(current()).catch(() => {})
  }
  running = false
}

let grownAt = 0
function grow (moment) {
  if (!('racing' in race.dataset)) return
  requestAnimationFrame(grow)
  if (paused() || (calm.matches && moment - grownAt < 1000)) return
  grownAt = moment
  const lanes = document.getElementById('lanes')
  const { now, longest } = lanes.dataset
  if (Number(now) === 0) return
  const at = Math.min(100 * (Number(now) + performance.now() - drawnAt) / longest, 100)
  for (const bar of lanes.querySelectorAll('[data-open]')) bar.setAttribute('width', `${Math.max(at - parseFloat(bar.getAttribute('x')), 0)}%`)
}

if ('racing' in race.dataset) run()
