"""A distribution of service times as the command line takes it: a name, and fields of the API where wanted."""

import argparse
import math
from collections.abc import Callable
from typing import Any, Final

from reportsim.cli.errors import CommandError

LONG_TAIL: Final = 0.6
SLOW_SHARE: Final = 0.1
SLOW_TIMES: Final = 10.0
DISTRIBUTIONS: Final = {
    "exponential": ("mean_ms",),
    "fixed": ("mean_ms",),
    "uniform": ("min_ms", "max_ms"),
    "lognormal": ("median_ms", "sigma", "max_ms"),
    "bimodal": ("fast_ms", "slow_ms", "slow_share"),
}
Maker = Callable[[float | None], dict[str, Any]]


def service_time(text: str) -> Maker:
    """Reads `NAME[,FIELD=VALUE…]`; what comes back completes it with a mean in seconds."""
    name, *pairs = text.split(",")
    if name not in DISTRIBUTIONS:
        raise argparse.ArgumentTypeError(f"must begin with one of {', '.join(DISTRIBUTIONS)}")
    given: dict[str, float] = {}
    for pair in pairs:
        field, _, value = pair.partition("=")
        if field not in DISTRIBUTIONS[name]:
            raise argparse.ArgumentTypeError(f"{name} has the fields {', '.join(DISTRIBUTIONS[name])}")
        number = float(value)
        if not (math.isfinite(number) and number >= 0) or (field == "slow_share" and number > 1):
            raise argparse.ArgumentTypeError(f"{field} cannot be {value}")
        given[field] = number
    return lambda mean_s: {"distribution": name, **complete(name, given, mean_s)}


def complete(name: str, given: dict[str, float], mean_s: float | None) -> dict[str, float]:
    """All fields of a distribution: those given, and the others so that the mean comes out as wanted."""
    fields = {"max_ms": math.inf, "sigma": LONG_TAIL, **given} if name == "lognormal" else dict(given)
    if all(field in fields for field in DISTRIBUTIONS[name]):
        if mean_s is not None:
            raise CommandError("--mean is said already by the fields of --distribution")
        return validate(fields)
    if mean_s is None:
        raise CommandError("predict needs --mean, or a --distribution with all its fields")
    mean = 1000 * mean_s
    match name:
        case "uniform":
            low, high = given.get("min_ms"), given.get("max_ms")
            if low is None:
                low = 0.0 if high is None else 2 * mean - high
            fields["min_ms"] = low
            fields["max_ms"] = 2 * mean - low if high is None else high
        case "lognormal":
            fields["median_ms"] = mean / math.exp(fields["sigma"] ** 2 / 2)
        case "bimodal":
            share = fields.setdefault("slow_share", SLOW_SHARE)
            if "slow_ms" in given:
                fields["fast_ms"] = (mean - share * given["slow_ms"]) / (1 - share) if share < 1 else 0.0
            else:
                fast = fields.setdefault("fast_ms", mean / (1 - share + share * SLOW_TIMES))
                fields["slow_ms"] = (mean - (1 - share) * fast) / share if share else fast
        case _:
            fields["mean_ms"] = mean
    return validate(fields)


def validate(fields: dict[str, float]) -> dict[str, float]:
    """The fields, if they can be times at all."""
    if min(fields.values()) < 0 or fields.get("min_ms", 0.0) > fields.get("max_ms", math.inf):
        raise CommandError("--mean does not fit the fields of --distribution")
    return fields
