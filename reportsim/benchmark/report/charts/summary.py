"""The pictures of a run, P1 to P6: data in, SVG text out."""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from reportsim.benchmark.report.charts import svg
from reportsim.benchmark.report.charts.gantt import gantt
from reportsim.benchmark.report.charts.percentiles import percentile_plot
from reportsim.benchmark.report.charts.svg import Linear, Log
from reportsim.benchmark.report.charts.timeline import COLOURS, timeline
from reportsim.benchmark.results.samples import Samples
from reportsim.benchmark.workload import Workload
from reportsim.core.number_format import percent

__all__ = ["gantt", "heat_strip", "outcome_bars", "paired_scatter", "percentile_plot", "timeline"]

Json = Mapping[str, Any]
WIDTH: Final = 760
LEFT: Final = 56
MOST_DOTS: Final = 4_000
SHADES: Final = {
    "ok": svg.GREEN,
    "ok_late": svg.AMBER,
    "client_timeout": svg.RED,
    "refused": svg.BROWN,
    "shed": svg.PINK,
    "http_4xx": svg.TEAL,
    "http_5xx": svg.PURPLE,
    "job_failed": svg.BLUE,
    "callback_lost": svg.GREY,
}
WORDS: Final = {
    "ok": "in time",
    "ok_late": "late",
    "client_timeout": "client timed out",
    "refused": "refused",
    "shed": "429 or 503",
    "http_4xx": "4xx",
    "http_5xx": "5xx",
    "job_failed": "report failed",
    "callback_lost": "callback lost",
}
# What a share is written on, so that it can be read on any colour and pattern.
CHIP: Final = 48
CHIP_FILL: Final = "#1b1f24"
HATCHED: Final = {"ok_late": False, "client_timeout": True, "callback_lost": True}


def outcome_bars(results: Mapping[str, Json]) -> str:
    """P4: how all requests ended, from the results of the sides."""
    bar, gap, top, right = 34, 14, 12, WIDTH - 16
    used = [name for name in SHADES if any(result["outcomes"][name] for result in results.values())]
    defs = svg.element("defs", *(svg.hatch(f"bars-{name}", SHADES[name], crossed=HATCHED[name]) for name in HATCHED))
    parts, told = [defs], []
    for number, (mode, result) in enumerate(results.items()):
        y = top + number * (bar + gap)
        x = Linear(0.0, max(result["offered"], 1), LEFT, right)
        parts.append(svg.text(LEFT - 8, y + bar / 2 + 4, str(mode), anchor="end", font_weight="600"))
        before = 0
        for name in used:
            amount = result["outcomes"][name]
            parts.append(segment(x(before), y, x(before + amount) - x(before), bar, name, amount / x.high))
            before += amount
        said = ", ".join(f"{result['outcomes'][name]} {WORDS[name]}" for name in used if result["outcomes"][name])
        told.append(f"{mode}: {said}")
    bottom = top + len(results) * (bar + gap)
    entries = [(svg.rect(0, 0, 22, 10, **paint(name)), WORDS[name]) for name in used]
    parts.append(svg.legend(LEFT, bottom + 12, entries))
    return svg.document(WIDTH, bottom + 22, "outcomes", "How the requests ended", "; ".join(told) + ".", *parts)


def paint(name: str) -> dict[str, svg.Attribute]:
    """The fill of an outcome."""
    if name in HATCHED:
        return {"fill": f"url(#bars-{name})", "stroke": SHADES[name]}
    return {"fill": SHADES[name], "stroke": SHADES[name]}


def segment(x: float, y: float, width: float, height: float, name: str, share: float) -> str:
    """A stretch of a bar, with its share on it where there is room."""
    if not width:
        return ""
    label = ""
    if width > CHIP + 4:
        middle = x + width / 2
        label = svg.rect(middle - CHIP / 2, y + height / 2 - 9, CHIP, 18, rx=4, fill=CHIP_FILL)
        label += svg.text(middle, y + height / 2 + 4, percent(share), anchor="middle", font_weight="600", fill="#fff")
    return svg.rect(x, y, width, height, **paint(name)) + label


def heat_strip(plan: Workload, samples: Samples, longest_s: float | None = None) -> str:
    """P5: when requests came and how long their result took; the darker, the more. On top: no result at all.

    `longest_s` is the top of the scale, for pictures that are looked at together.
    """
    columns, levels, top, cell = 60, 14, 30, 11
    times = samples.times_to_result()
    finite = [time for time in times if time < math.inf]
    longest = 1.001 * max(longest_s or 0.0, max(finite, default=plan.slo_s))
    whole_s = plan.block_s * len(samples.blocks)
    cells: Counter[tuple[int, int]] = Counter()
    for number, block in enumerate(samples.blocks):
        for index in block:
            moment = number * plan.block_s + samples.due[index]
            column = min(int(moment / whole_s * columns), columns - 1)
            level = levels if times[index] == math.inf else int(times[index] / longest * levels)
            cells[column, level] += 1
    most = max(cells.values(), default=1)
    x = Linear(0, columns, LEFT, WIDTH - 16)
    bottom = top + cell + 4 + levels * cell
    y = Linear(0.0, longest, bottom, top + cell + 4)
    parts = [svg.text(LEFT, 16, str(samples.side), font_weight="600")]
    parts.append(svg.text(LEFT - 6, top + 9, "no result", anchor="end", font_size=10))
    parts.append(svg.value_axis(y, LEFT, x.end, times=True, about=4))
    for (column, level), amount in sorted(cells.items()):
        at = top if level == levels else bottom - (level + 1) * cell
        colour = svg.RED if level == levels else COLOURS[samples.side]
        opacity = 0.12 + 0.88 * math.sqrt(amount / most)
        parts.append(svg.rect(x(column), at, x(1) - x(0), cell, fill=colour, fill_opacity=opacity))
    scale = Linear(0.0, whole_s, LEFT, x.end)
    parts.append(
        svg.time_axis(scale, bottom, bottom, f"seconds of load, {len(samples.blocks)} blocks one after the other")
    )
    none = sum(amount for (_, level), amount in cells.items() if level == levels)
    about = f"{len(samples)} requests by the time they were due and time to result; {none} had no result."
    title = f"Time to result over time, {samples.side}"
    return svg.document(WIDTH, bottom + 36, f"heat-{samples.side}", title, about, *parts)


def paired_scatter(sync: Samples, other: Samples) -> str:
    """P6: each request as a dot, its first time across and its second time up; on the line both are equal."""
    side, top, strip = 400, 20, 34
    pairs = list(zip(sync.times_to_result(), other.times_to_result(), strict=True))
    shown = pairs[:: math.ceil(len(pairs) / MOST_DOTS) or 1]
    finite = [time for pair in pairs for time in pair if 0 < time < math.inf]
    low, high = min(finite, default=0.001), max(finite, default=1.0)
    low, high = low * 0.9, max(high * 1.1, low * 1.2)
    x, y = Log(low, high, LEFT, LEFT + side), Log(low, high, top + strip + side, top + strip)
    places = [
        (LEFT + side + strip / 2 if a == math.inf else x(a), top + strip / 2 if b == math.inf else y(b))
        for a, b in shown
    ]
    aside = svg.number(LEFT + side + strip + 4)
    parts = [
        svg.value_axis(y, LEFT, LEFT + side, times=True),
        svg.time_axis(x, y.start, y.end, f"time to result, {sync.side}"),
        svg.line(x(low), y(low), x(high), y(high), stroke_dasharray="4 3"),
        svg.dots(places, svg.BLUE, 4, 0.5),
        svg.text(
            0, 0, f"no {sync.side} result", font_size=svg.SMALL, transform=f"translate({aside} {y.end + 4}) rotate(90)"
        ),
        svg.text(LEFT + 4, top + strip / 2 + 4, f"no {other.side} result", font_size=svg.SMALL),
        svg.text(LEFT, 12, f"time to result, {other.side}", font_size=svg.SMALL),
        svg.line(LEFT + side, y.start, LEFT + side, y.end),
        svg.line(LEFT, y.end, LEFT + side, y.end),
    ]
    lost = sum(a == math.inf > b for a, b in pairs)
    about = (
        f"{len(pairs)} requests; {lost} had a result only from {other.side}. Below the line {other.side} was faster."
    )
    height = y.start + 40
    return svg.document(
        LEFT + side + strip + 24, height, "pairs", f"Each request, {sync.side} against {other.side}", about, *parts
    )
