"""The picture of a sweep: the share of time-outs over its variable, and where it breaks even."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from reportsim.benchmark.report.charts import svg
from reportsim.benchmark.report.charts.svg import Linear
from reportsim.benchmark.theory.load_sweep import Sweep
from reportsim.core.number_format import percent, three

WIDTH: Final = 720
HEIGHT: Final = 400
LEFT: Final = 60
TOP: Final = 40
BOTTOM: Final = 340
CHARACTER: Final = 7
NAMES: Final = {"rate": "arrivals per second", "timeout": "client time-out, s", "workers": "workers"}


@dataclass(frozen=True, slots=True)
class Mark:
    """A value of the variable with a name."""

    value: float
    name: str


def sweep_plot(
    found: Sweep, *, paper: str | None = "#ffffff", marks: Sequence[Mark] | None = None, width: float = WIDTH
) -> str:
    """The picture as a file of its own, on white; `paper=None` for a page with colours of its own.

    Its marks, in ascending order, are the break-even, unless others are given.
    """
    values = [point.value for point in found.points]
    x = Linear(min(values), max(values), LEFT, width - 24)
    high = max(found.share, *(point.spread.high for point in found.points))
    y = Linear(0.0, min(1.08 * high, 1.0) or 0.01, BOTTOM, TOP)
    if marks is None:
        marks = [] if found.break_even is None else [Mark(found.break_even, f"{found.break_even:.4g}")]
    drawn = [draw_mark(x, mark, left=mark != marks[-1]) for mark in marks]
    return svg.document(
        width,
        HEIGHT,
        "sweep",
        "Break-even",
        verdict(found),
        axes(found, x, y),
        *curves(found, x, y),
        *drawn,
        paper=paper,
    )


def curves(found: Sweep, x: Linear, y: Linear) -> list[str]:
    """The time-outs with their band, the limit, and the legend."""
    upper = [(x(point.value), y(point.spread.high)) for point in found.points]
    lower = [(x(point.value), y(point.spread.low)) for point in reversed(found.points)]
    middle = [(x(point.value), y(point.timeout_share)) for point in found.points]
    steady = [
        (x(point.value), y(min(point.steady_share, y.high))) for point in found.points if point.steady_share is not None
    ]
    parts = [
        svg.element("path", d=svg.path([*upper, *lower]) + "Z", fill=svg.ORANGE, fill_opacity=0.18),
        svg.element("path", d=svg.path(middle), fill="none", stroke=svg.ORANGE, stroke_width=2.4),
        svg.line(LEFT, y(found.share), x.end, y(found.share), stroke=svg.RED, stroke_dasharray="6 4"),
        svg.text(LEFT + 6, y(found.share) - 6, f"limit {percent(found.share)}", fill=svg.RED, font_size=svg.SMALL),
    ]
    entries = [
        (svg.line(0, 5, 22, 5, stroke=svg.ORANGE, stroke_width=2.4), "time-outs, all runs"),
        (svg.rect(0, 0, 22, 10, fill=svg.ORANGE, fill_opacity=0.18), "95 % of single runs"),
    ]
    if len(steady) > 1:
        parts.append(
            svg.element("path", d=svg.path(steady), fill="none", stroke="currentColor", stroke_dasharray="2 3")
        )
        entries.append((svg.line(0, 5, 22, 5, stroke_dasharray="2 3"), "steady state, M/M/c"))
    return [*parts, svg.legend(LEFT, 20, entries)]


def draw_mark(x: Linear, mark: Mark, *, left: bool) -> str:
    """A vertical line with its name above, to the left or right of it."""
    at = x(mark.value)
    fits = at + CHARACTER * len(mark.name) < x.end
    anchor, shift = ("end", -6) if left or not fits else ("start", 6)
    line = svg.line(at, BOTTOM, at, TOP - 12, stroke_dasharray="6 4")
    return line + svg.text(at + shift, TOP - 3, mark.name, anchor=anchor)


def axes(found: Sweep, x: Linear, y: Linear) -> str:
    """Both axes with faint lines."""
    parts = [svg.line(x.start, y.start, x.end, y.start)]
    for tick in x.ticks(8):
        parts.append(svg.line(x(tick), y.start + 4, x(tick), y.end, stroke_opacity=0.15))
        parts.append(svg.text(x(tick), y.start + 18, three(tick), anchor="middle", font_size=svg.SMALL))
    for tick in y.ticks(6):
        parts.append(svg.line(x.start, y(tick), x.end, y(tick), stroke_opacity=0.15))
        parts.append(svg.text(x.start - 8, y(tick) + 4, percent(tick), anchor="end", font_size=svg.SMALL))
    name = NAMES[found.variable]
    parts.append(svg.text((x.start + x.end) / 2, y.start + 38, name, anchor="middle", font_size=svg.SMALL))
    return svg.element("g", *parts)


def verdict(found: Sweep) -> str:
    """Where a sweep breaks even, in a sentence."""
    share, name = percent(found.share), found.variable
    low, high = three(found.points[0].value), three(found.points[-1].value)
    if found.break_even is None:
        what = "exceed" if name == "rate" else "stay within"
        return f"At no {name} from {low} to {high} do time-outs {what} {share}."
    value = f"{found.break_even:.4g}"
    what = "exceed" if name == "rate" else "stay within"
    units = {"rate": f"{value} arrivals a second", "timeout": f"a time-out of {value} s", "workers": f"{value} workers"}
    if found.break_even == found.points[0].value:
        return f"Time-outs {what} {share} already at {units[name]}, the least that was tried."
    return f"Time-outs {what} {share} from {units[name]} on."
