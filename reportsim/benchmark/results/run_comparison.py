"""Two runs beside each other: what was asked for differently, and what came out differently."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from reportsim.benchmark.results.percentiles import LEVELS
from reportsim.benchmark.results.samples import Outcome
from reportsim.core.model import Mode

Json = dict[str, Any]
TIMES: Final = ("time_to_result_ms", "accept_ms")
NUMBERS: Final = (
    "goodput",
    "throughput",
    "drain_s",
    "open_connections.mean",
    "open_connections.max",
    "busy_workers_mean",
    "queue.mean",
    "queue.max",
    "wasted_share",
)
# What decides when requests come and how long they take: with the same of these, two runs had the same load.
LOAD: Final = ("rate", "duration_s", "arrivals", "seed", "service_time")


def compare_runs(first: Mapping[str, Any], second: Mapping[str, Any]) -> Json:
    """Two completed runs as the API shows them, compared side by side; differences are second − first.

    `apart` says that the 95 % intervals of two percentiles have nothing in common; null where one has none.
    """
    plans = first["plan"], second["plan"]
    names = dict.fromkeys((*plans[0], *plans[1]))
    changed = [name for name in names if plans[0].get(name) != plans[1].get(name)]
    return {
        "first": first["id"],
        "second": second["id"],
        "same_load": not set(LOAD) & set(changed),
        "plan": [{"name": name, "first": plans[0].get(name), "second": plans[1].get(name)} for name in changed],
        **{str(mode): list(rows(first["result"][mode], second["result"][mode])) for mode in Mode},
    }


def rows(first: Json, second: Json) -> Iterator[Json]:
    """One side of both runs, a row for each figure."""
    for clock in TIMES:
        for level in (*LEVELS, "max"):
            yield percentile_row(f"{clock}.{level}", first[clock][level], second[clock][level])
    for outcome in Outcome:
        name = f"outcomes.{outcome.label}"
        yield row(name, at(first, name) / max(first["offered"], 1), at(second, name) / max(second["offered"], 1))
    for name in NUMBERS:
        yield row(name, at(first, name), at(second, name))


def at(result: Json, path: str) -> float:
    """The number at a path of a side's result."""
    found: Any = result
    for name in path.split("."):
        found = found[name]
    return float(found)


def percentile_row(metric: str, first: Json, second: Json) -> Json:
    """Two percentiles; where one is only a lower bound, nothing is made of both."""
    known = not first["censored"] and not second["censored"]
    made = row(metric, first["value"], second["value"]) if known else row(metric, None, None)
    values = {"first": first["value"], "second": second["value"]}
    bounds = {"first_censored": first["censored"], "second_censored": second["censored"]}
    return made | values | bounds | {"apart": apart(first, second)}


def apart(first: Json, second: Json) -> bool | None:
    """Whether two intervals have nothing in common."""
    if first["low"] is None or second["low"] is None or first["low"] == first["high"]:
        return None
    above = first["high"] is not None and first["high"] < second["low"]
    below = second["high"] is not None and second["high"] < first["low"]
    return bool(above or below)


def row(metric: str, first: float | None, second: float | None) -> Json:
    """Two numbers, their difference and ratio; outcomes are shares of what was offered."""
    difference = ratio = None
    if first is not None and second is not None:
        difference = round(second - first, 6)
        ratio = round(second / first, 4) if first else None
    shown = [None if value is None else round(value, 6) for value in (first, second)]
    return {
        "metric": metric,
        "first": shown[0],
        "second": shown[1],
        "first_censored": False,
        "second_censored": False,
        "difference": difference,
        "ratio": ratio,
        "apart": None,
    }
