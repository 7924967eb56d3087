"""The picture as the server draws it: the curve with its measured points, and the last moment of every run."""

import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final
from uuid import UUID

from reportsim.benchmark.plan import Cancel, Plan
from reportsim.benchmark.results.stored_run import upgrade_plan
from reportsim.benchmark.workload import Arrivals
from reportsim.pages.cliff.scenario import LOADS, plan_at
from reportsim.store.benchmarks import Summary

FILE: Final = "cliff.json"
# Clients stand in columns, in the order of their arrival; units of the view box.
ROWS: Final = 8
PITCH: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Still:
    """A run at its end: the paths of its clients, and what became of them."""

    clients: int
    gave_up: int
    median_ms: int
    served: str
    """Sync clients that got their report."""
    gone: str
    everyone: str

    @property
    def share(self) -> float:
        """The share of sync clients that gave up."""
        return self.gave_up / self.clients


@dataclass(frozen=True, slots=True, kw_only=True)
class Cliff:
    """What is the same for everyone who opens the page."""

    knee: int
    curve: str
    """The share of sync clients that give up by load, in a view box of 100 by 100."""
    band: str
    """Where 95 % of runs lie."""
    expected: Mapping[int, float]
    """The curve at the positions of the control."""
    stills: Mapping[int, Still]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredPoint:
    """A run in the plane of the curve."""

    id: UUID
    load: float
    """In percent."""
    share: float
    """Of sync clients, those that gave up."""
    trusted: bool
    same_service: bool
    """Whether it had the workers, the times and the length that the curve is made for."""

    @property
    def x(self) -> float:
        """Its place in percent of the width."""
        return place(self.load)

    @property
    def y(self) -> float:
        """Its place in percent of the height, from the top."""
        return round(100 - 100 * self.share, 2)


@functools.cache
def load_cliff() -> Cliff:
    """The picture, from its document; read once per process, before the event loop serves requests."""
    document = json.loads((resources.files("reportsim") / "static" / FILE).read_bytes())
    curve = document["curve"]
    upper = [(point["load"], point["high"]) for point in curve]
    lower = [(point["load"], point["low"]) for point in curve]
    return Cliff(
        knee=document["knee"],
        curve="M" + outline((point["load"], point["share"]) for point in curve),
        band=f"M{outline([*upper, *reversed(lower)])}Z",
        expected={load: next(point["share"] for point in curve if point["load"] == load) for load in LOADS},
        stills={load: draw_still(document["chance"][str(load)]) for load in LOADS},
    )


def place(load: float) -> float:
    """The place of a load on the x axis, in percent."""
    return round(100 * (load - LOADS[0]) / (LOADS[-1] - LOADS[0]), 2)


def outline(points: Iterable[tuple[float, float]]) -> str:
    """Points given as load and share, as the inner part of a path."""
    return "L".join(f"{place(load):g} {100 - 100 * share:.4g}" for load, share in points)


def draw_still(trajectory: Mapping[str, Any]) -> Still:
    """The end of a run: who got a report, and who had given up."""
    count, gave_up = len(trajectory["arrivals"]), set(trajectory["gave_up"])
    return Still(
        clients=count,
        gave_up=len(gave_up),
        median_ms=trajectory["median_ms"],
        served=dots(index for index in range(count) if index not in gave_up),
        gone="".join(f"M{x - 3} {y - 3}l6 6m0-6l-6 6" for x, y in map(cell, sorted(gave_up))),
        everyone=dots(range(count)),
    )


def dots(indices: Iterable[int]) -> str:
    """A path with a point, which its round cap makes a dot, for each client."""
    return "".join(f"M{x} {y}h0" for x, y in map(cell, indices))


def cell(index: int) -> tuple[int, int]:
    """Where a client stands."""
    return PITCH * (index // ROWS) + PITCH // 2, PITCH * (index % ROWS) + PITCH // 2


def measured_points(runs: Sequence[Summary]) -> list[MeasuredPoint]:
    """The runs that can be compared with theory: random arrivals, a load in the range, clients with a time-out."""
    return [found for run in runs if (found := measured_point(run)) is not None]


def measured_point(run: Summary) -> MeasuredPoint | None:
    """One run as a point, if it can be one."""
    if run.sync_timeout_share is None:
        return None
    plan = Plan.from_json(upgrade_plan(run.plan))
    load = round(100 * plan.rho, 1)
    if plan.arrivals is not Arrivals.POISSON or plan.cancel is not Cancel.NONE or plan.client_timeout_s is None:
        return None
    if not LOADS[0] <= load <= LOADS[-1]:
        return None
    return MeasuredPoint(
        id=run.id,
        load=load,
        share=run.sync_timeout_share,
        trusted=bool(run.trusted),
        same_service=plan == plan_at(load, plan.seed, rate=plan.rate),
    )


def name_other(run: Summary | None) -> str | None:
    """A run that is in progress, in a word, if it is no measurement of the picture."""
    if run is None:
        return None
    plan = Plan.from_json(upgrade_plan(run.plan))
    if plan == plan_at(round(100 * plan.rho), plan.seed):
        return None
    return "race" if plan.together else "benchmark"


@dataclass(frozen=True, slots=True, kw_only=True)
class CliffFigure:
    """The picture with what was measured here."""

    cliff: Cliff
    load: int
    """The position of the control, in percent."""
    points: Sequence[MeasuredPoint]
    measuring: bool
    """Whether a run is in progress, so that none can be started."""
    other: str | None
    """What is in progress if it is no measurement of the picture."""

    @property
    def still(self) -> Still:
        """The run at the load."""
        return self.cliff.stills[self.load]

    @property
    def expected(self) -> float:
        """The share of sync clients that give up at the load, by theory."""
        return self.cliff.expected[self.load]

    @property
    def marker(self) -> tuple[float, float]:
        """The place of the load on the curve, in percent."""
        return place(self.load), round(100 - 100 * self.expected, 2)

    @property
    def knee_place(self) -> float:
        """The place of the knee on the x axis."""
        return place(self.cliff.knee)
