// The cliff: draws the trajectories that the server has simulated, at one moment after the other.

const cliff = document.getElementById('cliff')
const all = (selector, from = cliff) => [...from.querySelectorAll(selector)]
const one = (selector, from = cliff) => from.querySelector(selector)
const calm = matchMedia('(prefers-reduced-motion: reduce)')
const [slider, form, speed] = ['cliff-load', 'cliff-form', 'cliff-speed'].map(id => document.getElementById(id))
const picture = await (await fetch(cliff.dataset.document)).json()

// As in the still that the server draws: clients stand in columns, in the order of their arrival.
const [ROWS, PITCH] = [8, 10]
const QUEUE_END = 125 // the right edge of the queue, beside the workers
const WORK_WIDTH = 58
const [FIRST_MOMENT, HOLD] = [4000, 2500] // where the picture begins, and how long it stands at its end
const ONE_SLOWER = 8 // a single request is shown slower still
const BUSY_FRAME_MS = 100 // frames are rarer while a run measures this machine
const SILENCE_MS = 5000 // how long a run may say nothing before it is looked at
const dot = (x, y) => `M${x} ${y}h0`
const cross = (x, y) => `M${x - 3} ${y - 3}l6 6m0-6l-6 6`

let step = 4
let run // what is drawn: a trajectory, and what the step shows of it
let moment = FIRST_MOMENT
let playing = false
let visible = true

function choose () {
  const load = slider.value
  const trajectory = [picture.one, picture.fixed[load], picture.chance[load], picture.chance[load], picture.chance[load]][step - 1]
  run = {
    ...trajectory,
    gone: new Set(step >= 4 ? trajectory.gave_up : []),
    retries: step === 5 ? trajectory.callbacks : {}
  }
  run.end = Math.max(...run.ends, ...Object.values(run.retries).flat())
  for (const figure of all('.clients svg')) {
    const sync = figure.closest('.sync')
    figure.classList.toggle('one', step === 1)
    figure.setAttribute('aria-label', `${run.arrivals.length} ${sync ? 'sync' : 'async'} clients, of whom ${(sync && run.gone.size) || 'none'} timed out`)
  }
  one('.median').textContent = `${run.median_ms} ms`
}

// One moment: each client and each request is in a state, and each state is one path.
function draw () {
  const lanes = { sync: lane(), async: lane() }
  const count = run.arrivals.length
  let waiting = 0
  for (let index = 0; index < count && run.arrivals[index] <= moment; index++) {
    const [start, end, attempts] = [run.starts[index], run.ends[index], run.retries[index]]
    const left = run.gone.has(index) && moment >= run.arrivals[index] + picture.timeout_ms
    const delivered = attempts ? attempts.at(-1) : end
    const states = {
      sync: left ? 'gone' : moment < end ? 'held' : 'served',
      async: moment < end ? 'free' : moment < delivered ? 'retry' : 'served'
    }
    const spot = step === 1 ? [40, 40] : [PITCH * Math.floor(index / ROWS) + 5, PITCH * (index % ROWS) + 5]
    for (const [name, state] of Object.entries(states)) {
      lanes[name].clients[state] += (state === 'gone' ? cross : dot)(...spot)
      lanes[name].counts[state]++
    }
    if (moment < start) {
      const [x, y] = [QUEUE_END - PITCH * Math.floor(waiting / ROWS) - 5, PITCH * (waiting % ROWS) + 5]
      for (const [name, state] of Object.entries(states)) lanes[name].queue[state] += (state === 'gone' ? cross : dot)(x, y)
      waiting++
    } else if (moment < end) {
      const width = WORK_WIDTH * (moment - start) / (end - start)
      for (const [name, state] of Object.entries(states)) lanes[name].workers[run.workers[index]] = { width, wasted: state === 'gone' }
    }
  }
  for (const [name, drawn] of Object.entries(lanes)) paint(one(`.lane.${name}`), drawn)
  const seconds = time => (time / 1000).toFixed(step === 1 ? 2 : 1)
  one('.moment').textContent = `${seconds(Math.max(Math.min(moment, run.end), 0))} s of ${seconds(run.end)} s`
}

const lane = () => ({
  clients: { free: '', held: '', retry: '', served: '', gone: '' },
  queue: { free: '', held: '', gone: '' },
  counts: { free: 0, held: 0, retry: 0, served: 0, gone: 0 },
  workers: []
})

function paint (element, { clients, queue, counts, workers }) {
  for (const [state, path] of Object.entries(clients)) one(`.clients path.${state}`, element).setAttribute('d', path)
  for (const [state, path] of Object.entries(queue)) one(`.service path.${state}`, element).setAttribute('d', path)
  all('.service rect:not(.worker)', element).forEach((bar, index) => {
    bar.setAttribute('width', workers[index]?.width ?? 0)
    bar.setAttribute('class', workers[index]?.wasted ? 'wasted' : 'work')
  })
  for (const state of ['held', 'served', 'gone']) one(`.tally .${state} dd`, element).textContent = counts[state]
}

// Time: the picture goes on by itself, or by a button where motion is not wanted.
let drawnAt = 0
function tick (now) {
  if (!playing) return
  requestAnimationFrame(tick)
  const passed = now - drawnAt
  if (passed < ('measuring' in cliff.dataset ? BUSY_FRAME_MS : 0)) return
  drawnAt = now
  if (!visible || 'paused' in document.documentElement.dataset) return
  moment += Math.min(passed, 2 * BUSY_FRAME_MS) / (speed.value * (step === 1 ? ONE_SLOWER : 1))
  if (step === 1 && moment > run.end) return stop()
  if (moment > run.end + HOLD / speed.value) moment = 0
  draw()
}

function play () {
  if (playing) return
  playing = true
  one('[data-play=toggle]').textContent = 'Stop'
  drawnAt = performance.now()
  requestAnimationFrame(tick)
}

function stop () {
  playing = false
  one('[data-play=toggle]').textContent = 'Play'
  draw()
}

function jump (direction) {
  moment = Math.min(moment, run.end)
  if (direction > 0 && moment === run.end) moment = 0
  moment = Math.min(Math.max(moment + direction * (step === 1 ? 20 : 200), 0), run.end)
  stop()
}

const actions = {
  press: () => { moment = 0; calm.matches ? jump(1) : play() },
  toggle: () => {
    if (playing) return stop()
    if (moment >= run.end) moment = 0
    play()
  },
  back: () => jump(-1),
  on: () => jump(1)
}
for (const button of all('[data-play]')) button.addEventListener('click', () => actions[button.dataset.play]())

// Steps: each starts from the beginning; the single request waits for the button, and a still shows the end.
const beginning = () => step === 1 ? -1 : calm.matches ? run.end : 0

function show (number) {
  step = number
  for (const button of all('[data-step]')) {
    const current = Number(button.dataset.step) === step
    button.closest('li').classList.toggle('current', current)
    current ? button.setAttribute('aria-current', 'step') : button.removeAttribute('aria-current')
  }
  one('.plane').classList.toggle('early', step < 4)
  one('.plane figure').ariaHidden = step < 4
  one('[data-play=press]').hidden = step !== 1
  one('[data-play=toggle]').hidden = step === 1 || calm.matches
  choose()
  moment = beginning()
  step === 1 || calm.matches ? stop() : play()
  draw()
}
for (const button of all('[data-step]')) button.addEventListener('click', () => show(Number(button.dataset.step)))

// The control: the marker moves along the curve.
function move () {
  const load = Number(slider.value)
  const { share, text } = picture.curve.find(point => point.load === load)
  const [x, y] = [(load - slider.min) / (slider.max - slider.min), 1 - share].map(part => `${100 * part}%`)
  for (const name of ['x1', 'x2']) one('line.marker').setAttribute(name, x)
  one('circle.marker').setAttribute('cx', x)
  one('circle.marker').setAttribute('cy', y)
  one('.reading .load').textContent = `${load} %`
  one('.reading .sync').textContent = text
  one('.reading .shown').textContent = `${picture.chance[load].gave_up.length} of ${picture.chance[load].arrivals.length}`
  slider.setAttribute('aria-valuetext', `${load} %: ${text} of sync clients time out`)
}
slider.addEventListener('input', () => {
  move()
  if (step === 1) return show(4)
  choose()
  moment = playing ? Math.min(moment, run.end) : run.end
  draw()
})

// Measuring: the run is started without leaving the page; its point comes when the event stream says that it has ended.
let started // the id of the run that this page has asked for
const measure = () => one('[value=cliff]')
form.addEventListener('submit', async event => {
  if (event.submitter?.value !== 'cliff') return
  event.preventDefault()
  const body = new URLSearchParams({ mode: 'cliff', load: slider.value })
  wait(0)
  try {
    const response = await fetch('/', { method: 'POST', body })
    started = new URL(response.url).searchParams.get('measured')
    if (started) return
    const page = new DOMParser().parseFromString(await response.text(), 'text/html')
    throw new Error(page.querySelector('.refused p')?.textContent ?? `The service answered ${response.status}.`)
  } catch (error) {
    await refresh().catch(() => {})
    dispatchEvent(new CustomEvent('alarm', { detail: error.message }))
  }
})

function wait (progress) {
  cliff.dataset.measuring = ''
  measure().disabled = true
  measure().textContent = `Running… ${Math.round(100 * progress)} %`
  watch()
}

// A stream that was cut or paused may not have said that the run has ended.
let silence
function watch () {
  clearTimeout(silence)
  if ('measuring' in cliff.dataset) silence = setTimeout(() => refresh().catch(watch), SILENCE_MS)
}

async function refresh () {
  const response = await fetch(`/?fragment=cliff&load=${slider.value}`)
  const page = new DOMParser().parseFromString(await response.text(), 'text/html')
  const fresh = page.getElementById('cliff')
  if (!response.ok || !fresh) throw new Error(response.statusText)
  const open = one('#cliff-measured details')?.open
  for (const id of ['cliff-points', 'cliff-measured']) document.getElementById(id).replaceWith(document.importNode(page.getElementById(id), true))
  if (open) one('#cliff-measured details').open = true
  for (const part of ['[value=cliff]', '.measure .hint']) one(part).replaceWith(document.importNode(one(part, fresh), true))
  cliff.toggleAttribute('data-measuring', 'measuring' in fresh.dataset)
  watch()
}

addEventListener('benchmark', async ({ detail }) => {
  if (['PENDING', 'RUNNING'].includes(detail.status)) {
    // The server says whether this is a measurement, or something else that has to end first.
    if (!('measuring' in cliff.dataset)) await refresh().catch(() => {})
    return 'other' in measure().dataset ? watch() : wait(detail.progress)
  }
  await refresh().catch(() => {})
  const text = one('#cliff-measured p')?.textContent
  if (text && detail.id === started && detail.status === 'COMPLETED') dispatchEvent(new CustomEvent('announce', { detail: text }))
})

new IntersectionObserver(([entry]) => { visible = entry.isIntersecting }).observe(one('.stage'))
watch()
show(4)
moment = calm.matches ? run.end : FIRST_MOMENT
move()
draw()
