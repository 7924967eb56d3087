"""The tables of the HTML report: markup out of a finished result."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Final

from reportsim.benchmark.report.charts.summary import WORDS
from reportsim.benchmark.report.number_format import duration, percent, three

Json = Mapping[str, Any]
SIDES: Final = ("sync", "async")
LEVELS: Final = {"p50": "p50", "p90": "p90", "p95": "p95", "p99": "p99", "p99_9": "p99.9", "max": "max"}
MARKS: Final = {"ok": "✓ ok", "warn": "! warn", "fail": "✗ fail"}
FIGURES: Final = {
    "mean_wait_ms": ("mean wait in the queue", "ms"),
    "timeout_share": ("sync clients that gave up", "share"),
    "late_share": ("results later than the SLO", "share"),
    "mean_in_system": ("requests in queue and service, mean", ""),
    "busy_workers": ("busy workers, mean", ""),
    "wasted_share": ("worker time spent on clients that left", "share"),
}


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; cells are markup, the first of each row is its heading."""
    heads = "".join(f'<th scope="col">{name}</th>' if name else "<td></td>" for name in head)
    thead = f"<thead><tr>{heads}</tr></thead>" if any(head) else ""
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>{"".join(f"<td>{cell}</td>" for cell in row[1:])}</tr>' for row in rows
    )
    return (
        f'<div class="wide" tabindex="0"><table><caption>{caption}</caption>{thead}<tbody>{body}</tbody></table></div>'
    )


def percentile(found: Json) -> str:
    """A percentile with its interval, as it may be said."""
    if found["value"] is None:
        return f'<span class="hint">{found["n"]:,} are too few</span>'
    value = duration(found["value"] / 1000)
    if found["censored"]:
        return f"≥ {value}"
    if found["low"] == found["high"]:
        return value
    high = "?" if found["high"] is None else duration(found["high"] / 1000)
    return f'{value} <span class="hint interval">{duration(found["low"] / 1000)} … {high}</span>'


def outcomes(result: Json) -> str:
    """How the requests ended, with the share of each."""
    rows = []
    for name, words in WORDS.items():
        amounts = [(result[side]["outcomes"][name], result[side]["offered"]) for side in SIDES]
        if any(amount for amount, _ in amounts):
            rows.append([words, *(f"{amount:,} · {percent(amount / offered)}" for amount, offered in amounts)])
    rows.append(["offered", *(f"{result[side]['offered']:,}" for side in SIDES)])
    return table("How the requests ended", ("", *SIDES), rows)


def times(result: Json) -> str:
    """The percentiles of the three clocks."""
    clocks = {
        "time_to_result_ms": "Time to result, from the intended time",
        "accept_ms": "Until the client was free, from the intended time",
        "from_send_ms": "Time to result from when it was sent, as most tools measure; it hides a late generator",
    }
    return "".join(
        table(
            f'{name} <span class="hint">with 95 % intervals</span>',
            ("", *SIDES),
            [[level, *(percentile(result[side][clock][key]) for side in SIDES)] for key, level in LEVELS.items()],
        )
        for clock, name in clocks.items()
    )


WAYS: Final = {
    "webhook": "callback",
    "polling": "polling, every second",
    "long_poll": "long polling",
    "sse": "event stream",
}


def ways(result: Json) -> str:
    """The ways to learn a result, where they were measured."""
    measured = result.get("ways")
    if not measured:
        return ""
    rows = [
        [
            words,
            f"{measured[way]['results']:,} of {measured[way]['offered']:,}",
            percentile(measured[way]["time_to_result_ms"]["p50"]),
            percentile(measured[way]["time_to_result_ms"]["p95"]),
            "–" if measured[way]["requests_per_result"] is None else three(measured[way]["requests_per_result"]),
            mean_most(measured[way]["connections"]),
        ]
        for way, words in WAYS.items()
    ]
    head = ("", "results", "time to result, p50", "p95", "requests per result", "connections, mean · most")
    return table("Four ways to learn the result of an async request, under the same load", head, rows)


def service(result: Json) -> str:
    """What the server saw."""
    rows = [
        ["good results per second", *(three(result[side]["goodput"]) for side in SIDES)],
        ["results per second", *(three(result[side]["throughput"]) for side in SIDES)],
        ["time to empty after the last arrival", *(duration(result[side]["drain_s"]) for side in SIDES)],
        ["open connections, mean · most", *(mean_most(result[side]["open_connections"]) for side in SIDES)],
        ["requests in the queue, mean · most", *(mean_most(result[side]["queue"]) for side in SIDES)],
        ["busy workers, mean", *(three(result[side]["busy_workers_mean"]) for side in SIDES)],
        ["worker time spent on clients that left", *(percent(result[side]["wasted_share"]) for side in SIDES)],
        ["callbacks that came twice", *(f"{result[side]['duplicates']:,}" for side in SIDES)],
        ["sent late by, p99", *(milliseconds(result[side]["sched_lag_ms"]["p99"]) for side in SIDES)],
    ]
    return table("What the server saw", ("", *SIDES), rows)


def mean_most(found: Json) -> str:
    """A mean and a maximum."""
    return f"{three(found['mean'])} · {found['max']:,}"


def milliseconds(value: float | None) -> str:
    """A time in milliseconds, or a dash."""
    return "–" if value is None else duration(value / 1000)


def segments(result: Json) -> str:
    """Where the time to result went, in the mean."""
    names = {
        "lag": "generator late",
        "accept": "on the way into the queue",
        "queue": "in the queue",
        "service": "in service",
        "delivery": "on the way back to the client",
    }
    rows = [
        [words, *(milliseconds(result[side]["segments_ms"][name]) for side in SIDES)] for name, words in names.items()
    ]
    return table("Where the time went, means over requests with a result", ("", *SIDES), rows)


def theory(result: Json) -> str:
    """Measurement, replay and expectation of each figure."""
    rows = []
    for side in SIDES:
        for name, (words, unit) in FIGURES.items():
            row = result["theory"][side][name]
            band = row["expected"]
            if not (row["measured"] or band["high"]):
                continue
            low, high = (figure(band[end], unit) for end in ("low", "high"))
            expected = f'{figure(band["value"], unit)} <span class="hint interval">{low} … {high}</span>'
            inside = "inside" if row["inside"] else "<strong>outside</strong>"
            rows.append(
                [f"{side}: {words}", *(figure(row[key], unit) for key in ("measured", "replayed")), expected, inside]
            )
    head = ("", "measured", "simulated with this run’s own load", "expected before, 95 % band", "")
    return table("Measurement and theory", head, rows)


def figure(value: float, unit: str) -> str:
    """A figure in its unit."""
    if unit == "share":
        return percent(value)
    return duration(value / 1000) if unit == "ms" else three(value)


def objectives(result: Json) -> str:
    """The objectives and whether each side met them."""
    rows = []
    for side in SIDES:
        for row in result["slo"][side]["objectives"]:
            rows.append(
                [
                    f"{side}: {escape(row['metric'])} {escape(row['op'])} {row['value']:g}",
                    measurement(result[side], row),
                    "✗ unknown" if too_few(result[side], row) else MARKS["ok" if row["pass"] else "fail"],
                ]
            )
    return table("Objectives", ("", "measured", ""), rows)


def too_few(side: Json, objective: Json) -> bool:
    """Whether there were too few requests to say what an objective is about."""
    return objective["measured"] is None and bound_of(side, objective) is None


def bound_of(side: Json, objective: Json) -> float | None:
    """The lower bound of a percentile that an objective is about; None where nothing is known of it."""
    clock, _, level = objective["metric"].partition(".")
    found = side[clock][level]
    bound: float | None = found["value"] if isinstance(found, Mapping) else None
    return bound


def measurement(side: Json, objective: Json) -> str:
    """What was measured of an objective, as it may be said."""
    if objective["measured"] is not None:
        return three(objective["measured"])
    bound = bound_of(side, objective)
    return "n too small" if bound is None else f"≥ {three(bound)}"


def checks(result: Json) -> str:
    """The honesty checks."""
    rows = [
        [
            check["id"],
            f'<span class="{check["verdict"]}">{MARKS[check["verdict"]]}</span>',
            f'{escape(check["detail"])}<br><span class="hint">{escape(check["name"])}: '
            f"{against(check['value'], check['limit'])}</span>",
        ]
        for check in result["checks"]
    ]
    return table("Honesty checks", ("", "", ""), rows)


def against(value: Any, limit: Any) -> str:
    """The value of a check with its limit, where it has one."""
    if isinstance(value, Mapping):
        limits = limit if isinstance(limit, Mapping) else {}
        return "; ".join(
            f"{escape(name.replace('_', ' '))} {against(item, limits.get(name))}" for name, item in value.items()
        )
    return compact(value) + ("" if limit is None or limit == [] else f" (limit {compact(limit)})")


def compact(value: Any) -> str:
    """A value of a check in little room."""
    match value:
        case None:
            return "–"
        case list():
            words = all(isinstance(item, str) for item in value)
            return f"{len(value)} figures" if words else " → ".join(compact(item) for item in value)
        case float():
            return three(value)
        case _:
            return escape(str(value))


def parameters(plan: Json) -> str:
    """The plan as it was asked for."""
    rows = [[f"<code>{escape(name)}</code>", f"<code>{escape(shown(value))}</code>"] for name, value in plan.items()]
    return table("The plan", ("parameter", "value"), rows)


def shown(value: Any) -> str:
    """A parameter's value on one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {shown(item)}" for name, item in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)
