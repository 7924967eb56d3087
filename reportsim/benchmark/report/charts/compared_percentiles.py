"""The picture of two runs compared: the percentiles of one side with their intervals, run beside run."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from reportsim.benchmark.report.charts import svg
from reportsim.benchmark.report.charts.svg import Linear
from reportsim.core.number_format import duration

Json = Mapping[str, Any]
LEVELS: Final = {"p50": "p50", "p90": "p90", "p95": "p95", "p99": "p99"}
WIDTH: Final = 420
HEIGHT: Final = 260
LEFT: Final = 60
TOP: Final = 36
BOTTOM: Final = 230
APART: Final = 11
MARK: Final = 5
COLOURS: Final = (svg.ORANGE, svg.BLUE)


def compared_percentiles(side: str, first: Json, second: Json) -> str:
    """The time to result of one side in two runs; empty where neither knows any percentile."""
    runs = [run["time_to_result_ms"] for run in (first, second)]
    levels = [level for level in LEVELS if any(run[level]["value"] is not None for run in runs)]
    if not levels:
        return ""
    known = [run[level] for run in runs for level in levels if run[level]["value"] is not None]
    highest = max(max(each["value"], each["high"] or 0.0) for each in known) / 1000
    y = Linear(0.0, 1.05 * highest or 1.0, BOTTOM, TOP)
    step = (WIDTH - LEFT - 16) / len(levels)
    parts = [svg.value_axis(y, LEFT, WIDTH - 16, times=True), svg.line(LEFT, BOTTOM, WIDTH - 16, BOTTOM)]
    for index, level in enumerate(levels):
        middle = LEFT + (index + 0.5) * step
        parts.append(svg.text(middle, BOTTOM + 18, LEVELS[level], anchor="middle", font_size=svg.SMALL))
        parts += [draw_estimate(middle, y, run[level], number) for number, run in enumerate(runs)]
    entries = [(mark(11, 5, number), f"{name} run") for number, name in enumerate(("first", "second"))]
    parts.append(svg.legend(LEFT, 20, entries))
    name = f"Time to result of {side} in both runs"
    return svg.document(WIDTH, HEIGHT, f"compared-{side}", name, describe(levels, runs), *parts)


def draw_estimate(middle: float, y: Linear, estimate: Json, number: int) -> str:
    """A percentile with its interval; where this has no upper end, its line is dashed to the top."""
    if estimate["value"] is None:
        return ""
    x = middle + (APART if number else -APART)
    value = y(estimate["value"] / 1000)
    drawn = mark(x, value, number)
    if estimate["low"] is None:
        return drawn
    low = y(estimate["low"] / 1000)
    style: dict[str, svg.Attribute] = {"stroke": COLOURS[number], "stroke_width": 3}
    if estimate["high"] is None:
        return svg.line(x, low, x, y.end, **style, stroke_dasharray="4 3") + drawn
    return svg.line(x, low, x, y(estimate["high"] / 1000), **style) + drawn


def mark(x: float, y: float, number: int) -> str:
    """The mark of a run: round for the first, square for the second."""
    if number:
        return svg.rect(x - MARK, y - MARK, 2 * MARK, 2 * MARK, fill=COLOURS[number])
    return svg.element("circle", cx=x, cy=y, r=MARK, fill=COLOURS[number])


def describe(levels: Sequence[str], runs: Sequence[Json]) -> str:
    """The percentiles in words."""
    return "; ".join(f"{LEVELS[level]}: {' and '.join(describe_value(run[level]) for run in runs)}" for level in levels)


def describe_value(estimate: Json) -> str:
    """A percentile in words."""
    if estimate["value"] is None:
        return "unknown"
    return f"{'at least ' if estimate.get('censored') else ''}{duration(estimate['value'] / 1000)}"
