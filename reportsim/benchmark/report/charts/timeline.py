"""P2: what went on in a block over time, on average over all blocks: arrivals, results, connections, queue, workers."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from reportsim.benchmark.report.charts import svg
from reportsim.benchmark.report.charts.svg import Linear
from reportsim.benchmark.results.concurrency import averages, counts, spans
from reportsim.benchmark.results.samples import Samples
from reportsim.benchmark.workload import Workload

WIDTH: Final = 760
LEFT: Final = 44
PANEL: Final = 84
HEAD: Final = 20
LEGEND: Final = 30
AXIS: Final = 40
MOST_STEPS: Final = 120
COLOURS: Final = {"sync": svg.ORANGE, "async": svg.BLUE, "a": svg.ORANGE, "b": svg.BLUE}
DASHES: Final = {"sync": None, "async": "6 3", "a": None, "b": "6 3"}


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
    found = counts(part(samples.due, block), step.seconds, step.count)
    return [number / step.seconds for number in found]


def answered(samples: Samples, block: range, step: Step) -> list[float]:
    """Results per second."""
    found = counts(part(samples.result, block), step.seconds, step.count)
    return [number / step.seconds for number in found]


def connected(samples: Samples, block: range, step: Step) -> list[float]:
    """Open connections."""
    sent, held, accepted = (part(column, block) for column in (samples.sent, samples.seen.held, samples.accepted))
    closed = [
        answered if math.isnan(length) else start + length
        for start, length, answered in zip(sent, held, accepted, strict=True)
    ]
    return averages(spans(sent, closed), step.seconds, step.count).tolist()


def queueing(samples: Samples, block: range, step: Step) -> list[float]:
    """Requests in the queue."""
    left = [
        end if math.isnan(start) else start
        for start, end in zip(part(samples.seen.started, block), part(samples.seen.ended, block), strict=True)
    ]
    return averages(spans(part(samples.seen.queued, block), left), step.seconds, step.count).tolist()


def working(samples: Samples, block: range, step: Step) -> list[float]:
    """Busy workers."""
    return averages(
        spans(part(samples.seen.started, block), part(samples.seen.ended, block)), step.seconds, step.count
    ).tolist()


PANELS: Final[tuple[tuple[str, Series], ...]] = (
    ("arrivals per second", offered),
    ("results per second", answered),
    ("open connections", connected),
    ("requests in the queue", queueing),
    ("busy workers", working),
)


def timeline(plan: Workload, *sides: Samples) -> str:
    """Panels over the length of a block; both sides have the same arrivals. What no server recorded is left out."""
    panels = PANELS if any(side.server is not None for side in sides) else PANELS[:3]
    end = max([plan.block_s, *(last(side, block) for side in sides for block in side.blocks)])
    step = max(end / MOST_STEPS, min(1.0, end / 20))
    x = Linear(0.0, end, LEFT, WIDTH - 16)
    parts = [keys(sides)]
    parts += [panel(sides, number, name, series, x, step) for number, (name, series) in enumerate(panels)]
    bottom = LEGEND + len(panels) * PANEL
    parts.append(svg.time_axis(x, bottom, LEGEND + HEAD, f"time in the block, mean of {len(sides[0].blocks)}"))
    load = x(plan.block_s)
    parts.append(svg.line(load, bottom, load, LEGEND + HEAD, stroke_dasharray="2 3"))
    parts.append(svg.text(load - 4, LEGEND + 13, "last arrival", anchor="end", font_size=10))
    about = f"{', '.join(name for name, _ in panels).capitalize()}, on average over the blocks."
    return svg.document(WIDTH, bottom + AXIS, "timeline", "What went on over time", about, *parts)


def last(side: Samples, block: range) -> float:
    """The last moment at which something of a block was still going on."""
    moments = (*part(side.seen.ended, block), *part(side.result, block))
    return max((moment for moment in moments if not math.isnan(moment)), default=0.0)


def mean_over_blocks(side: Samples, series: Series, step: Step) -> list[float]:
    """The average of a series at each step."""
    blocks = [series(side, block, step) for block in side.blocks]
    return [math.fsum(values) / len(blocks) for values in zip(*blocks, strict=True)]


def panel(sides: tuple[Samples, ...], number: int, name: str, series: Series, x: Linear, step: float) -> str:
    """One quantity over time."""
    top = LEGEND + number * PANEL
    same = series is offered
    cut = Step(step, max(math.ceil(x.high / step), 1))
    lines = [(side, mean_over_blocks(side, series, cut)) for side in (sides[:1] if same else sides)]
    y = Linear(0.0, max(max((max(values) for _, values in lines)), 1e-9), top + PANEL - 2, top + HEAD)
    parts = [
        svg.text(LEFT, top + 13, name, font_weight="600", font_size=svg.SMALL),
        svg.value_axis(y, LEFT, x.end, times=False, about=3),
    ]
    for side, values in lines:
        parts.append(
            svg.element(
                "path",
                d=steps(values, step, x, y),
                fill="none",
                stroke="currentColor" if same else COLOURS[side.side],
                stroke_width=1.2 if same else 1.8,
                stroke_dasharray=None if same else DASHES[side.side],
            )
        )
    return svg.element("g", *parts)


def steps(values: list[float], step: float, x: Linear, y: Linear) -> str:
    """A staircase: each value holds for its step."""
    points = []
    for number, value in enumerate(values):
        points += [(x(number * step), y(value)), (x(min((number + 1) * step, x.high)), y(value))]
    return svg.path(points)


def keys(sides: tuple[Samples, ...]) -> str:
    """Which line is which side."""
    names = [side.side for side in sides]
    entries = [
        (svg.line(0, 5, 22, 5, stroke=COLOURS[name], stroke_width=2, stroke_dasharray=DASHES[name]), name)
        for name in names
    ]
    return svg.legend(LEFT, 14, entries)
