"""P2: what went on over time: arrivals, results, connections, queue, workers; one column for each block."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from reportsim.benchmark.plan import Plan
from reportsim.benchmark.report.charts import svg
from reportsim.benchmark.report.charts.svg import Linear
from reportsim.benchmark.results.concurrency import averages, counts, spans
from reportsim.benchmark.results.samples import Samples
from reportsim.core.model import Mode

WIDTH: Final = 760
LEFT: Final = 44
MIDDLE: Final = 20
PANEL: Final = 84
HEAD: Final = 20
LEGEND: Final = 30
AXIS: Final = 40
MOST_STEPS: Final = 120
COLOURS: Final = {Mode.SYNC: svg.ORANGE, Mode.ASYNC: svg.BLUE}
DASHES: Final = {Mode.SYNC: None, Mode.ASYNC: "6 3"}


@dataclass(frozen=True, slots=True)
class Step:
    """How finely time is cut."""

    seconds: float
    count: int


Series = Callable[[Samples, range, Step], list[float]]


def part(column: Sequence[float], block: range) -> Sequence[float]:
    """A block's stretch of a column."""
    return column[block.start : block.stop]


def offered(samples: Samples, block: range, step: Step) -> list[float]:
    """Arrivals per second."""
    found = counts(part(samples.intended, block), step.seconds, step.count)
    return [number / step.seconds for number in found]


def answered(samples: Samples, block: range, step: Step) -> list[float]:
    """Results per second."""
    found = counts(part(samples.result, block), step.seconds, step.count)
    return [number / step.seconds for number in found]


def connected(samples: Samples, block: range, step: Step) -> list[float]:
    """Open connections."""
    sent, held = part(samples.sent, block), part(samples.held, block)
    closed = [start + length for start, length in zip(sent, held, strict=True)]
    return averages(spans(sent, closed), step.seconds, step.count).tolist()


def queueing(samples: Samples, block: range, step: Step) -> list[float]:
    """Requests in the queue."""
    left = [
        end if math.isnan(start) else start
        for start, end in zip(part(samples.started, block), part(samples.ended, block), strict=True)
    ]
    return averages(spans(part(samples.queued, block), left), step.seconds, step.count).tolist()


def working(samples: Samples, block: range, step: Step) -> list[float]:
    """Busy workers."""
    return averages(spans(part(samples.started, block), part(samples.ended, block)), step.seconds, step.count).tolist()


PANELS: Final[tuple[tuple[str, Series], ...]] = (
    ("arrivals per second", offered),
    ("results per second", answered),
    ("open connections", connected),
    ("requests in the queue", queueing),
    ("busy workers", working),
)


def timeline(plan: Plan, sync: Samples, other: Samples) -> str:
    """Five panels over both blocks; both sides have the same arrivals."""
    sides = (sync, other)
    ends = [max(plan.block_s, *(last(side, side.blocks[number]) for side in sides)) for number in (0, 1)]
    step = max(max(ends) / MOST_STEPS, min(1.0, max(ends) / 20))
    width = WIDTH - LEFT - MIDDLE - 16
    scales, x = [], float(LEFT)
    for end in ends:
        room = width * end / sum(ends)
        scales.append(Linear(0.0, end, x, x + room))
        x += room + MIDDLE
    parts = [keys()]
    parts += [panel(sides, number, name, series, scales, step) for number, (name, series) in enumerate(PANELS)]
    bottom = LEGEND + len(PANELS) * PANEL
    for number, scale in enumerate(scales):
        parts.append(svg.time_axis(scale, bottom, LEGEND + HEAD, f"block {number + 1}"))
        load = scale(plan.block_s)
        parts.append(svg.line(load, bottom, load, LEGEND + HEAD, stroke_dasharray="2 3"))
    parts.append(svg.text(scales[0](plan.block_s) - 4, LEGEND + 13, "last arrival", anchor="end", font_size=10))
    about = "Arrivals, results, open connections, queue and busy workers of both sides over both blocks."
    return svg.document(WIDTH, bottom + AXIS, "timeline", "What went on over time", about, *parts)


def last(side: Samples, block: range) -> float:
    """The last moment at which something of a block was still going on."""
    moments = (*part(side.ended, block), *part(side.result, block))
    return max((moment for moment in moments if not math.isnan(moment)), default=0.0)


def panel(sides: tuple[Samples, ...], number: int, name: str, series: Series, scales: list[Linear], step: float) -> str:
    """One quantity over both blocks."""
    top = LEGEND + number * PANEL
    lines = [
        (side, scale, series(side, side.blocks[block], Step(step, max(math.ceil(scale.high / step), 1))))
        for side in (sides[:1] if series is offered else sides)
        for block, scale in enumerate(scales)
    ]
    y = Linear(0.0, max(max((max(values) for *_, values in lines)), 1e-9), top + PANEL - 2, top + HEAD)
    parts = [
        svg.text(LEFT, top + 13, name, font_weight="600", font_size=svg.SMALL),
        svg.value_axis(y, LEFT, scales[-1].end, times=False, about=3),
    ]
    for side, scale, values in lines:
        both = series is offered
        parts.append(
            svg.element(
                "path",
                d=steps(values, step, scale, y),
                fill="none",
                stroke="currentColor" if both else COLOURS[side.mode],
                stroke_width=1.2 if both else 1.8,
                stroke_dasharray=None if both else DASHES[side.mode],
            )
        )
    return svg.element("g", *parts)


def steps(values: list[float], step: float, x: Linear, y: Linear) -> str:
    """A staircase: each value holds for its step."""
    points = []
    for number, value in enumerate(values):
        points += [(x(number * step), y(value)), (x(min((number + 1) * step, x.high)), y(value))]
    return svg.path(points)


def keys() -> str:
    """Which line is which side."""
    entries = [
        (svg.line(0, 5, 22, 5, stroke=COLOURS[mode], stroke_width=2, stroke_dasharray=DASHES[mode]), str(mode))
        for mode in Mode
    ]
    return svg.legend(LEFT, 14, entries)
