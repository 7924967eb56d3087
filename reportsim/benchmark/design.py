"""What an analysis must know of a run beside its samples."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SideDesign:
    """How one side of a run was measured."""

    name: str
    timeout_s: float = math.inf
    """The time-out of its clients, or the deadline of its results; infinite: none is known."""
    answer_timeout_s: float | None = None
    """When its clients give up waiting for an answer; None: as `timeout_s`."""
    drops_work: bool = False
    """Whether its server drops the work of clients that left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """The blocks of a run, and the bounds of its times."""

    sides: tuple[SideDesign, ...]
    """One or two; differences are the second − the first."""
    blocks: int
    block_s: float
    """The arrival window of a block."""
    slo_s: float = math.inf
    """Results that take longer are late."""
    poisson_rate: float | None = None
    """Arrivals per second, where they were planned to be a Poisson process."""
    second_side_first: tuple[bool, ...] | None = None
    """For each pair, whether the block of the second side ran first; None: not known."""
    rho: float | None = None
    """Offered load per worker; None: not known."""
