"""The service whose load the reader sets: what the picture simulates, and what a run measures."""

from typing import Any, Final

from reportsim.benchmark.plan import Plan
from reportsim.benchmark.workload import Arrivals

WORKERS: Final = 4
MEAN_MS: Final = 100
TIMEOUT_S: Final = 0.5
DURATION_S: Final = 8
"""Seconds of load, of the picture and of each side of a run."""
LOADS: Final = range(50, 125, 5)
"""The positions of the control, in percent of what the workers can do."""
FIRST_LOAD: Final = 95
# About as many clients give up as theory expects, at every load, at half time and at the end: few runs do that.
SEED: Final = 19_440


def plan_at(load: float, seed: int = SEED, **changes: Any) -> Plan:
    """The benchmark at a load in percent; the same seed gives the same arrivals, only closer, at a higher load."""
    parameters = {
        "rate": load / 100 * WORKERS * 1000 / MEAN_MS,
        "duration_s": DURATION_S,
        "blocks": 1,
        "arrivals": Arrivals.POISSON,
        "seed": seed,
        "workers": WORKERS,
        "service_time": {"distribution": "exponential", "mean_ms": MEAN_MS},
        "client_timeout_s": TIMEOUT_S,
        "slo_s": TIMEOUT_S,
    }
    return Plan(**{**parameters, **changes})
