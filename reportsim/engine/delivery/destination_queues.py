"""Which delivery runs next: destinations do not delay each other, however many of them do not answer.

Every destination has a queue, and a health: the result of its last attempt. The queues of one health form a group. They
take turns within it, and each group has permits for connections and memory of its own. So a thousand receivers that
hang share few permits, and those that answer promptly never wait for any of them. A new destination that does not
answer within about a second passes its permit on and continues without one. A rate limiter bounds the calls to each.
"""

import asyncio
import heapq
import itertools
from collections import OrderedDict
from typing import Final, Generic, TypeVar

from reportsim.engine.delivery.queue_group import LIMITS, DestinationHealth, DestinationQueue, Permit, QueueGroup
from reportsim.engine.delivery.rate_limiter import DestinationRateLimiter

T = TypeVar("T")

MAX_DESTINATIONS: Final = 10_000
MAX_UNRECORDED: Final = 256
MAX_REMEMBERED: Final = 10_000
# Attempts at new destinations that continue after they passed their permit on.
MAX_WITHOUT_PERMIT: Final = 256


class DestinationQueues(Generic[T]):
    """All items that wait for a connection or have one, by destination."""

    def __init__(self, rate_limiter: DestinationRateLimiter | None = None) -> None:
        """Starts without queues; each is created with its first item."""
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
        self.room = asyncio.Event()
        """Set when a queue that was full has run empty."""

    def learn(self, origin: str, health: DestinationHealth) -> None:
        """Remembers the health of a destination, which need not have a queue."""
        self._known[origin] = health
        self._known.move_to_end(origin)
        if len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)

    def take(self, origin: str, *, paced: bool = True) -> bool:
        """Reserves memory for one item; False when the destination has no room."""
        queue = self._queues.get(origin)
        group = queue.group if queue else self._groups[self._known.get(origin, DestinationHealth.NEW)]
        if not group.room(queue.held if queue else 0):
            if queue:
                queue.was_full = True
            return False
        if queue is None:
            if self._full:
                return False
            queue = self._queues[origin] = DestinationQueue(origin, group, paced=paced)
            self._rest(queue)
        queue.held += 1
        group.held += 1
        queue.was_full |= not group.room(queue.held)
        return True

    def add(self, origin: str, item: T) -> None:
        """Queues an item that memory was reserved for."""
        queue = self._queues[origin]
        queue.waiting.append(item)
        queue.take_turn()

    def next(self) -> Permit[T] | None:
        """The next item for which there is a permit; destinations take turns.

        None while many ended attempts are not recorded yet: after a crash each of them would be repeated.
        """
        if self._writing >= MAX_UNRECORDED:
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
                queue.take_turn()
                return permit
        return None

    def _rest(self, queue: DestinationQueue[T]) -> None:
        """Pauses a destination whose rate is used up."""
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
            queue.take_turn()

    @property
    def pause(self) -> float | None:
        """Seconds until the first paused destination continues; None when none is paused."""
        if not self._resting or self._rate_limiter is None:
            return None
        return max(self._resting[0][0] - self._rate_limiter.now(), 0.0)

    def _next_queue(self, group: QueueGroup[T]) -> DestinationQueue[T]:
        """The queue whose turn it is; among new destinations every other turn goes to the newest."""
        if group is self._groups[DestinationHealth.NEW]:
            self._newest = not self._newest
            if not self._newest:
                return group.turns.pop()
        return group.turns.popleft()

    def is_new(self, permit: Permit[T]) -> bool:
        """Whether the destination of a permit is new."""
        return permit.group is self._groups[DestinationHealth.NEW]

    def give_up(self, permit: Permit[T]) -> None:
        """Passes the permit of a new destination on, at once or when fewer attempts continue without a permit.

        The attempt continues; does nothing once it has ended.
        """
        if self.is_new(permit) and not permit.aside and not permit.left:
            self._overdue[permit] = None
            self._set_aside()

    def _set_aside(self) -> None:
        while self._overdue and self._aside < MAX_WITHOUT_PERMIT:
            permit, _ = self._overdue.popitem(last=False)
            permit.aside = True
            permit.group.active -= 1
            self._aside += 1

    def leave(self, permit: Permit[T], health: DestinationHealth | None = None) -> list[T]:
        """Frees a permit; the attempt is still to be recorded.

        Returns items of the destination for which its new health leaves no room, last ones first.
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
        permit.queue.take_turn()
        return too_many

    def release(self, permit: Permit[T]) -> bool:
        """Frees the memory of an attempt that was recorded; returns whether the next one has waited for that."""
        queue = permit.queue
        self._writing -= 1
        queue.held -= 1
        queue.group.held -= 1
        if queue.was_full and not queue.waiting:
            queue.was_full = False
            self.room.set()
        if not queue.held:
            self._queues.pop(queue.origin, None)
        return self._writing == MAX_UNRECORDED - 1

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
        """How many more items each destination may take that holds any, or that is known not to be prompt."""
        held = {origin: queue.group.room(queue.held) for origin, queue in self._queues.items()}
        slow = {
            origin: 0 if self._full else self._groups[health].room(0)
            for origin, health in self._known.items()
            if health is not DestinationHealth.PROMPT
        }
        return {**slow, **held}

    @property
    def room_elsewhere(self) -> int:
        """How many items any other destination may take."""
        return 0 if self._full else self._groups[DestinationHealth.NEW].room(0)

    @property
    def _full(self) -> bool:
        """Whether no queue can be added."""
        return len(self._queues) >= MAX_DESTINATIONS

    def clear(self) -> None:
        """Drops the waiting items; attempts that run are not affected."""
        for queue in self._queues.values():
            queue.waiting.clear()
            queue.in_turn = False
        self._resting.clear()
        for group in self._groups.values():
            group.turns.clear()
