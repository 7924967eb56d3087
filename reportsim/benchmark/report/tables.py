"""The tables of the HTML report, as data for its template."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from reportsim.benchmark.report.charts.summary import WORDS
from reportsim.benchmark.results.objectives import find_value
from reportsim.core.number_format import duration, percent, three

Json = Mapping[str, Any]
MARKS: Final = {"ok": "✓ ok", "warn": "! warning", "fail": "✗ failed", "info": "i information", "not_run": "– not run"}
FIGURES: Final = {
    "mean_wait_ms": ("mean wait in the queue", "ms"),
    "timeout_share": ("clients that timed out", "share"),
    "late_share": ("results later than the SLO", "share"),
    "mean_in_system": ("requests in queue and service, mean", ""),
    "busy_workers": ("busy workers, mean", ""),
    "wasted_share": ("worker time for clients that timed out", "share"),
}
SEGMENTS: Final = {
    "lag": "schedule lag of the generator",
    "accept": "on the way into the queue",
    "queue": "in the queue",
    "service": "in service",
    "delivery": "on the way back to the client",
}
WAYS: Final = {
    "webhook": "callback",
    "polling": "polling, every second",
    "long_poll": "long polling",
    "sse": "event stream",
}
OLDER_METHOD: Final = "none: older method"


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: its text, a smaller remark beside it, and the class of a mark."""

    text: str
    hint: str = ""
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table; the first cell of each row is its heading."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    hint: str = ""


def cells(*texts: "str | Cell") -> list[Cell]:
    """A row."""
    return [text if isinstance(text, Cell) else Cell(text) for text in texts]


def side_names(result: Json) -> tuple[str, ...]:
    """The names of the sides."""
    return tuple(name for name in ("sync", "async", "a", "b") if name in result)


def interval_of(estimate: Json, show: "Any") -> str:
    """The interval of an estimate, `?` for an end that the data do not bound; empty where there is none."""
    low, high = (None if estimate[end] is None else show(estimate[end]) for end in ("low", "high"))
    return f"{low or '?'} … {high or '?'}" if low or high else ""


def time_cell(estimate: Json, *, older: bool = False) -> Cell:
    """A percentile or a mean with its interval."""
    if estimate["value"] is None:
        return Cell("–")
    value = f"{'≥ ' if estimate.get('censored') else ''}{milliseconds(estimate['value'])}"
    return Cell(value, OLDER_METHOD if older else interval_of(estimate, milliseconds))


def share_cell(amount: int, share: Json | None, offered: int) -> Cell:
    """A count with its share and the share's interval."""
    shown = f"{amount:,} · {percent(amount / offered if offered else 0.0)}"
    return Cell(shown, interval_of(share, percent) if share else "")


def list_outcomes(result: Json) -> Table:
    """How the requests ended, with the share of each."""
    sides = [result[name] for name in side_names(result)]
    rows = [
        cells(
            words,
            *(share_cell(side["outcomes"][name], side.get("shares", {}).get(name), side["offered"]) for side in sides),
        )
        for name, words in WORDS.items()
        if any(side["outcomes"][name] for side in sides)
    ]
    rows.append(cells("offered", *(f"{side['offered']:,}" for side in sides)))
    return Table("How the requests ended", ("", *side_names(result)), rows, "shares with 95 % intervals")


def list_ways(result: Json) -> Table | None:
    """The ways to learn a result, where they were measured."""
    measured = result.get("ways")
    if not measured:
        return None
    rows = [
        cells(
            words,
            f"{measured[way]['results']:,} of {measured[way]['offered']:,}",
            time_cell(measured[way]["time_to_result_ms"]["p50"]),
            time_cell(measured[way]["time_to_result_ms"]["p95"]),
            number(measured[way]["requests_per_result"]),
            mean_and_max(measured[way]["connections"]),
        )
        for way, words in WAYS.items()
    ]
    head = ("", "results", "time to result, p50", "p95", "requests per result", "connections, mean · max")
    return Table("Four ways to learn the result of an async request, under the same load", head, rows)


def list_service_figures(result: Json) -> Table:
    """Rates, and what was occupied; what is not known is left out."""
    sides = [result[name] for name in side_names(result)]
    rows = [
        cells("results within the SLO per second", *(rate_cell(side, "goodput", three) for side in sides)),
        cells("results per second", *(rate_cell(side, "throughput", three) for side in sides)),
        cells("time to empty after the last arrival", *(duration(side["drain_s"]) for side in sides)),
        cells("open connections, mean · max", *(mean_and_max(side["open_connections"]) for side in sides)),
        cells("requests in the queue, mean · max", *(mean_and_max(side["queue"]) for side in sides)),
        cells("busy workers, mean", *(rate_cell(side, "busy_workers_mean", three) for side in sides)),
        cells("worker time for clients that timed out", *(rate_cell(side, "wasted_share", percent) for side in sides)),
        cells("callbacks that came twice", *(f"{side['duplicates']:,}" for side in sides)),
        cells("schedule lag, p99", *(milliseconds(side["sched_lag_ms"]["p99"]) for side in sides)),
    ]
    known = [row for row in rows if any(cell.text != "–" for cell in row[1:])]
    return Table("Rates and occupancy", ("", *side_names(result)), known, "per second of the arrival window")


def rate_cell(side: Json, name: str, show: "Any") -> Cell:
    """A rate or a mean with its interval."""
    if side[name] is None:
        return Cell("–")
    interval = side.get(f"{name}_interval")
    return Cell(show(side[name]), interval_of(interval, show) if interval else "")


def mean_and_max(found: Json) -> Cell:
    """A mean with its interval, and a maximum."""
    if found["mean"] is None:
        return Cell("–")
    interval = found.get("mean_interval")
    return Cell(f"{three(found['mean'])} · {found['max']:,}", interval_of(interval, three) if interval else "")


def milliseconds(value: float | None) -> str:
    """A time that is given in milliseconds, or a dash."""
    return "–" if value is None else duration(value / 1000)


def number(value: float | None) -> str:
    """A number, or a dash."""
    return "–" if value is None else three(value)


def list_segments(result: Json) -> Table:
    """Where the time to result went, on average."""
    rows = [
        cells(words, *(milliseconds(result[side]["segments_ms"][name]) for side in side_names(result)))
        for name, words in SEGMENTS.items()
    ]
    return Table("Where the time went, means over requests with a result", ("", *side_names(result)), rows)


def list_theory(result: Json) -> Table:
    """Measurement, replay and prediction of each figure."""
    rows = []
    for side in side_names(result):
        for name, (words, unit) in FIGURES.items():
            row = result["theory"][side][name]
            band = row["expected"]
            if row["measured"] or band["high"]:
                shown = (figure(row[key], unit) for key in ("measured", "replayed"))
                expected = Cell(
                    figure(band["value"], unit), interval_of(band, lambda value, unit=unit: figure(value, unit))
                )
                rows.append(cells(f"{side}: {words}", *shown, expected, "inside" if row["inside"] else "outside"))
    head = ("", "measured", "simulated with this run’s own load", "expected before, 95 % band", "")
    return Table("Measurement and theory", head, rows)


def figure(value: float, unit: str) -> str:
    """A figure in its unit."""
    if unit == "share":
        return percent(value)
    return duration(value / 1000) if unit == "ms" else three(value)


def list_objectives(result: Json) -> Table:
    """The objectives and whether each side met them."""
    rows = []
    for side in side_names(result):
        for row in result["slo"][side]["objectives"]:
            unknown = is_unknown(result[side], row)
            mark = "warn" if unknown else ("fail", "ok")[row["pass"]]
            rows.append(
                cells(
                    f"{side}: {row['metric']} {row['op']} {row['value']:g}",
                    describe_measurement(result[side], row),
                    Cell("unknown" if unknown else MARKS[mark], mark=mark),
                )
            )
    return Table("Objectives", ("", "measured", ""), rows)


def is_unknown(side: Json, objective: Json) -> bool:
    """Whether nothing is known of what an objective is about."""
    return objective["measured"] is None and lower_bound(side, objective) is None


def lower_bound(side: Json, objective: Json) -> float | None:
    """The lower bound of a percentile that an objective is about; None where nothing is known of it."""
    found = find_value(side, objective["metric"])
    return found["value"] if isinstance(found, Mapping) else None


def describe_measurement(side: Json, objective: Json) -> str:
    """What was measured of an objective."""
    if objective["measured"] is not None:
        return three(objective["measured"])
    bound = lower_bound(side, objective)
    return "unknown" if bound is None else f"≥ {three(bound)}"


def list_checks(result: Json) -> Table:
    """The checks."""
    rows = [
        cells(
            check["id"],
            Cell(MARKS[check["verdict"]], mark=check["verdict"]),
            Cell(check["detail"], f"{check['name']}: {against(check['value'], check['limit'])}"),
        )
        for check in result["checks"]
    ]
    return Table("Checks", ("", "", ""), rows)


def against(value: Any, limit: Any) -> str:
    """The value of a check with its limit, where it has one."""
    if isinstance(value, Mapping):
        limits = limit if isinstance(limit, Mapping) else {}
        return "; ".join(f"{name.replace('_', ' ')} {against(item, limits.get(name))}" for name, item in value.items())
    return compact(value) + ("" if limit is None or limit == [] else f" (limit {compact(limit)})")


def compact(value: Any) -> str:
    """A value of a check in little room."""
    match value:
        case None:
            return "–"
        case list():
            words = all(isinstance(item, str) for item in value)
            return (", ".join(value) or "none") if words else " → ".join(compact(item) for item in value)
        case float():
            return three(value)
        case _:
            return str(value)


def list_parameters(plan: Json) -> Table:
    """The plan as it was asked for."""
    return Table("The plan", ("parameter", "value"), [cells(name, shown(value)) for name, value in plan.items()])


def shown(value: Any) -> str:
    """A parameter's value on one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {shown(item)}" for name, item in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)
