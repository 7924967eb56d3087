// Plays a recorded run: its picture is uncovered up to a moment, and what had happened by then is counted.

const { axis, sides } = JSON.parse(document.getElementById('recorded').textContent)
const [player, play, moment, clock, speed] = ['player', 'play', 'moment', 'clock', 'speed'].map(id => document.getElementById(id))
const figure = document.querySelector('figure')
const picture = figure.querySelector('svg')
const calm = matchMedia('(prefers-reduced-motion: reduce)')
const CALM_STEP_MS = 500
const LONGEST_FRAME_MS = 100

function add (parent, name, attributes) {
  const node = document.createElementNS('http://www.w3.org/2000/svg', name)
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value)
  return parent.appendChild(node)
}
const height = picture.viewBox.baseVal.height
const past = add(add(picture, 'clipPath', { id: 'past' }), 'rect', { x: 0, y: 0, height })
const head = add(picture, 'path', { d: `M0 30V${height - 34}`, stroke: 'currentColor', 'stroke-width': 1.5 })
for (const { name } of sides) document.getElementById(`gantt-${name}`).setAttribute('clip-path', 'url(#past)')

const three = value => String(Number(value.toPrecision(3)))
const duration = seconds => seconds === 0 || seconds >= 0.9995 ? `${three(seconds)} s` : `${three(1000 * seconds)} ms`
const happened = (moments, now) => moments.filter(at => at !== null && at <= now).length

let now = axis.end
function show (at) {
  now = Math.min(Math.max(at, axis.start), axis.end)
  const x = axis.left + (now - axis.start) / (axis.end - axis.start || 1) * (axis.right - axis.left)
  // At the end nothing is covered, not even what is drawn a little over the edge.
  past.setAttribute('width', now < axis.end ? x : picture.viewBox.baseVal.width)
  head.setAttribute('transform', `translate(${x})`)
  head.setAttribute('visibility', now < axis.end ? 'visible' : 'hidden')
  moment.value = now
  clock.textContent = `${(now - axis.start).toFixed(axis.end - axis.start < 1 ? 3 : 1)} s`
  moment.setAttribute('aria-valuetext', clock.textContent)
  for (const side of sides) {
    const row = document.getElementById(`score-${side.name}`)
    const total = side.sent.reduce((sum, sent, index) => sum + Math.max(Math.min(side.gone[index], now) - sent, 0), 0)
    const lost = happened(side.lost, now)
    row.querySelector('.now').textContent = happened(side.sent, now) - happened(side.gone, now)
    row.querySelector('.total').textContent = duration(total)
    row.querySelector('.results').textContent = happened(side.result, now)
    row.querySelector('.lost').textContent = lost
    row.querySelector('.lost').classList.toggle('none', lost === 0)
  }
  return x
}

let frame = 0
let shownAt = 0
function set (playing) {
  cancelAnimationFrame(frame)
  frame = playing ? requestAnimationFrame(step) : 0
  shownAt = performance.now()
  play.textContent = playing ? 'Pause' : 'Play'
}
function step (at) {
  const passed = at - shownAt
  frame = requestAnimationFrame(step)
  if (calm.matches && passed < CALM_STEP_MS) return
  shownAt = at
  const x = show(now + Math.min(passed, calm.matches ? CALM_STEP_MS : LONGEST_FRAME_MS) / 1000 * speed.value)
  const scale = picture.getBoundingClientRect().width / picture.viewBox.baseVal.width
  figure.scrollLeft = x * scale - figure.clientWidth / 2
  if (now === axis.end) set(false)
}

play.addEventListener('click', () => {
  if (!frame && now === axis.end) show(axis.start)
  set(!frame)
})
moment.addEventListener('input', () => {
  set(false)
  show(Number(moment.value))
})
moment.addEventListener('keydown', event => {
  const tenth = (axis.end - axis.start) / 100
  const by = { ArrowLeft: -tenth, ArrowDown: -tenth, ArrowRight: tenth, ArrowUp: tenth, PageDown: -10 * tenth, PageUp: 10 * tenth, Home: -Infinity, End: Infinity }[event.key]
  if (by === undefined) return
  event.preventDefault()
  set(false)
  show(now + by)
})

player.hidden = false
show(axis.end)
if (!calm.matches) {
  show(axis.start)
  set(true)
}
