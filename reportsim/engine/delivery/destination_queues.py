"""Whose turn it is on the wire: destinations do not delay each other, however many of them are dead.

Every destination has a lane, and every lane a standing: what its last attempt came to. Lanes of one standing take
turns, and have places on the wire and in memory of their own. So a thousand receivers that hang share a few places
among themselves, and those that answer promptly never wait for any of them. A new destination that does not answer
within about a second gives its place up to the next one, and goes on aside. None is called more often than a pace.
"""

import heapq
import itertools
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Generic, TypeVar

from reportsim.engine.delivery.pacing import Pace

T = TypeVar("T")

MOST_LANES: Final = 10_000
MOST_WRITING: Final = 256
REMEMBERED: Final = 10_000
# Attempts at new destinations that have given their places up, and are on the wire all the same.
MOST_ASIDE: Final = 256


class Standing(StrEnum):
    """What the last attempt at a destination came to."""

    NEW = "new"
    PROMPT = "prompt"
    LATE = "late"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class Limits:
    """What destinations of one standing may have: on the wire each and together, and in memory together.

    Of the memory that is free, none may hold more than a `share`; so there is always some for the next one.
    """

    each: int
    together: int
    held: int
    share: float


LIMITS: Final[Mapping[Standing, Limits]] = MappingProxyType(
    {
        Standing.NEW: Limits(1, 128, 2_000, 1 / 4),
        Standing.PROMPT: Limits(8, 192, 4_000, 1),
        Standing.LATE: Limits(4, 128, 1_000, 1 / 16),
        Standing.SILENT: Limits(1, 64, 1_000, 1 / 64),
    }
)


@dataclass(slots=True, eq=False)
class Track(Generic[T]):
    """The lanes of one standing, and what they have together; `known` says that those destinations answer."""

    limits: Limits
    known: bool
    active: int = 0
    held: int = 0
    turns: "deque[Lane[T]]" = field(default_factory=deque)

    def bound(self, held: int) -> int:
        """What a lane may hold while all hold so many; one at least, whatever others hold."""
        return max(int((self.limits.held - held) * self.limits.share), 1)

    def room(self, held: int) -> int:
        """How many more a lane may hold that holds some."""
        return max(self.bound(self.held) - held, 0)


@dataclass(slots=True, eq=False)
class Lane(Generic[T]):
    """What goes to one destination: some on the wire, others in line."""

    origin: str
    track: Track[T]
    waiting: deque[T] = field(default_factory=deque)
    active: int = 0
    held: int = 0
    in_turn: bool = False
    paced: bool = False
    resting: bool = False

    def line_up(self) -> None:
        """Asks for a turn, unless it has one, nothing waits, it has its share of the wire, or it rests."""
        if self.waiting and self.active < self.track.limits.each and not self.in_turn and not self.resting:
            self.in_turn = True
            self.track.turns.append(self)


@dataclass(slots=True, eq=False)
class Place(Generic[T]):
    """A place on the wire, and what it is for.

    It is `aside` once it was given up while the attempt goes on, and `left` when the attempt has ended.
    """

    lane: Lane[T]
    track: Track[T]
    item: T
    aside: bool = False
    left: bool = False


class Lanes(Generic[T]):
    """Everything that waits for the wire or is on it, by destination."""

    def __init__(self, pace: Pace | None = None) -> None:
        """Makes no lane; each comes with its first item."""
        self._pace = pace
        self._resting: list[tuple[float, int, Lane[T]]] = []
        self._rests = itertools.count()
        self._tracks: dict[Standing, Track[T]] = {
            standing: Track(LIMITS[standing], standing in {Standing.PROMPT, Standing.LATE}) for standing in Standing
        }
        self._lanes: dict[str, Lane[T]] = {}
        self._known: OrderedDict[str, Standing] = OrderedDict()
        self._writing = 0
        self._aside = 0
        self._overdue: OrderedDict[Place[T], None] = OrderedDict()
        self._newest = False

    def learn(self, origin: str, standing: Standing) -> None:
        """Remembers what the last attempt at a destination came to, before it has a lane."""
        self._known[origin] = standing
        self._known.move_to_end(origin)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    def take(self, origin: str, *, paced: bool = True) -> bool:
        """Reserves memory for one item; False when the destination has no room left."""
        lane = self._lanes.get(origin)
        track = lane.track if lane else self._tracks[self._known.get(origin, Standing.NEW)]
        if not track.room(lane.held if lane else 0):
            return False
        if lane is None:
            if self._full:
                return False
            lane = self._lanes[origin] = Lane(origin, track, paced=paced)
            self._rest(lane)
        lane.held += 1
        track.held += 1
        return True

    def add(self, origin: str, item: T) -> None:
        """Lines up an item that memory was reserved for."""
        lane = self._lanes[origin]
        lane.waiting.append(item)
        lane.line_up()

    def next(self) -> Place[T] | None:
        """The next item that there is a place for on the wire; destinations take turns.

        None either while many wait to be written down that have left the wire: were all of them lost, all would be
        made again.
        """
        if self._writing >= MOST_WRITING:
            return None
        self._wake()
        for track in self._tracks.values():
            if track.turns and track.active < track.limits.together:
                lane = self._next_lane(track)
                lane.in_turn = False
                lane.active += 1
                track.active += 1
                place = Place(lane, track, lane.waiting.popleft())
                if self._pace is not None and lane.paced:
                    self._pace.count(lane.origin)
                    self._rest(lane)
                lane.line_up()
                return place
        return None

    def _rest(self, lane: Lane[T]) -> None:
        """Lets a destination rest when its pace is used up."""
        if self._pace is not None and lane.paced and (until := self._pace.next_call(lane.origin)) is not None:
            lane.resting = True
            heapq.heappush(self._resting, (until, next(self._rests), lane))

    def _wake(self) -> None:
        while self._resting and self._pace is not None and self._resting[0][0] <= self._pace.now():
            *_, lane = heapq.heappop(self._resting)
            lane.resting = False
            lane.line_up()

    @property
    def pause(self) -> float | None:
        """Seconds until a destination has rested that something waits for; None when none rests."""
        if not self._resting or self._pace is None:
            return None
        return max(self._resting[0][0] - self._pace.now(), 0.0)

    def _next_lane(self, track: Track[T]) -> Lane[T]:
        """Whose turn it is; of new destinations every other one is the newest, however many hang that came before."""
        if track is self._tracks[Standing.NEW]:
            self._newest = not self._newest
            if not self._newest:
                return track.turns.pop()
        return track.turns.popleft()

    def is_new(self, place: Place[T]) -> bool:
        """Whether nothing is known of the destination of a place."""
        return place.track is self._tracks[Standing.NEW]

    def give_up(self, place: Place[T]) -> None:
        """Gives the place of a new destination to the next one, now or as soon as another one comes back from aside.

        The attempt goes on; does nothing once it has left the wire.
        """
        if self.is_new(place) and not place.aside and not place.left:
            self._overdue[place] = None
            self._set_aside()

    def _set_aside(self) -> None:
        while self._overdue and self._aside < MOST_ASIDE:
            place, _ = self._overdue.popitem(last=False)
            place.aside = True
            place.track.active -= 1
            self._aside += 1

    def leave(self, place: Place[T], standing: Standing | None = None) -> list[T]:
        """Frees a place on the wire; what was there is still to be written down.

        Returns items of the destination that its new standing leaves no room for, last ones first.
        """
        place.left = True
        self._overdue.pop(place, None)
        if place.aside:
            self._aside -= 1
            self._set_aside()
        else:
            place.track.active -= 1
        place.lane.active -= 1
        self._writing += 1
        too_many = self._stand(place.lane, standing) if standing else []
        place.lane.line_up()
        return too_many

    def written(self, place: Place[T]) -> None:
        """Frees the memory of what has left the wire."""
        lane = place.lane
        self._writing -= 1
        lane.held -= 1
        lane.track.held -= 1
        if not lane.held:
            self._lanes.pop(lane.origin, None)

    def _stand(self, lane: Lane[T], standing: Standing) -> list[T]:
        self.learn(lane.origin, standing)
        old, new = lane.track, self._tracks[standing]
        if new is old:
            return []
        if lane.in_turn:
            old.turns.remove(lane)
            lane.in_turn = False
        old.held -= lane.held
        lane.track = new
        too_many: list[T] = []
        while lane.waiting and lane.held > new.bound(new.held + lane.held):
            too_many.append(lane.waiting.pop())
            lane.held -= 1
        new.held += lane.held
        return too_many

    @property
    def rooms(self) -> dict[str, int]:
        """How many more each destination may hold that holds any, or that is known not to be prompt."""
        held = {origin: lane.track.room(lane.held) for origin, lane in self._lanes.items()}
        slow = {
            origin: 0 if self._full else self._tracks[standing].room(0)
            for origin, standing in self._known.items()
            if standing is not Standing.PROMPT
        }
        return {**slow, **held}

    @property
    def room_elsewhere(self) -> int:
        """How many any other destination may hold."""
        return 0 if self._full else self._tracks[Standing.NEW].room(0)

    @property
    def _full(self) -> bool:
        """Whether there is no lane for another destination."""
        return len(self._lanes) >= MOST_LANES

    def clear(self) -> None:
        """Drops everything that waits; what is on the wire stays."""
        for lane in self._lanes.values():
            lane.waiting.clear()
            lane.in_turn = False
        self._resting.clear()
        for track in self._tracks.values():
            track.turns.clear()
