"""The queue of one destination, and the group of queues whose destinations have the same health."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Generic, TypeVar

T = TypeVar("T")


class DestinationHealth(StrEnum):
    """The result of the last attempt at a destination."""

    NEW = "new"
    PROMPT = "prompt"
    LATE = "late"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of destinations of one health: connections of each and of all, and items in memory of all.

    A destination may hold no more than a `share` of the memory that is free, so that some is left for the next one.
    """

    each: int
    together: int
    held: int
    share: float


LIMITS: Final[Mapping[DestinationHealth, Limits]] = MappingProxyType(
    {
        DestinationHealth.NEW: Limits(1, 128, 2_000, 1 / 4),
        DestinationHealth.PROMPT: Limits(8, 192, 8_000, 1),
        DestinationHealth.LATE: Limits(4, 128, 1_000, 1 / 16),
        DestinationHealth.SILENT: Limits(1, 64, 1_000, 1 / 64),
    }
)


@dataclass(slots=True, eq=False)
class QueueGroup(Generic[T]):
    """The queues of one health, and their counts together; `known` says that those destinations answer."""

    limits: Limits
    known: bool
    active: int = 0
    held: int = 0
    turns: "deque[DestinationQueue[T]]" = field(default_factory=deque)

    def bound(self, held: int) -> int:
        """How many items a queue may hold while all hold `held`; one at least."""
        return max(int((self.limits.held - held) * self.limits.share), 1)

    def room(self, held: int) -> int:
        """How many more items a queue may take that holds `held`."""
        return max(self.bound(self.held) - held, 0)


@dataclass(slots=True, eq=False)
class DestinationQueue(Generic[T]):
    """The items of one destination: some with a connection, others waiting."""

    origin: str
    group: QueueGroup[T]
    waiting: deque[T] = field(default_factory=deque)
    active: int = 0
    held: int = 0
    in_turn: bool = False
    paced: bool = False
    resting: bool = False
    was_full: bool = False

    def take_turn(self) -> None:
        """Takes a turn, unless it has one, nothing waits, its connections are in use, or its rate is exceeded."""
        if self.waiting and self.active < self.group.limits.each and not self.in_turn and not self.resting:
            self.in_turn = True
            self.group.turns.append(self)


@dataclass(slots=True, eq=False)
class Permit(Generic[T]):
    """A permit for a connection, and the item that it is for.

    It is `aside` once it was passed on while the attempt continues, and `left` when the attempt has ended.
    """

    queue: DestinationQueue[T]
    group: QueueGroup[T]
    item: T
    aside: bool = False
    left: bool = False
