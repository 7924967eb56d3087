"""Two finished runs side by side, in the words of people."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from reportsim.benchmark.report.charts.summary import WORDS
from reportsim.benchmark.results.run_comparison import SIDES, compare_runs
from reportsim.core.number_format import duration, percent, three
from reportsim.store.benchmarks import Benchmark

Json = Mapping[str, Any]
CLOCKS: Final = {"time_to_result_ms": "time to result", "accept_ms": "until the client was free"}
FIGURES: Final = {
    "goodput": "good results per second",
    "throughput": "results per second",
    "drain_s": "until empty after the last arrival",
    "open_connections.mean": "connections held, mean",
    "open_connections.max": "connections held, most",
    "busy_workers_mean": "busy workers, mean",
    "queue.mean": "in the queue, mean",
    "queue.max": "in the queue, most",
    "wasted_share": "work for clients that left",
}


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of both runs; `apart` where chance does not explain the difference."""

    name: str
    first: str
    second: str
    apart: bool


def compared(first: Benchmark, second: Benchmark) -> dict[str, Any]:
    """Where the plans differ, and how the figures of each side do."""
    found = compare_runs(first.as_json(), second.as_json())
    return {
        "same_load": found["same_load"],
        "differences": [(row["name"], told(row["first"]), told(row["second"])) for row in found["plan"]],
        "sides": {name: [figure(row) for row in found[name] if is_shown(row)] for name in SIDES if name in found},
    }


def is_shown(row: Json) -> bool:
    """Whether a figure says anything: an outcome that neither run had, or a number that neither knows, does not."""
    if row["metric"].startswith("outcomes."):
        return bool(row["first"] or row["second"])
    return row["first"] is not None or row["second"] is not None


def figure(row: Json) -> Figure:
    """A row of the comparison as it is told."""
    clock, _, level = row["metric"].partition(".")
    if clock in CLOCKS:
        name = f"{CLOCKS[clock]}, {level.replace('_', '.')}"
    elif clock == "outcomes":
        name = WORDS[level]
    else:
        name = FIGURES[row["metric"]]
    first, second = (
        f"{'≥ ' if row[f'{which}_censored'] else ''}{said(row['metric'], row[which])}" for which in ("first", "second")
    )
    return Figure(name, first, second, bool(row["apart"]))


def said(metric: str, value: float | None) -> str:
    """A value in its unit."""
    if value is None:
        return "too few"
    if metric.partition(".")[0] in CLOCKS:
        return duration(value / 1000)
    if metric == "drain_s":
        return duration(value)
    return percent(value) if metric.startswith("outcomes.") or metric == "wasted_share" else three(value)


def told(value: Any) -> str:
    """A parameter as text."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {told(item)}" for name, item in value.items())
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
