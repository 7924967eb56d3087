"""P1: the same requests as their clients saw them, sync over async, with what the server did meanwhile."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from types import MappingProxyType
from typing import Final
from xml.sax.saxutils import escape

from reportsim.benchmark.pulled_plug import PulledPlug
from reportsim.benchmark.report.charts import svg
from reportsim.benchmark.report.charts.svg import Linear
from reportsim.benchmark.results.samples import Outcome, Samples
from reportsim.benchmark.workload import Workload
from reportsim.core.model import Mode
from reportsim.core.number_format import duration

WIDTH: Final = 760
LEFT: Final = 44
RIGHT: Final = 16
ROW: Final = 8
GAP: Final = 2
HEAD: Final = 26
LEGEND: Final = 30
AXIS: Final = 42
ROWS: Final = 40
HELD: Final[Mapping[str, svg.Attribute]] = MappingProxyType(
    {"fill": svg.ORANGE, "fill_opacity": 0.4, "stroke": svg.ORANGE, "stroke_width": 0.9}
)
WAITS: Final = {Mode.SYNC: "the client waits", Mode.ASYNC: "the client is called back"}
# A bar that would be narrower could not be seen.
THIN: Final = 1.5


@dataclass(frozen=True, slots=True)
class Stretch:
    """Neighbouring requests of a block, the same on all sides, and the time axis that they share."""

    indices: range
    x: Linear


def choose_stretch(plan: Workload, *sides: Samples, rows: int = ROWS, first: int | None = None) -> Stretch:
    """The requests from index `first` on; without one, a typical stretch of the longest block."""
    sync = sides[0]
    block = longest_block(sync)
    count = min(rows, len(block))
    start = typical(plan, sync, block, count) if first is None else min(max(first, 0), len(sync) - 1)
    indices = range(start, min(start + count, max(block_end(sync, start), start)))
    moments = [moment for side in sides for index in indices for moment in seen(plan, side, index)]
    due = [sync.due[index] for index in indices]
    return Stretch(indices, Linear(min(due, default=0.0), max(moments, default=1.0), LEFT, WIDTH - RIGHT))


def gantt(
    plan: Workload,
    *sides: Samples,
    rows: int = ROWS,
    first: int | None = None,
    plug: PulledPlug | None = None,
) -> str:
    """The requests from index `first` on; without one, a typical stretch of the longest block."""
    return draw_stretch(plan, choose_stretch(plan, *sides, rows=rows, first=first), *sides, plug=plug)


def draw_stretch(plan: Workload, stretch: Stretch, *sides: Samples, plug: PulledPlug | None = None) -> str:
    """The requests of a stretch, one side below the other."""
    indices, x, sync = stretch.indices, stretch.x, sides[0]
    panel = HEAD + len(indices) * (ROW + GAP)
    lost = sum(sync.outcomes[index] == Outcome.CLIENT_TIMEOUT for index in indices)
    about = (
        f"Requests {indices.start + 1} to {indices.stop} of {len(sync)}. Sync clients hold their connection until the "
        f"result comes; {lost} of them timed out. Async clients hold it only until they are accepted."
    )
    bottom = LEGEND + len(sides) * panel
    parts = [svg.element("defs", svg.hatch("gantt-zombie", svg.RED)), keys()]
    parts.append(svg.time_axis(x, bottom + 4, LEGEND + HEAD - 4, "time in the block"))
    parts += [mark_plug(x, plug, LEGEND + 4, bottom)] if plug else []
    for number, side in enumerate(sides):
        name = f"{side.side}: {WAITS[plan.mode_of(side.side)]}"
        top = LEGEND + number * panel
        parts.append(svg.text(LEFT, top + 17, name, font_weight="600"))
        rows = (row(plan, side, index, x, top + HEAD + at * (ROW + GAP)) for at, index in enumerate(indices))
        parts.append(svg.element("g", *rows, id=f"gantt-{side.side}"))
        parts += [
            svg.text(LEFT - 6, top + HEAD + at * (ROW + GAP) + ROW, str(indices[at] + 1), anchor="end", font_size=9)
            for at in range(0, len(indices), 5)
        ]
    title = f"{len(indices)} requests, {' over '.join(side.side for side in sides)}"
    return svg.document(WIDTH, bottom + AXIS, "gantt", title, about, *parts)


def mark_plug(x: Linear, plug: PulledPlug, top: float, bottom: float) -> str:
    """When the plug was pulled, and for how long workers stood still."""
    start, end = x(min(plug.at_s, x.high)), x(min(plug.at_s + plug.frozen_s, x.high))
    band = svg.rect(start, top, end - start, bottom - top, fill=svg.RED, fill_opacity=0.13)
    edge = svg.line(start, top, start, bottom, stroke=svg.RED, stroke_dasharray="4 3")
    anchor = "start" if start < WIDTH / 2 else "end"
    return svg.element("g", band, edge, svg.text(start, top - 4, "plug pulled", anchor=anchor, font_size=svg.SMALL))


def longest_block(samples: Samples) -> range:
    """The block with the most requests."""
    return max(samples.blocks, key=len)


def block_end(samples: Samples, index: int) -> int:
    """The end of the block that a request belongs to."""
    return next((block.stop for block in samples.blocks if index in block), len(samples))


def typical(plan: Workload, sync: Samples, block: range, count: int) -> int:
    """Where in a block as many neighbours as are shown gave up as often as all do; of these, the slowest."""
    limit = min(plan.timeout_of(plan.mode_of(sync.side)), 1e6)
    gave_up = [outcome == Outcome.CLIENT_TIMEOUT for outcome in sync.outcomes]
    wanted = round(count * sum(gave_up) / max(len(sync), 1))
    slow = [0.0, *accumulate(min(time, limit) for time in sync.times_to_result()[block.start : block.stop])]
    lost = [0, *accumulate(gave_up[block.start : block.stop])]
    return block.start + min(
        range(len(block) - count + 1),
        key=lambda at: (abs(lost[at + count] - lost[at] - wanted), slow[at] - slow[at + count]),
    )


def left(plan: Workload, side: Samples, index: int) -> float:
    """When the client's connection ended: with an answer, or because it gave up."""
    timeout = plan.answer_timeout_of(plan.mode_of(side.side))
    if side.outcomes[index] == Outcome.CLIENT_TIMEOUT and timeout < math.inf:
        return side.due[index] + timeout
    return side.accepted[index] if not math.isnan(side.accepted[index]) else side.sent[index]


def seen(plan: Workload, side: Samples, index: int) -> Iterator[float]:
    """The moments of a request that the picture has to reach."""
    moments = (side.due[index], left(plan, side, index), side.seen.ended[index], side.result[index])
    return (moment for moment in moments if not math.isnan(moment))


def row(plan: Workload, side: Samples, index: int, x: Linear, y: float) -> str:
    """The bars of one request."""
    seen = side.seen
    sent, queued, started, ended = (column[index] for column in (side.sent, seen.queued, seen.started, seen.ended))
    gone = left(plan, side, index)
    gave_up = side.outcomes[index] == Outcome.CLIENT_TIMEOUT
    out_of_queue = ended if math.isnan(started) else started
    parts = [
        bar(x, y, sent, gone, ROW, **HELD),
        bar(x, y + 2, queued, out_of_queue, ROW - 4, fill=svg.GREY, fill_opacity=0.55),
    ]
    if gave_up:
        parts.append(bar(x, y + 1, started, min(ended, max(gone, started)), ROW - 2, fill=svg.BLUE))
        parts.append(bar(x, y, max(gone, started), ended, ROW, fill="url(#gantt-zombie)", stroke=svg.RED))
    else:
        parts.append(bar(x, y + 1, started, ended, ROW - 2, fill=svg.BLUE))
    if plan.mode_of(side.side) is Mode.ASYNC:
        since = gone if side.server is None else ended
        parts.append(bar(x, y + 1, since, side.result[index], ROW - 2, fill=svg.PURPLE))
    if gave_up:
        parts.append(cross(x(gone), y + ROW / 2))
    title = svg.element("title", escape(describe(side, index, gone)))
    return svg.element("g", title, *(part for part in parts if part))


def bar(x: Linear, y: float, start: float, end: float, height: float, **attributes: svg.Attribute) -> str:
    """A bar between two moments; nothing where one of them did not happen or there is nothing between them."""
    if not start < end:
        return ""
    return svg.rect(x(start), y, max(x(end) - x(start), THIN), height, **attributes)


def cross(x: float, y: float) -> str:
    """A client that gave up."""
    reach = 3.5
    ends = f"M{svg.number(x - reach)} {svg.number(y - reach)}l7 7m-7 0l7 -7"
    return svg.element("path", d=ends, stroke=svg.RED, stroke_width=2, fill="none")


def describe(side: Samples, index: int, gone: float) -> str:
    """The tooltip of a request."""
    outcome = Outcome(side.outcomes[index]).label.replace("_", " ")
    until = side.result[index] if side.resolved(index) else gone
    return f"request {index + 1}: {outcome} after {duration(max(until - side.due[index], 0.0))}"


def keys() -> str:
    """What the bars mean."""
    cross_at = svg.element("g", cross(11, 5))
    entries = [
        (svg.rect(0, 1, 22, 8, **HELD), "client connected"),
        (svg.rect(0, 3, 22, 4, fill=svg.GREY, fill_opacity=0.55), "in the queue"),
        (svg.rect(0, 2, 22, 6, fill=svg.BLUE), "in service"),
        (svg.rect(0, 2, 22, 6, fill=svg.PURPLE), "callback"),
        (cross_at, "client timed out"),
        (svg.rect(0, 1, 22, 8, fill="url(#gantt-zombie)", stroke=svg.RED), "wasted work"),
    ]
    return svg.legend(LEFT, 14, entries)
