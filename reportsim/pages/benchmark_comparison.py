"""Two finished runs side by side, as text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from reportsim.benchmark.report.charts.compared_percentiles import compared_percentiles
from reportsim.benchmark.report.charts.summary import WORDS
from reportsim.benchmark.results.run_comparison import SIDES, compare_runs, is_relevant
from reportsim.core.number_format import duration, percent, three
from reportsim.store.benchmarks import Benchmark

Json = Mapping[str, Any]
CLOCKS: Final = {"time_to_result_ms": "time to result", "accept_ms": "until the client was free"}
METRICS: Final = {
    "goodput": "results within the SLO per second",
    "throughput": "results per second",
    "drain_s": "time to empty after the last arrival",
    "open_connections.mean": "open connections, mean",
    "open_connections.max": "open connections, max",
    "busy_workers_mean": "busy workers, mean",
    "queue.mean": "requests in the queue, mean",
    "queue.max": "requests in the queue, max",
    "wasted_share": "worker time for clients that timed out",
}


@dataclass(frozen=True, slots=True)
class ComparedMetric:
    """One metric of both runs, with its difference; `apart` if their intervals do not overlap."""

    name: str
    first: str
    second: str
    difference: str
    apart: bool
    relevant: bool
    """Whether the runs are apart by a share that matters in practice."""


@dataclass(frozen=True, slots=True)
class ParameterDifference:
    """A parameter in which the plans of two runs differ."""

    name: str
    first: str
    second: str


@dataclass(frozen=True, slots=True)
class RunComparison:
    """Two runs compared."""

    same_load: bool
    distrust: Sequence[Sequence[str]]
    """For each run why it is not to be trusted; empty where it is."""
    differences: Sequence[ParameterDifference]
    sides: Mapping[str, Sequence[ComparedMetric]]
    plots: Mapping[str, str]
    """For each side a picture as SVG, empty where there is nothing to draw."""


def describe_comparison(first: Benchmark, second: Benchmark) -> RunComparison:
    """The differences between the plans, and the metrics of each side."""
    found = compare_runs(first.as_json(), second.as_json())
    results = [run.result or {} for run in (first, second)]
    return RunComparison(
        same_load=found["same_load"],
        distrust=[found["distrust"][which] for which in ("first", "second")],
        differences=[
            ParameterDifference(row["name"], format_parameter(row["first"]), format_parameter(row["second"]))
            for row in found["plan"]
        ],
        sides={name: [describe_metric(row) for row in found[name] if is_shown(row)] for name in SIDES if name in found},
        plots={
            name: compared_percentiles(name, *(result[name] for result in results)) for name in SIDES if name in found
        },
    )


def is_shown(row: Json) -> bool:
    """Whether either run has a value: no request of either may have had an outcome, or a metric may be unknown."""
    if row["metric"].startswith("outcomes."):
        return bool(row["first"] or row["second"])
    return row["first"] is not None or row["second"] is not None


def describe_metric(row: Json) -> ComparedMetric:
    """A row of the comparison as text."""
    clock, _, level = row["metric"].partition(".")
    if clock in CLOCKS:
        name = f"{CLOCKS[clock]}, {level.replace('_', '.')}"
    elif clock == "outcomes":
        name = WORDS[level]
    else:
        name = METRICS[row["metric"]]
    first, second = (
        f"{'≥ ' if row[f'{which}_censored'] else ''}{format_value(row['metric'], row[which])}"
        for which in ("first", "second")
    )
    return ComparedMetric(name, first, second, format_difference(row), bool(row["apart"]), is_relevant(row))


def format_difference(row: Json) -> str:
    """Second − first in the metric's unit, and relative to the first; empty where one is unknown or a bound."""
    if row["difference"] is None:
        return ""
    sign = "−" if row["difference"] < 0 else "+"
    shown = f"{sign}{format_value(row['metric'], abs(row['difference']))}"
    if row["ratio"] is None or row["metric"].startswith("outcomes."):
        return shown
    change = row["ratio"] - 1
    return f"{shown} ({'−' if change < 0 else '+'}{percent(abs(change))})"


def format_value(metric: str, value: float | None) -> str:
    """A value in its unit."""
    if value is None:
        return "unknown"
    if metric.partition(".")[0] in CLOCKS:
        return duration(value / 1000)
    if metric == "drain_s":
        return duration(value)
    return percent(value) if metric.startswith("outcomes.") or metric == "wasted_share" else three(value)


def format_parameter(value: Any) -> str:
    """A parameter of a plan as text."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {format_parameter(item)}" for name, item in value.items())
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None else str(value)
