"""Runs as they were stored by earlier versions, in the shape of today."""

import math
from collections.abc import Iterable
from typing import Any, Final

from reportsim.benchmark.results.verdict import describe_connections, describe_losses, signed
from reportsim.benchmark.statistics.intervals import Estimate

Json = dict[str, Any]
OLDER_METHOD: Final = "none: older method"
TIMES: Final = ("accept_ms", "time_to_result_ms", "from_send_ms")
RATES: Final = ("goodput", "throughput", "busy_workers_mean", "wasted_share")
OLD_BLOCKS: Final = 2
UNKNOWN: Final[Json] = {"low": None, "high": None}


def upgrade_plan(plan: Json) -> Json:
    """The plan of a stored run; those without blocks had two, or one where both sides ran at once."""
    if "blocks" in plan:
        return plan
    blocks = 1 if plan.get("together") or plan.get("duration_s", 0) < OLD_BLOCKS else OLD_BLOCKS
    return {**plan, "blocks": blocks}


def upgrade_result(result: Json | None) -> Json | None:
    """The result of a stored run. Intervals that were made for independent requests are taken out."""
    if result is None:
        return None
    result = {"plug": None, "ways": None, **result}
    if all("shares" in result[side] for side in sides_of(result)):
        return result
    upgraded = {**result, "intervals": OLDER_METHOD, "verdict": rewrite_verdict(result)}
    for side in sides_of(result):
        upgraded[side] = upgrade_side(result[side])
    if result["ways"] is not None:
        upgraded["ways"] = {way: upgrade_way(found) for way, found in result["ways"].items()}
    comparison = result["comparison"]
    differences = without_intervals(comparison["difference_ms"])
    upgraded["comparison"] = {"limit_ms": None, **comparison, "difference_ms": differences}
    upgraded["theory"] = {
        side: {name: {"explained": found["inside"], **found} for name, found in figures.items()}
        for side, figures in result["theory"].items()
    }
    return upgraded


def rewrite_verdict(result: Json) -> str:
    """The verdict of an old result from its outcomes, connections and comparison: the stored one quotes intervals."""
    sides = {name: result[name] for name in sides_of(result)}
    sentences = [
        describe_losses(name, side["outcomes"], estimate_shares(side["outcomes"]), math.inf)
        for name, side in sides.items()
    ]
    sentences += describe_connections({name: side["open_connections"]["mean"] for name, side in sides.items()})
    sentences.append(describe_old_difference(result["comparison"], *sides))
    return " ".join(sentences)


def describe_old_difference(comparison: Json, first: str, second: str) -> str:
    """How the times differ on average, which was computed where both sides had a result."""
    pairs, mean_ms = comparison["pairs"], comparison["difference_ms"]["mean"]["value"]
    if mean_ms is None:
        return f"No request has a result on both sides, so {first} and {second} cannot be compared."
    requests = "request" if pairs == 1 else "requests"
    return (
        f"{second.capitalize()} − {first} is {signed(mean_ms)} on average over {pairs:,} {requests} with a result on"
        " both sides, without an interval: older method."
    )


def estimate_shares(outcomes: dict[str, int]) -> dict[str, Estimate]:
    """The share of each outcome, without an interval."""
    offered = max(sum(outcomes.values()), 1)
    return {name: Estimate(round(count / offered, 6)) for name, count in outcomes.items()}


def sides_of(result: Json) -> Iterable[str]:
    """The names of both sides."""
    return [name for name in ("sync", "async", "a", "b") if name in result]


def upgrade_side(side: Json) -> Json:
    """One side's result without intervals."""
    shares = estimate_shares(side["outcomes"])
    return {
        **side,
        "sched_lag_ms": {"p99_9": None, **side["sched_lag_ms"]},
        **{clock: upgrade_times(side[clock]) for clock in TIMES},
        "shares": {name: share.as_json(6) for name, share in shares.items()},
        **{f"{name}_interval": UNKNOWN for name in RATES},
        **{name: {"mean_interval": UNKNOWN, **side[name]} for name in ("open_connections", "queue")},
    }


def upgrade_way(way: Json) -> Json:
    """What a way to learn a result costs, without intervals."""
    return {**way, "time_to_result_ms": without_intervals(way["time_to_result_ms"])}


def upgrade_times(times: Json) -> Json:
    """Percentiles without intervals; the mean was not kept."""
    mean = {"value": None, **UNKNOWN, "n": times["max"]["n"], "censored": False}
    return {"mean": mean, **without_intervals(times)}


def without_intervals(estimates: Json) -> Json:
    """Estimates by name, the ends of their intervals taken out."""
    return {name: {**found, **UNKNOWN} for name, found in estimates.items()}
