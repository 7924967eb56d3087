"""Runs as they were stored by earlier versions, in the shape of today."""

from collections.abc import Iterable
from typing import Any, Final

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
    result = {"plug": None, **result}
    if all("shares" in result[side] for side in sides_of(result)):
        return result
    upgraded = {**result, "intervals": OLDER_METHOD}
    for side in sides_of(result):
        upgraded[side] = upgrade_side(result[side])
    comparison = result["comparison"]
    differences = {name: {**found, **UNKNOWN} for name, found in comparison["difference_ms"].items()}
    upgraded["comparison"] = {"limit_ms": None, **comparison, "difference_ms": differences}
    upgraded["theory"] = {
        side: {name: {"explained": found["inside"], **found} for name, found in figures.items()}
        for side, figures in result["theory"].items()
    }
    return upgraded


def sides_of(result: Json) -> Iterable[str]:
    """The names of both sides."""
    return [name for name in ("sync", "async", "a", "b") if name in result]


def upgrade_side(side: Json) -> Json:
    """One side's result without intervals."""
    offered = max(side["offered"], 1)
    return {
        **side,
        "sched_lag_ms": {"p99_9": None, **side["sched_lag_ms"]},
        **{clock: upgrade_times(side[clock]) for clock in TIMES},
        "shares": {name: {"value": round(count / offered, 6), **UNKNOWN} for name, count in side["outcomes"].items()},
        **{f"{name}_interval": UNKNOWN for name in RATES},
        **{name: {"mean_interval": UNKNOWN, **side[name]} for name in ("open_connections", "queue")},
    }


def upgrade_times(times: Json) -> Json:
    """Percentiles without intervals; the mean was not kept."""
    mean = {"value": None, **UNKNOWN, "n": times["max"]["n"], "censored": False}
    return {"mean": mean, **{level: {**found, **UNKNOWN} for level, found in times.items()}}
