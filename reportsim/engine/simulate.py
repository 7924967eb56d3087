"""What `simulate` asks for: a service time and a failure, drawn from the request's own seed."""

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

LONGEST_MS: Final = 60_000.0


@dataclass(frozen=True, slots=True)
class Draw:
    """The whole time a slot is held, in seconds, and whether the report fails at its end."""

    service_s: float
    fails: bool


def draw(simulate: Mapping[str, Any]) -> Draw:
    """Draws for one request; the same seed gives the same draw, so that a second execution is the same execution."""
    source = random.Random(simulate["seed"])
    service = simulate.get("service_time")
    seconds = min(service_time(service, source), LONGEST_MS) / 1000 if service else 0.0
    return Draw(seconds, source.random() < simulate.get("failure_rate", 0))


def service_time(service: Mapping[str, Any], source: random.Random) -> float:
    """One service time in milliseconds."""
    match service["distribution"]:
        case "exponential":
            return source.expovariate(1 / service["mean_ms"]) if service["mean_ms"] else 0.0
        case "uniform":
            return source.uniform(service["min_ms"], service["max_ms"])
        case "lognormal":
            if not service["median_ms"]:
                return 0.0
            drawn = source.lognormvariate(math.log(service["median_ms"]), service["sigma"])
            return min(drawn, float(service["max_ms"]))
        case "bimodal":
            slow = source.random() < service["slow_share"]
            return float(service["slow_ms"] if slow else service["fast_ms"])
        case _:
            return float(service["mean_ms"])
