"""Finished runs to test with: a plan on an ideal server, and everything that follows from it."""

import functools
import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from reportsim.benchmark.checks.model import Conditions
from reportsim.benchmark.conclusion import conclude
from reportsim.benchmark.plan import Plan
from reportsim.benchmark.results.samples import Integrals, Samples
from reportsim.benchmark.schedule import Schedule, make_schedule
from reportsim.benchmark.theory.prediction import predict
from reportsim.core.json import dumps
from reportsim.core.model import Mode
from reportsim.engine.engine import Engine
from reportsim.store import benchmarks
from tests.benchmark.ideal_run import simulate_side

EXPONENTIAL = {"distribution": "exponential", "mean_ms": 2000}
IDLE = Conditions(
    server_loop_lag_p99_ms=1.0,
    generator_loop_lag_p99_ms=1.0,
    server_cpu_share=0.2,
    generator_cpu_share=0.1,
    load_average=0.3,
)


@dataclass
class Run:
    """A run and all that is known of it."""

    plan: Plan
    schedule: Schedule
    prediction: dict[str, Any]
    samples: dict[str, Samples]
    integrals: dict[str, Integrals]

    def conclude(self, conditions: Conditions = IDLE) -> dict[str, Any]:
        """The result, from the samples as they are now."""
        return conclude(self.plan, self.schedule, self.prediction, self.samples, self.integrals, conditions)


def rehearsed(plan: Plan, prediction_runs: int = 20) -> Run:
    """A run of this plan on an ideal server."""
    schedule = make_schedule(plan)
    sides = {side.name: simulate_side(plan, schedule, side) for side in plan.sides}
    return Run(
        plan,
        schedule,
        predict(plan, prediction_runs),
        {name: side[0] for name, side in sides.items()},
        {name: side[1] for name, side in sides.items()},
    )


def overload(**changes: Any) -> Run:
    """A fresh run at ρ = 1.2 in which clients give up."""
    return rehearsed(Plan(**{"rate": 4.8, "workers": 8, "service_time": EXPONENTIAL, "duration_s": 120.0, **changes}))


@functools.cache
def example() -> tuple[Run, dict[str, Any]]:
    """A run in overload and its result, made once: not to be changed."""
    run = overload()
    return run, run.conclude()


async def finished_run(engine: Engine) -> UUID:
    """The example as a stored run."""
    run, result = example()
    id, now = engine.new_id(), engine.clock.now()
    await benchmarks.insert(
        engine.pool, id, run.plan.as_json(), owner=engine.owner, lease=timedelta(seconds=60), at=now
    )
    assert await benchmarks.start(engine.pool, id, json.dumps(run.prediction), now)
    packed = run.samples[Mode.SYNC].pack(), run.samples[Mode.ASYNC].pack()
    assert await benchmarks.complete(engine.pool, id, dumps(result).decode(), packed, now)
    return id
