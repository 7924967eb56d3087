"""What a benchmark is asked for: one load, the same for both sides."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from random import Random
from types import MappingProxyType
from typing import Any, Final

from reportsim.benchmark.design import Design, SideDesign
from reportsim.core.model import Mode
from reportsim.core.service_time import LONGEST_MS, ServiceTime

MOST_REQUESTS: Final = 200_000
MOST_DRAIN_S: Final = 600.0
"""What a block may take to work off when its load is over."""
DEFAULT_BLOCKS: Final = 10
FEWEST_BLOCKS: Final = 4
"""The fewest that can be asked for; a run that is too short for them has no intervals."""
SHORTEST_BLOCK_S: Final = 1.0
BOUNDS: Final = MappingProxyType(
    {
        "rate": (0.1, 5_000),
        "duration_s": (1, 600),
        "blocks": (1, 50),
        "seed": (0, 2**31 - 1),
        "workers": (1, 32),
        "client_timeout_s": (0.001, 600),
        "slo_s": (0.001, 600),
        "callback_failures": (0, 20),
    }
)
WHOLE: Final = frozenset({"blocks", "seed", "workers", "callback_failures"})
OPTIONAL: Final = frozenset({"blocks", "client_timeout_s"})


class Arrivals(StrEnum):
    """How requests are spread over a block; the mean rate is the same for all."""

    POISSON = "poisson"
    """Independently of each other."""
    CONSTANT = "constant"
    """Evenly; kinder than life."""
    BURST = "burst"
    """The arrivals of a second at once, at least two."""
    RAMP = "ramp"
    """Independently of each other, from none to twice the rate."""


class Cancel(StrEnum):
    """What a sync server does about a client that left."""

    NONE = "none"
    """Nothing: it goes on working."""
    QUEUED = "queued"
    """It drops the request if no worker has begun."""
    RUNNING = "running"
    """It stops the worker, too."""


class PlanError(ValueError):
    """The parameters are no plan."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two sides of a run: the pattern under its own name, or in an A/A run the same pattern twice."""

    name: str
    mode: Mode


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch of a run in which one side has the load, from empty until empty."""

    side: Side
    number: int
    """Counted from 0; the blocks of both sides with the same number are a pair and have the same requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The parameters of `POST /api/benchmark/both`; the defaults are a minute at 80 % load."""

    rate: float = 8.0
    """Arrivals per second and side."""
    duration_s: float = 60.0
    """Seconds of load per side, in blocks of equal length."""
    blocks: int | None = None
    """Pairs of blocks; None: ten, or as many as fit where a block would be shorter than a second."""
    arrivals: Arrivals = Arrivals.POISSON
    seed: int = 1
    workers: int = 10
    service_time: Mapping[str, Any] | None = field(
        default_factory=lambda: {"distribution": "exponential", "mean_ms": 1000}
    )
    """As in `simulate`, in milliseconds; None: the report's own time."""
    client_timeout_s: float | None = 8.0
    """Seconds from the intended time after which a sync client leaves; None: it never does."""
    slo_s: float = 8.0
    """Seconds within which a result is good."""
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
        for name, (low, high) in BOUNDS.items():
            value = getattr(self, name)
            if value is None and name in OPTIONAL:
                continue
            kind = int if name in WHOLE else (int, float)
            if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high:
                raise PlanError(f"{name} must be a{' whole' if name in WHOLE else ''} number from {low:g} to {high:g}")
        if self.rate * self.duration_s > MOST_REQUESTS:
            raise PlanError(f"rate × duration_s must not exceed {MOST_REQUESTS:,}")
        if self.blocks is None:
            fitting = 1 if self.together else min(DEFAULT_BLOCKS, int(self.duration_s / SHORTEST_BLOCK_S))
            object.__setattr__(self, "blocks", max(fitting, 1))
        elif self.block_s < SHORTEST_BLOCK_S:
            raise PlanError(f"the shortest block is {SHORTEST_BLOCK_S:g} s: duration_s / blocks is less")
        if self.ways and self.both is Mode.SYNC:
            raise PlanError("the ways to learn a result need an async side: ways cannot be combined with both=sync")
        if self.expected_drain_s > MOST_DRAIN_S:
            raise PlanError(f"a block of this load would take more than {MOST_DRAIN_S:g} s to work off")

    @property
    def expected_count(self) -> int:
        """Requests per side on average; how many there are is drawn."""
        return max(round(self.rate * self.duration_s), 1)

    @property
    def pairs(self) -> int:
        """The number of pairs of blocks."""
        assert self.blocks is not None
        return self.blocks

    @property
    def block_s(self) -> float:
        """Seconds of load per block."""
        return self.duration_s / self.pairs

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
        ordered = (self.sides[::-1] if swap else self.sides for swap in self.second_side_first)
        return tuple((Block(side, number),) for number, sides in enumerate(ordered) for side in sides)

    @property
    def second_side_first(self) -> tuple[bool, ...]:
        """For each pair, whether the second side's block comes first: drawn from the seed, in half of the pairs."""
        source = Random(f"{self.seed}/order")
        first = source.random() < 0.5
        swapped = [(number % 2 == 1) != first for number in range(self.pairs)]
        source.shuffle(swapped)
        return tuple(swapped)

    @property
    def design(self) -> Design:
        """What the analysis of its samples needs."""
        poisson = self.arrivals is Arrivals.POISSON
        return Design(
            sides=tuple(SideDesign(name=side.name, timeout_s=self.timeout_of(side.mode)) for side in self.sides),
            blocks=self.pairs,
            block_s=self.block_s,
            slo_s=self.slo_s,
            poisson_rate=self.rate if poisson else None,
            second_side_first=None if self.together else self.second_side_first,
            rho=self.rho or None,
        )

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

    def mode_of(self, side: str) -> Mode:
        """The pattern of a side, given its name."""
        return next(each.mode for each in self.sides if each.name == side)

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
