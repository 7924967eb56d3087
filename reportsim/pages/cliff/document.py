"""The picture as one JSON document: theory's curve with its knee, and the trajectories of every step and load.

It depends on nothing but the code, so it is a static file; `python -m tools.simulate_cliff` makes it again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from reportsim.benchmark.plan import Plan
from reportsim.benchmark.theory.load_sweep import Setting, point
from reportsim.benchmark.theory.transient import run_from_empty
from reportsim.benchmark.workload import Arrivals
from reportsim.core.json import dumps
from reportsim.core.number_format import percent
from reportsim.pages.cliff.scenario import DURATION_S, LOADS, MEAN_MS, TIMEOUT_S, WORKERS, plan_at
from reportsim.pages.cliff.trajectories import Trajectory, follow

FIXED: Final = {"distribution": "fixed", "mean_ms": MEAN_MS}
# Sync has fallen off when more than this share of its clients give up.
KNEE_SHARE: Final = 0.05
CURVE_LOADS: Final = [load / 2 for load in range(2 * LOADS[0], 2 * LOADS[-1] + 1, 5)]
RATE: Final = "rate"


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """The share of sync clients that give up at a load, and where 95 % of runs of this length lie."""

    load: float
    share: float
    low: float
    high: float
    text: str
    """The share in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """All that the picture shows."""

    workers: int
    timeout_ms: int
    knee: int
    """The highest load in whole percent at which not more than the knee's share give up."""
    curve: Sequence[CurvePoint]
    one: Trajectory
    """A single request."""
    fixed: Mapping[int, Trajectory]
    """By load: even arrivals, equal service times, clients without a time-out."""
    chance: Mapping[int, Trajectory]
    """By load: Poisson arrivals, exponential service times."""

    def as_json(self) -> bytes:
        """The document."""
        return dumps(asdict(self))


def make_document() -> Document:
    """Simulates the picture; takes some seconds."""
    even: dict[str, Any] = {"arrivals": Arrivals.CONSTANT, "service_time": FIXED, "client_timeout_s": None}
    return Document(
        workers=WORKERS,
        timeout_ms=round(1000 * TIMEOUT_S),
        knee=find_knee(),
        curve=[curve_point(load) for load in CURVE_LOADS],
        one=follow(Plan(rate=1, duration_s=1, workers=WORKERS, **even)),
        fixed={load: follow(plan_at(load, **even)) for load in LOADS},
        chance={load: follow(plan_at(load)) for load in LOADS},
    )


def expected_share(load: float) -> float:
    """The share of sync clients that theory expects to give up, in a run that starts empty; exact."""
    plan = plan_at(load)
    share = run_from_empty(plan.rate, plan.service.mean_s, WORKERS, DURATION_S).p_timeout(TIMEOUT_S)
    assert share is not None
    return share


def curve_point(load: float) -> CurvePoint:
    """One point of theory's curve, with the spread of simulated runs."""
    plan = plan_at(load)
    setting = Setting(
        rate=plan.rate, service=plan.service, workers=WORKERS, timeout=TIMEOUT_S, duration_s=float(DURATION_S)
    )
    spread, share = point(setting, RATE, plan.rate).spread, round(expected_share(load), 4)
    return CurvePoint(load=load, share=share, low=round(spread.low, 4), high=round(spread.high, 4), text=percent(share))


def find_knee() -> int:
    """The knee, by bisection: the share grows with the load."""
    low, high = LOADS[0], LOADS[-1]
    while high - low > 1:
        middle = (low + high) // 2
        if expected_share(middle) > KNEE_SHARE:
            high = middle
        else:
            low = middle
    return low
