"""The load of a run, whatever service it is sent to: how many requests, when they are due, and in which blocks."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from types import MappingProxyType
from typing import ClassVar, Final

from reportsim.benchmark.design import Design, SideDesign
from reportsim.core.model import Mode

MOST_REQUESTS: Final = 200_000
DEFAULT_BLOCKS: Final = 10
FEWEST_BLOCKS: Final = 4
"""The fewest that can be asked for; a run that is too short for them has no intervals."""
SHORTEST_BLOCK_S: Final = 1.0
BOUNDS: Final[Mapping[str, tuple[float, float]]] = MappingProxyType(
    {
        "rate": (0.1, 5_000),
        "duration_s": (1, 600),
        "blocks": (1, 50),
        "seed": (0, 2**31 - 1),
        "client_timeout_s": (0.001, 600),
        "slo_s": (0.001, 600),
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
class Workload(ABC):
    """One load, the same for each side; the defaults are a minute of eight requests a second."""

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = BOUNDS

    rate: float = 8.0
    """Arrivals per second and side."""
    duration_s: float = 60.0
    """Seconds of load per side, in blocks of equal length."""
    blocks: int | None = None
    """Pairs of blocks; None: ten, or as many as fit where a block would be shorter than a second."""
    arrivals: Arrivals = Arrivals.POISSON
    seed: int = 1
    client_timeout_s: float | None = 8.0
    """Seconds from the intended time after which a client leaves; None: it never does."""
    slo_s: float = 8.0
    """Seconds within which a result is good."""

    def __post_init__(self) -> None:
        for name, (low, high) in self.LIMITS.items():
            value = getattr(self, name)
            if value is None and name in OPTIONAL:
                continue
            kind = int if name in WHOLE else (int, float)
            if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high:
                raise PlanError(f"{name} must be a{' whole' if name in WHOLE else ''} number from {low:g} to {high:g}")
        if self.rate * self.duration_s > MOST_REQUESTS:
            raise PlanError(f"rate times duration must not exceed {MOST_REQUESTS:,} requests per side")
        if self.blocks is None:
            object.__setattr__(self, "blocks", max(self.fitting_blocks, 1))
        elif self.block_s < SHORTEST_BLOCK_S:
            raise PlanError(f"the shortest block is {SHORTEST_BLOCK_S:g} s: plan a longer run or fewer blocks")

    @property
    def fitting_blocks(self) -> int:
        """The blocks of a run that does not say how many."""
        return min(DEFAULT_BLOCKS, int(self.duration_s / SHORTEST_BLOCK_S))

    @property
    def expected_count(self) -> int:
        """Requests per side; on average where their number is a matter of chance."""
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
    def sides(self) -> tuple[Side, ...]:
        """One or two sides; differences are the second − the first."""
        return Side(Mode.SYNC.value, Mode.SYNC), Side(Mode.ASYNC.value, Mode.ASYNC)

    @property
    def steps(self) -> tuple[tuple[Block, ...], ...]:
        """The steps of the run, each of them the blocks that run at once: one."""
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
        return Design(
            sides=tuple(self.design_side(side) for side in self.sides),
            blocks=self.pairs,
            block_s=self.block_s,
            slo_s=self.slo_s,
            poisson_rate=self.rate if self.arrivals is Arrivals.POISSON else None,
            second_side_first=self.second_side_first,
        )

    def design_side(self, side: Side) -> SideDesign:
        """What the analysis must know of one side."""
        answer_s = self.answer_timeout_of(side.mode)
        return SideDesign(name=side.name, timeout_s=self.timeout_of(side.mode), answer_timeout_s=answer_s)

    def mode_of(self, side: str) -> Mode:
        """The pattern of a side, given its name."""
        return next(each.mode for each in self.sides if each.name == side)

    @abstractmethod
    def timeout_of(self, mode: Mode) -> float:
        """When a client is without a result for good, in seconds from when its request is due."""

    def answer_timeout_of(self, mode: Mode) -> float:
        """When a client gives up waiting for an answer, in seconds from when its request is due."""
        return self.timeout_of(mode)
