"""Two runs beside each other: what was asked for differently, and what came out differently."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from reportsim.benchmark.results.samples import Outcome
from reportsim.benchmark.results.verdict import IRRELEVANT_SHARE, describe_distrust
from reportsim.benchmark.statistics.percentile_levels import LEVELS

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
SIDES: Final = ("sync", "async", "a", "b")
# What decides when requests come and how long they take: with the same of these, two runs had the same load.
LOAD: Final = ("rate", "duration_s", "blocks", "arrivals", "seed", "service_time")


def compare_runs(first: Mapping[str, Any], second: Mapping[str, Any]) -> Json:
    """Two completed runs as the API shows them, compared side by side; differences are second − first.

    `apart` says that two 95 % intervals, each from the blocks of its run, have nothing in common; null where one has
    none.
    """
    plans = first["plan"], second["plan"]
    names = dict.fromkeys((*plans[0], *plans[1]))
    changed = [name for name in names if plans[0].get(name) != plans[1].get(name)]
    return {
        "first": first["id"],
        "second": second["id"],
        "distrust": {"first": describe_distrust(first["result"]), "second": describe_distrust(second["result"])},
        "same_load": not set(LOAD) & set(changed),
        "plan": [{"name": name, "first": plans[0].get(name), "second": plans[1].get(name)} for name in changed],
        **{
            name: list(compare_side(first["result"][name], second["result"][name]))
            for name in SIDES
            if name in first["result"] and name in second["result"]
        },
    }


def compare_side(first: Json, second: Json) -> Iterator[Json]:
    """One side of both runs, a row for each figure."""
    for clock in TIMES:
        for level in (*LEVELS, "max", "mean"):
            yield compare_estimates(f"{clock}.{level}", first[clock][level], second[clock][level])
    for outcome in Outcome:
        shares = (side["shares"][outcome.label] for side in (first, second))
        yield compare_estimates(f"outcomes.{outcome.label}", *shares)
    for name in NUMBERS:
        yield compare_estimates(name, estimate_at(first, name), estimate_at(second, name))


def estimate_at(result: Json, path: str) -> Json:
    """The number at a path of a side's result, with the interval beside it."""
    found: Any = result
    *parents, name = path.split(".")
    for parent in parents:
        found = found[parent]
    return {"value": found[name], **found.get(f"{name}_interval", {"low": None, "high": None})}


def compare_estimates(metric: str, first: Json, second: Json) -> Json:
    """Two estimates, their difference and ratio; where one is only a lower bound, there is neither."""
    values = [None if each["value"] is None else round(each["value"], 6) for each in (first, second)]
    censored = [bool(each.get("censored")) for each in (first, second)]
    a, b = values
    known = a is not None and b is not None and not any(censored)
    return {
        "metric": metric,
        "first": a,
        "second": b,
        "first_censored": censored[0],
        "second_censored": censored[1],
        "difference": round(b - a, 6) if known and a is not None and b is not None else None,
        "ratio": round(b / a, 4) if known and a and b is not None else None,
        "apart": are_apart(first, second),
    }


def is_relevant(row: Mapping[str, Any]) -> bool:
    """Whether two runs are apart in a figure by a share that matters in practice."""
    return bool(row["apart"]) and (row["ratio"] is None or abs(row["ratio"] - 1) >= IRRELEVANT_SHARE)


def are_apart(first: Json, second: Json) -> bool | None:
    """Whether two intervals have nothing in common."""
    bounded = [each["low"] is not None or each["high"] is not None for each in (first, second)]
    if not all(bounded):
        return None
    return is_below(first, second) or is_below(second, first)


def is_below(first: Json, second: Json) -> bool:
    """Whether an interval ends before another begins."""
    return first["high"] is not None and second["low"] is not None and bool(first["high"] < second["low"])
