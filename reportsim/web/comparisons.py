"""Two finished runs side by side, in the words of people."""

from collections.abc import Mapping
from typing import Any, Final

from reportsim.benchmark.words import duration, percent, three
from reportsim.store.runs import Benchmark

Json = Mapping[str, Any]
SIDES: Final = ("sync", "async")
LEVELS: Final = ("p50", "p95", "p99")


def compared(first: Benchmark, second: Benchmark) -> dict[str, Any]:
    """Where the plans differ, and the figures of both results: sync and async of the first, then of the second."""
    names = [*first.plan, *(name for name in second.plan if name not in first.plan)]
    differences = [
        (name, told(first.plan.get(name)), told(second.plan.get(name)))
        for name in names
        if first.plan.get(name) != second.plan.get(name)
    ]
    sides = [run.result[side] for run in (first, second) if run.result for side in SIDES]
    return {"differences": differences, "figures": [(name, [said(side) for side in sides]) for name, said in ROWS]}


def told(value: Any) -> str:
    """A parameter as text."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {told(item)}" for name, item in value.items())
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def percentile(clock: str, level: str) -> Any:
    """How one percentile of one clock is told."""

    def say(side: Json) -> str:
        found = side[clock][level]
        if found["value"] is None:
            return "too few"
        return f"{'≥ ' if found['censored'] else ''}{duration(found['value'] / 1000)}"

    return say


def share(outcome: str) -> Any:
    """How the share of one outcome is told."""

    def say(side: Json) -> str:
        return percent(side["outcomes"][outcome] / side["offered"])

    return say


ROWS: Final = (
    ("requests offered", lambda side: f"{side['offered']:,}"),
    ("in time", share("ok")),
    ("late", share("ok_late")),
    ("client gave up", share("client_timeout")),
    *((f"until the client was free, {level}", percentile("accept_ms", level)) for level in LEVELS),
    *((f"time to result, {level}", percentile("time_to_result_ms", level)) for level in LEVELS),
    ("good results per second", lambda side: three(side["goodput"])),
    ("connections held, mean", lambda side: three(side["open_connections"]["mean"])),
    ("requests in the queue, mean", lambda side: three(side["queue"]["mean"])),
    ("work for clients that left", lambda side: percent(side["wasted_share"])),
)
