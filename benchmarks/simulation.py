"""How fast the theory of the benchmark is: `python -m benchmarks.simulation`; fails below what is promised.

Customers a second of the event simulation, each policy; what the prediction and the result of a small and of the
largest run take. Medians of three.
"""

import statistics
import sys
import time
from array import array
from collections.abc import Callable
from random import Random

from reportsim.benchmark.checks.model import Conditions
from reportsim.benchmark.conclusion import conclude
from reportsim.benchmark.plan import Cancel, Plan
from reportsim.benchmark.schedule import make_schedule
from reportsim.benchmark.theory.prediction import predict
from reportsim.benchmark.theory.simulation import simulate
from reportsim.benchmark.workload import MOST_REQUESTS
from tests.benchmark.ideal_run import simulate_side

ROUNDS = 3
CUSTOMERS = 200_000
PROMISED = 500_000


def seconds(action: Callable[[], object]) -> float:
    """The median of some rounds."""
    taken = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        action()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def load() -> tuple["array[float]", "array[float]"]:
    """Arrivals and service times at ρ = 0.9 of ten workers."""
    source, at, arrivals = Random(1), 0.0, array("d")
    for _ in range(CUSTOMERS):
        at += source.expovariate(9)
        arrivals.append(at)
    return arrivals, array("d", (source.expovariate(1) for _ in range(CUSTOMERS)))


def simulation() -> float:
    """Prints each policy's rate; the lowest one."""
    arrivals, services = load()
    deadlines = array("d", (arrival + 8 for arrival in arrivals))
    rates = []
    for cancel in Cancel:

        def run(cancel: Cancel = cancel) -> object:
            return simulate(arrivals, services, workers=10, deadlines=deadlines, cancel=cancel)

        rates.append(CUSTOMERS / seconds(run))
        print(f"event simulation, cancel {cancel:<8} {rates[-1]:12,.0f} customers/s (promised {PROMISED:,})")
    return min(rates)


def whole(name: str, plan: Plan) -> None:
    """Prints what a run of a plan costs before and after it."""
    schedule, prediction = make_schedule(plan), predict(plan)
    sides = {side.name: simulate_side(plan, schedule, side) for side in plan.sides}
    samples, integrals = ({mode: side[part] for mode, side in sides.items()} for part in (0, 1))

    def concluded() -> object:
        return conclude(plan, schedule, prediction, samples, integrals, Conditions())  # type: ignore[arg-type]

    print(
        f"{name:<32} schedule {seconds(lambda: make_schedule(plan)):6.2f} s, "
        f"prediction {seconds(lambda: predict(plan)):6.2f} s, result {seconds(concluded):6.2f} s"
    )


def main() -> int:
    """Prints the table."""
    slowest = simulation()
    whole("480 requests a side", Plan())
    service = {"distribution": "exponential", "mean_ms": 9}
    whole(f"{MOST_REQUESTS:,} requests a side", Plan(rate=1_000, duration_s=200, service_time=service))
    return int(slowest < PROMISED)


if __name__ == "__main__":
    sys.exit(main())
