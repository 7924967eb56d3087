"""P3: every percentile of the time to result, on the scale of G. Tene's HdrHistogram."""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any, Final

from reportsim.benchmark.report.charts import svg
from reportsim.benchmark.report.charts.svg import Linear, Log
from reportsim.benchmark.report.charts.timeline import COLOURS
from reportsim.benchmark.results.samples import Samples
from reportsim.benchmark.results.side_samples import ordered_times
from reportsim.benchmark.theory.figures import LEVELS
from reportsim.benchmark.workload import Workload
from reportsim.core.number_format import duration

Json = Mapping[str, Any]
WIDTH: Final = 760
LEFT: Final = 56
# The height of a label.
LABEL: Final = 14
# The first line is broad, so that it can be seen below the second one where they are the same.
WIDTHS: Final = {"sync": 4.0, "async": 2.0, "a": 4.0, "b": 2.0}


def percentile_plot(plan: Workload, *sides: Samples, prediction: Json | None = None) -> str:
    """P3: every percentile of the time to result, the far ones stretched (HDR); what was expected is dashed.

    Above the last request with a result the line stays, dotted, where its client gave up. Requests that ended with an
    error have none.
    """
    count, top, bottom, right = len(sides[0]), 40, 330, WIDTH - 70
    curves = {side.side: ordered_times(side) for side in sides}
    finite = [time for times in curves.values() for time in times if time < math.inf]
    timeout = min(plan.timeout_of(side.mode) for side in plan.sides)
    marked = [limit for limit in (timeout, plan.slo_s) if limit < math.inf]
    x = Log(1.0, max(2.0 * count, 4.0), LEFT, right)
    y = Linear(0.0, 1.05 * max(*finite, *marked, 1e-3), bottom, top)
    parts = [svg.value_axis(y, LEFT, right, times=True), percent_axis(x, bottom, top)]
    for limit, name in {plan.slo_s: "SLO", timeout: "client times out"}.items():
        if limit < math.inf:
            said = "SLO, and the client times out" if timeout == plan.slo_s else name
            parts.append(svg.line(LEFT, y(limit), right, y(limit), stroke_dasharray="1 3", stroke_width=1.5))
            label = f"{said}: {duration(limit)}"
            parts.append(svg.text(right - 6, y(limit) - 6, label, anchor="end", font_size=svg.SMALL))
    places = apart({mode: y(level(times, plan.timeout_of(plan.mode_of(mode)))) for mode, times in curves.items()})
    for mode, times in curves.items():
        parts.append(curve(times, x, y, mode, plan.timeout_of(plan.mode_of(mode))))
        parts.append(svg.text(right + 5, places[mode] + 4, str(mode), fill=COLOURS[mode]))
        if prediction is not None:
            parts.append(expected(prediction[mode]["time_to_result_ms"], x, y, mode, count))
    parts.append(curve_keys([*curves], prediction is not None))
    about = "; ".join(f"{mode}: {describe(times)}" for mode, times in curves.items()) + "."
    return svg.document(WIDTH, bottom + 42, "percentiles", "Time to result by percentile", about, *parts)


def describe(times: Sequence[float]) -> str:
    """The median and the 95th percentile in words."""
    if not times:
        return "no request has a time"
    values = (times[min(math.ceil(share * len(times)), len(times)) - 1] for share in (0.5, 0.95))
    return ", ".join(
        f"{name} {'never' if value == math.inf else duration(value)}"
        for name, value in zip(("p50", "p95"), values, strict=True)
    )


def percent_axis(x: Log, y: float, top: float) -> str:
    """The horizontal axis 1 / (1 − p), named by the percentiles."""
    parts = [svg.line(x.start, y, x.end, y)]
    for share, name in ((0, "0"), (0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %"), (0.9999, "99.99 %")):
        at = 1 / (1 - share)
        if at <= x.high:
            parts.append(svg.line(x(at), y + 4, x(at), top, stroke_opacity=0.2))
            parts.append(svg.text(x(at), y + 16, name, anchor="middle", font_size=svg.SMALL))
    parts.append(
        svg.text((x.start + x.end) / 2, y + 32, "share of requests with a time", anchor="middle", font_size=svg.SMALL)
    )
    return svg.element("g", *parts)


def curve(times: Sequence[float], x: Log, y: Linear, mode: str, timeout: float) -> str:
    """One side's line: solid through the results, dotted through what never came."""
    if not times:
        return ""
    count = len(times)
    resolved = bisect_left(times, math.inf)
    picked = sorted({*range(0, resolved, max(resolved // 400, 1)), *range(max(resolved - 200, 0), resolved)})
    points = [(x(1 / (1 - rank / count)), y(times[rank])) for rank in picked]
    colour, width = COLOURS[mode], WIDTHS[mode]
    points.append((x(count / max(count - resolved, 0.5)), points[-1][1] if points else y.start))
    solid = svg.element("path", d=svg.path(points), fill="none", stroke=colour, stroke_width=width)
    if resolved == count:
        return solid
    height = y(level(times, timeout))
    rest = svg.line(points[-1][0], height, x.end, height, stroke=colour, stroke_width=width, stroke_dasharray="2 4")
    none = svg.text(x.end - 6, height + 15, f"{mode}: no result", anchor="end", fill=colour, font_size=svg.SMALL)
    return svg.element("g", solid, rest, none)


def level(times: Sequence[float], timeout: float) -> float:
    """Where a side's line ends: at its longest result, or where clients without one gave up."""
    resolved = bisect_left(times, math.inf)
    if resolved < len(times) and timeout < math.inf:
        return timeout
    return times[resolved - 1] if resolved else 0.0


def apart(places: Mapping[str, float]) -> dict[str, float]:
    """The heights of two labels, moved so that they can both be read; one alone stays."""
    if len(places) < 2:
        return dict(places)
    (first, one), (second, two) = places.items()
    if abs(one - two) >= LABEL:
        return dict(places)
    middle, sign = (one + two) / 2, 1 if one > two else -1
    return {first: middle + sign * LABEL / 2, second: middle - sign * LABEL / 2}


def expected(levels: Json, x: Log, y: Linear, mode: str, count: int) -> str:
    """The predicted percentiles with their bands."""
    known = [(1 / (1 - share), levels[name]) for name, share in LEVELS.items() if count * (1 - share) >= 1]
    bands = [
        svg.line(
            x(at),
            y(band["low"] / 1000),
            x(at),
            y(min(band["high"] / 1000, y.high)),
            stroke=COLOURS[mode],
            stroke_width=5,
            stroke_opacity=0.3,
        )
        for at, band in known
    ]
    points = [(x(at), y(min(band["value"] / 1000, y.high))) for at, band in known]
    if not points:
        return ""
    drawn = svg.element("path", d=svg.path(points), fill="none", stroke=COLOURS[mode], stroke_dasharray="5 4")
    return svg.element("g", *bands, drawn)


def curve_keys(sides: Sequence[str], predicted: bool) -> str:
    """Which line is what."""
    entries = [
        (svg.line(0, 5, 22, 5, stroke=COLOURS[side], stroke_width=WIDTHS[side]), f"{side}, measured") for side in sides
    ]
    if predicted:
        dashed = svg.line(0, 5, 22, 5, stroke_dasharray="5 4") + svg.line(
            11, 0, 11, 10, stroke_width=5, stroke_opacity=0.3
        )
        entries.append((dashed, "expected, with its 95 % band"))
    return svg.legend(LEFT, 16, entries)
