"""What a benchmark is asked for: one load, the same for both sides."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any, ClassVar, Final

from reportsim.benchmark import workload
from reportsim.benchmark.design import Design, SideDesign
from reportsim.benchmark.workload import Arrivals, Block, PlanError, Side, Workload
from reportsim.core.model import Mode
from reportsim.core.service_time import LONGEST_MS, ServiceTime

MOST_DRAIN_S: Final = 600.0
"""What a block may take to work off when its load is over."""
MOST_SIDE_DRAIN_S: Final = 1_200.0
"""What all blocks of a side may take to work off, together: a run ends within about an hour."""
BOUNDS: Final[Mapping[str, tuple[float, float]]] = MappingProxyType(
    {**workload.BOUNDS, "workers": (1, 32), "callback_failures": (0, 20)}
)


class Cancel(StrEnum):
    """What a sync server does about a client that left."""

    NONE = "none"
    """Nothing: it goes on working."""
    QUEUED = "queued"
    """It drops the request if no worker has begun."""
    RUNNING = "running"
    """It stops the worker, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan(Workload):
    """The parameters of `POST /api/benchmark/both`; the defaults are a minute at 80 % load."""

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = BOUNDS

    workers: int = 10
    service_time: Mapping[str, Any] | None = field(
        default_factory=lambda: {"distribution": "exponential", "mean_ms": 1000}
    )
    """As in `simulate`, in milliseconds; None: the report's own time."""
    cancel: Cancel = Cancel.NONE
    both: Mode | None = None
    """The pattern of both sides of an A/A run; None: sync against async."""
    callback_failures: int = 0
    """How often the receiver answers 503 to each callback before it takes it."""
    together: bool = False
    """Whether this is a race: both sides at once, in one block, each with its own workers."""
    ways: bool = False
    """Whether the other ways to learn a result than by callback are measured, too; each takes as long as a block."""
    report: Mapping[str, Any] = field(default_factory=lambda: {"ledger": "tiny"})
    """The ledger, and fields of a report."""

    def __post_init__(self) -> None:
        # dataclass(slots=True) makes a new class, which a bare super() does not know.
        Workload.__post_init__(self)
        if self.ways and self.both is Mode.SYNC:
            raise PlanError("the other ways to learn a result need an async side")
        if self.expected_drain_s > MOST_DRAIN_S:
            raise PlanError(f"a block of this load would take more than {MOST_DRAIN_S:g} s to work off")

    def check_length(self) -> None:
        """Refuses a run that would take too long; runs that have ended may have taken any time.

        Raises:
            PlanError: All blocks of a side together would be worked off too late.
        """
        if self.pairs * self.expected_drain_s > MOST_SIDE_DRAIN_S:
            raise PlanError(f"the blocks of a side would take more than {MOST_SIDE_DRAIN_S:g} s to work off")

    @property
    def fitting_blocks(self) -> int:
        """The blocks of a run that does not say how many: a race has one."""
        return 1 if self.together else super(Plan, self).fitting_blocks

    @property
    def sides(self) -> tuple[Side, Side]:
        """Both sides; differences are the second − the first."""
        if self.both is not None:
            return Side("a", self.both), Side("b", self.both)
        return Side(Mode.SYNC.value, Mode.SYNC), Side(Mode.ASYNC.value, Mode.ASYNC)

    @property
    def steps(self) -> tuple[tuple[Block, ...], ...]:
        """The steps of the run: one block each, but in a race both sides of the only pair at once."""
        if self.together:
            return (tuple(Block(side, 0) for side in self.sides),)
        return super(Plan, self).steps

    @property
    def design(self) -> Design:
        """What the analysis of its samples needs."""
        order = None if self.together else self.second_side_first
        return replace(super(Plan, self).design, second_side_first=order, rho=self.rho or None)

    def design_side(self, side: Side) -> SideDesign:
        """What the analysis must know of one side."""
        drops_work = self.cancel_of(side.mode) is not Cancel.NONE
        return replace(super(Plan, self).design_side(side), drops_work=drops_work)

    @property
    def service(self) -> ServiceTime:
        """The distribution of service times, as the server bounds it."""
        return ServiceTime(self.service_time, LONGEST_MS)

    @property
    def rho(self) -> float:
        """Offered load per worker."""
        return self.rate * self.service.mean_s / self.workers

    @property
    def expected_drain_s(self) -> float:
        """Seconds for which workers are busy after a block's load, if no work is dropped."""
        return max(self.rho - 1, 0.0) * self.block_s

    def simulate(self, seed: int) -> dict[str, Any] | None:
        """What a request asks to be simulated, given its own seed."""
        return {"service_time": dict(self.service_time), "seed": seed} if self.service_time else None

    def body(self, seed: int) -> dict[str, Any]:
        """The body of the request with this seed, but for its callback."""
        simulate = self.simulate(seed)
        return {**self.report, **({"simulate": simulate} if simulate else {})}

    def timeout_of(self, mode: Mode) -> float:
        """When a client gives up, in seconds from when its request is due; async clients never do."""
        return math.inf if mode is Mode.ASYNC or self.client_timeout_s is None else self.client_timeout_s

    def cancel_of(self, mode: Mode) -> Cancel:
        """What the server does about clients that left; async clients never leave."""
        return Cancel.NONE if mode is Mode.ASYNC else self.cancel

    def as_json(self) -> dict[str, Any]:
        """The parameters as the API has them."""
        parameters = asdict(self)
        report = parameters.pop("report")
        return {**parameters, **report}

    @classmethod
    def from_json(cls, parameters: Mapping[str, Any]) -> "Plan":
        """A plan from validated parameters; what is no parameter of the load belongs to the report.

        Raises:
            PlanError: A value is out of its bounds.
        """
        own = {item.name for item in fields(cls)} - {"report"}
        given = {name: value for name, value in parameters.items() if name in own}
        report = {name: value for name, value in parameters.items() if name not in own}
        for name, kind in (("arrivals", Arrivals), ("cancel", Cancel), ("both", Mode)):
            if given.get(name) is not None:
                try:
                    given[name] = kind(given[name])
                except ValueError:
                    raise PlanError(f"{name} must be one of {', '.join(kind)}") from None
        return cls(**given, report={"ledger": "tiny", **report})
