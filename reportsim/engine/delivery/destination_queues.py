"""Which delivery runs next: destinations do not delay each other, however many of them do not answer.

Every destination has a queue, and a health: the result of its last attempt. The queues of one health form a group. They
take turns within it, and each group has permits for connections and memory of its own. So a thousand receivers that
hang share few permits, and those that answer promptly never wait for any of them. A new destination that does not
answer within about a second passes its permit on and continues without one. A rate limiter bounds the calls to each.
"""

import heapq
import itertools
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Generic, TypeVar

from reportsim.engine.delivery.rate_limiter import DestinationRateLimiter

T = TypeVar("T")

MAX_DESTINATIONS: Final = 10_000
MOST_WRITING: Final = 256
REMEMBERED: Final = 10_000
# Attempts at new destinations that have given their permits up, and are on the wire all the same.
MOST_ASIDE: Final = 256


class DestinationHealth(StrEnum):
    """What the last attempt at a destination came to."""

    NEW = "new"
    PROMPT = "prompt"
    LATE = "late"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class Limits:
    """What destinations of one health may have: on the wire each and together, and in memory together.

    Of the memory that is free, none may hold more than a `share`; so there is always some for the next one.
    """

    each: int
    together: int
    held: int
    share: float


LIMITS: Final[Mapping[DestinationHealth, Limits]] = MappingProxyType(
    {
        DestinationHealth.NEW: Limits(1, 128, 2_000, 1 / 4),
        DestinationHealth.PROMPT: Limits(8, 192, 4_000, 1),
        DestinationHealth.LATE: Limits(4, 128, 1_000, 1 / 16),
        DestinationHealth.SILENT: Limits(1, 64, 1_000, 1 / 64),
    }
)


@dataclass(slots=True, eq=False)
class QueueGroup(Generic[T]):
    """The queues of one health, and what they have together; `known` says that those destinations answer."""

    limits: Limits
    known: bool
    active: int = 0
    held: int = 0
    turns: "deque[DestinationQueue[T]]" = field(default_factory=deque)

    def bound(self, held: int) -> int:
        """What a queue may hold while all hold so many; one at least, whatever others hold."""
        return max(int((self.limits.held - held) * self.limits.share), 1)

    def room(self, held: int) -> int:
        """How many more a queue may hold that holds some."""
        return max(self.bound(self.held) - held, 0)


@dataclass(slots=True, eq=False)
class DestinationQueue(Generic[T]):
    """What goes to one destination: some on the wire, others in line."""

    origin: str
    group: QueueGroup[T]
    waiting: deque[T] = field(default_factory=deque)
    active: int = 0
    held: int = 0
    in_turn: bool = False
    paced: bool = False
    resting: bool = False

    def line_up(self) -> None:
        """Asks for a turn, unless it has one, nothing waits, it has its share of the wire, or it rests."""
        if self.waiting and self.active < self.group.limits.each and not self.in_turn and not self.resting:
            self.in_turn = True
            self.group.turns.append(self)


@dataclass(slots=True, eq=False)
class Permit(Generic[T]):
    """A permit on the wire, and what it is for.

    It is `aside` once it was given up while the attempt goes on, and `left` when the attempt has ended.
    """

    queue: DestinationQueue[T]
    group: QueueGroup[T]
    item: T
    aside: bool = False
    left: bool = False


class DestinationQueues(Generic[T]):
    """Everything that waits for the wire or is on it, by destination."""

    def __init__(self, rate_limiter: DestinationRateLimiter | None = None) -> None:
        """Makes no queue; each comes with its first item."""
        self._rate_limiter = rate_limiter
        self._resting: list[tuple[float, int, DestinationQueue[T]]] = []
        self._rests = itertools.count()
        self._groups: dict[DestinationHealth, QueueGroup[T]] = {
            health: QueueGroup(LIMITS[health], health in {DestinationHealth.PROMPT, DestinationHealth.LATE})
            for health in DestinationHealth
        }
        self._queues: dict[str, DestinationQueue[T]] = {}
        self._known: OrderedDict[str, DestinationHealth] = OrderedDict()
        self._writing = 0
        self._aside = 0
        self._overdue: OrderedDict[Permit[T], None] = OrderedDict()
        self._newest = False

    def learn(self, origin: str, health: DestinationHealth) -> None:
        """Remembers what the last attempt at a destination came to, before it has a queue."""
        self._known[origin] = health
        self._known.move_to_end(origin)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    def take(self, origin: str, *, paced: bool = True) -> bool:
        """Reserves memory for one item; False when the destination has no room left."""
        queue = self._queues.get(origin)
        group = queue.group if queue else self._groups[self._known.get(origin, DestinationHealth.NEW)]
        if not group.room(queue.held if queue else 0):
            return False
        if queue is None:
            if self._full:
                return False
            queue = self._queues[origin] = DestinationQueue(origin, group, paced=paced)
            self._rest(queue)
        queue.held += 1
        group.held += 1
        return True

    def add(self, origin: str, item: T) -> None:
        """Lines up an item that memory was reserved for."""
        queue = self._queues[origin]
        queue.waiting.append(item)
        queue.line_up()

    def next(self) -> Permit[T] | None:
        """The next item that there is a permit for on the wire; destinations take turns.

        None either while many wait to be written down that have left the wire: were all of them lost, all would be
        made again.
        """
        if self._writing >= MOST_WRITING:
            return None
        self._wake()
        for group in self._groups.values():
            if group.turns and group.active < group.limits.together:
                queue = self._next_queue(group)
                queue.in_turn = False
                queue.active += 1
                group.active += 1
                permit = Permit(queue, group, queue.waiting.popleft())
                if self._rate_limiter is not None and queue.paced:
                    self._rate_limiter.count(queue.origin)
                    self._rest(queue)
                queue.line_up()
                return permit
        return None

    def _rest(self, queue: DestinationQueue[T]) -> None:
        """Lets a destination rest when its pace is used up."""
        if (
            self._rate_limiter is not None
            and queue.paced
            and (until := self._rate_limiter.next_call(queue.origin)) is not None
        ):
            queue.resting = True
            heapq.heappush(self._resting, (until, next(self._rests), queue))

    def _wake(self) -> None:
        while self._resting and self._rate_limiter is not None and self._resting[0][0] <= self._rate_limiter.now():
            *_, queue = heapq.heappop(self._resting)
            queue.resting = False
            queue.line_up()

    @property
    def pause(self) -> float | None:
        """Seconds until a destination has rested that something waits for; None when none rests."""
        if not self._resting or self._rate_limiter is None:
            return None
        return max(self._resting[0][0] - self._rate_limiter.now(), 0.0)

    def _next_queue(self, group: QueueGroup[T]) -> DestinationQueue[T]:
        """Whose turn it is; of new destinations every other one is the newest, however many hang that came before."""
        if group is self._groups[DestinationHealth.NEW]:
            self._newest = not self._newest
            if not self._newest:
                return group.turns.pop()
        return group.turns.popleft()

    def is_new(self, permit: Permit[T]) -> bool:
        """Whether nothing is known of the destination of a permit."""
        return permit.group is self._groups[DestinationHealth.NEW]

    def give_up(self, permit: Permit[T]) -> None:
        """Gives the permit of a new destination to the next one, now or as soon as another one comes back from aside.

        The attempt goes on; does nothing once it has left the wire.
        """
        if self.is_new(permit) and not permit.aside and not permit.left:
            self._overdue[permit] = None
            self._set_aside()

    def _set_aside(self) -> None:
        while self._overdue and self._aside < MOST_ASIDE:
            permit, _ = self._overdue.popitem(last=False)
            permit.aside = True
            permit.group.active -= 1
            self._aside += 1

    def leave(self, permit: Permit[T], health: DestinationHealth | None = None) -> list[T]:
        """Frees a permit on the wire; what was there is still to be written down.

        Returns items of the destination that its new health leaves no room for, last ones first.
        """
        permit.left = True
        self._overdue.pop(permit, None)
        if permit.aside:
            self._aside -= 1
            self._set_aside()
        else:
            permit.group.active -= 1
        permit.queue.active -= 1
        self._writing += 1
        too_many = self._set_health(permit.queue, health) if health else []
        permit.queue.line_up()
        return too_many

    def written(self, permit: Permit[T]) -> None:
        """Frees the memory of what has left the wire."""
        queue = permit.queue
        self._writing -= 1
        queue.held -= 1
        queue.group.held -= 1
        if not queue.held:
            self._queues.pop(queue.origin, None)

    def _set_health(self, queue: DestinationQueue[T], health: DestinationHealth) -> list[T]:
        self.learn(queue.origin, health)
        old, new = queue.group, self._groups[health]
        if new is old:
            return []
        if queue.in_turn:
            old.turns.remove(queue)
            queue.in_turn = False
        old.held -= queue.held
        queue.group = new
        too_many: list[T] = []
        while queue.waiting and queue.held > new.bound(new.held + queue.held):
            too_many.append(queue.waiting.pop())
            queue.held -= 1
        new.held += queue.held
        return too_many

    @property
    def rooms(self) -> dict[str, int]:
        """How many more each destination may hold that holds any, or that is known not to be prompt."""
        held = {origin: queue.group.room(queue.held) for origin, queue in self._queues.items()}
        slow = {
            origin: 0 if self._full else self._groups[health].room(0)
            for origin, health in self._known.items()
            if health is not DestinationHealth.PROMPT
        }
        return {**slow, **held}

    @property
    def room_elsewhere(self) -> int:
        """How many any other destination may hold."""
        return 0 if self._full else self._groups[DestinationHealth.NEW].room(0)

    @property
    def _full(self) -> bool:
        """Whether there is no queue for another destination."""
        return len(self._queues) >= MAX_DESTINATIONS

    def clear(self) -> None:
        """Drops everything that waits; what is on the wire stays."""
        for queue in self._queues.values():
            queue.waiting.clear()
            queue.in_turn = False
        self._resting.clear()
        for group in self._groups.values():
            group.turns.clear()
