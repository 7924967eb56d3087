// The benchmark: the prediction for the values of the form, and the curves of a run while it goes on.

const plan = document.getElementById('plan')
const DEBOUNCE_MS = 350

// Predict: this takes a second on the server, so a newer request aborts the older one.
let timer, pending
async function predict () {
  pending?.abort()
  pending = new AbortController()
  const old = document.getElementById('prediction')
  old.classList.add('pending')
  try {
    const response = await fetch(`${plan.dataset.predict}?${new URLSearchParams(new FormData(plan))}`, { signal: pending.signal })
    const page = new DOMParser().parseFromString(await response.text(), 'text/html')
    const next = page.getElementById('prediction')
    if (next) old.replaceWith(document.importNode(next, true))
    // What cannot be predicted because it is invalid cannot be started either.
    plan.querySelector('.big').disabled = response.status === 422
  } catch (error) {
    if (error.name !== 'AbortError') old.classList.remove('pending')
  }
}
if (plan) {
  plan.addEventListener('input', () => { clearTimeout(timer); timer = setTimeout(predict, DEBOUNCE_MS) })
  predict()
}

// Run: each event has the current values of both sides, whose names are in the page.
const CHARTS = ['open_connections', 'queue']
const dark = matchMedia('(prefers-color-scheme: dark)')
const sides = document.getElementById('run')?.dataset.sides.split(' ') ?? []
const times = []
const values = Object.fromEntries(CHARTS.map(name => [name, sides.map(() => [])]))
let charts = []

function draw () {
  charts.forEach(chart => chart.destroy())
  charts = []
  const style = getComputedStyle(document.documentElement)
  const colour = name => style.getPropertyValue(`--${name}-now`).trim()
  for (const name of CHARTS) {
    const place = document.getElementById(`chart-${name}`)
    if (!place || typeof uPlot === 'undefined') continue
    const axis = { stroke: colour('hint'), grid: { stroke: colour('line'), width: 1 }, ticks: { show: false } }
    charts.push(new uPlot({
      width: Math.max(place.clientWidth, 200),
      height: 170,
      cursor: { show: false },
      scales: { x: { time: false }, y: { range: (_, low, high) => [0, Math.max(high, 1)] } },
      axes: [{ ...axis, values: (_, ticks) => ticks.map(tick => `${tick} s`) }, { ...axis, size: 36 }],
      series: [
        { label: 's' },
        { label: sides[0], stroke: colour('first'), width: 2.5, points: { show: false } },
        { label: sides[1], stroke: colour('second'), width: 2.5, dash: [6, 3], points: { show: false } }
      ]
    }, data(name), place))
  }
}

const data = name => [times, ...values[name]]
let started

addEventListener('benchmark', ({ detail }) => {
  const run = document.getElementById('run')
  if (!run) {
    if (document.getElementById('runs') && !detail.live) dispatchEvent(new Event('stale'))
    return
  }
  if (detail.id !== run.dataset.run) return
  if (detail.status !== run.dataset.status) dispatchEvent(new Event('stale'))
  if (!detail.live) return
  document.getElementById('progress')?.setAttribute('value', detail.progress)
  for (const cell of run.querySelectorAll('[data-figure]')) {
    const [side, name] = cell.dataset.figure.split('.')
    cell.textContent = detail.live[side][name]
  }
  started ??= performance.now()
  times.push((performance.now() - started) / 1000)
  for (const name of CHARTS) sides.forEach((side, index) => values[name][index].push(detail.live[side][name]))
  if (!charts.length || !document.contains(charts[0].root)) draw()
  charts.forEach((chart, index) => chart.setData(data(CHARTS[index])))
})
dark.addEventListener('change', draw)
addEventListener('resize', () => charts.forEach(chart => chart.setSize({ width: chart.root.parentElement.clientWidth, height: 170 })))
