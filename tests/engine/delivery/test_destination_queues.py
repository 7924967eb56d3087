"""Turns on the wire: nobody waits for the dead, nobody is forgotten, and memory has its bounds."""

import collections
from collections.abc import Iterator

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from reportsim.engine.delivery import destination_queues as module
from reportsim.engine.delivery.destination_queues import DestinationQueues
from reportsim.engine.delivery.queue_group import LIMITS, DestinationHealth, Limits, Permit
from reportsim.engine.delivery.rate_limiter import DestinationRateLimiter

PROMPT, LATE, SILENT, NEW = (
    DestinationHealth.PROMPT,
    DestinationHealth.LATE,
    DestinationHealth.SILENT,
    DestinationHealth.NEW,
)


@pytest.fixture
def queues() -> DestinationQueues[str]:
    return DestinationQueues()


def put(queues: DestinationQueues[str], origin: str, *items: str) -> None:
    for item in items:
        assert queues.take(origin)
        queues.add(origin, item)


def start(queues: DestinationQueues[str]) -> list[Permit[str]]:
    """Everything that there is a permit for."""
    return list(iter(queues.next, None))


def items(permits: list[Permit[str]]) -> list[str]:
    return [permit.item for permit in permits]


def end(queues: DestinationQueues[str], permit: Permit[str], health: DestinationHealth | None = None) -> list[str]:
    """An attempt that has ended and is written down."""
    back = queues.leave(permit, health)
    queues.release(permit)
    return back


def stand(queues: DestinationQueues[str], origin: str, health: DestinationHealth) -> None:
    """Gives a destination a health by one attempt."""
    put(queues, origin, "first")
    [permit] = [permit for permit in start(queues) if permit.queue.origin == origin]
    assert end(queues, permit, health) == []


def numbered(count: int) -> Iterator[str]:
    return (f"item {number}" for number in range(count))


class TestTheWire:
    @pytest.mark.parametrize("health", DestinationHealth)
    def test_has_so_many_places_for_each_destination(
        self, queues: DestinationQueues[str], health: DestinationHealth
    ) -> None:
        if health is not NEW:
            stand(queues, "a", health)
        put(queues, "a", *numbered(12))
        permits = start(queues)
        assert items(permits) == list(numbered(LIMITS[health].each))
        end(queues, permits[0], health)
        assert len(start(queues)) == 1

    def test_is_shared_in_turns(self, queues: DestinationQueues[str]) -> None:
        for origin in "ab":
            stand(queues, origin, PROMPT)
        put(queues, "a", "a1", "a2", "a3")
        put(queues, "b", "b1", "b2", "b3")
        assert items(start(queues)) == ["a1", "b1", "a2", "b2", "a3", "b3"]

    def test_is_given_to_those_who_answer_however_many_are_dead(self, queues: DestinationQueues[str]) -> None:
        stand(queues, "live", PROMPT)
        for number in range(500):
            stand(queues, f"dead {number}", SILENT)
        for number in range(500):
            put(queues, f"dead {number}", "x")
        assert len(start(queues)) == LIMITS[SILENT].together
        put(queues, "live", *numbered(8))
        assert items(start(queues)) == list(numbered(8))

    def test_is_given_to_new_destinations_while_the_dead_have_their_share(self, queues: DestinationQueues[str]) -> None:
        for number in range(500):
            stand(queues, f"dead {number}", SILENT)
            put(queues, f"dead {number}", "x")
        start(queues)
        put(queues, "new", "y")
        assert items(start(queues)) == ["y"]

    def test_is_given_to_the_dead_in_turn(self, queues: DestinationQueues[str]) -> None:
        count = 3 * LIMITS[SILENT].together
        for number in range(count):
            stand(queues, f"dead {number}", SILENT)
        for number in range(count):
            put(queues, f"dead {number}", "1", "2")
        tried: list[str] = []
        while permits := start(queues):
            tried += [permit.queue.origin for permit in permits]
            for permit in permits:
                end(queues, permit, SILENT)
        assert tried == [f"dead {number}" for number in range(count)] * 2

    def test_a_destination_that_answers_again_leaves_the_dead_at_once(self, queues: DestinationQueues[str]) -> None:
        stand(queues, "back", SILENT)
        put(queues, "back", "1", "2", "3")
        [permit] = start(queues)
        for number in range(LIMITS[SILENT].together):
            stand(queues, f"dead {number}", SILENT)
            put(queues, f"dead {number}", "x")
        start(queues)
        end(queues, permit, PROMPT)
        assert items(start(queues))[:2] == ["2", "3"]

    def test_is_left_before_what_was_there_is_written_down(
        self, queues: DestinationQueues[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "MAX_UNRECORDED", 5)
        stand(queues, "a", PROMPT)
        put(queues, "a", *numbered(20))
        written: list[Permit[str]] = []
        while permits := start(queues):
            for permit in permits:
                queues.leave(permit, PROMPT)
            written += permits
        # Eight left it at once, and no more are sent until some are written down.
        assert len(written) == 8
        assert queues._queues["a"].held == 20
        for permit in written[:4]:
            queues.release(permit)
        assert len(start(queues)) == 8

    def test_a_destination_that_falls_silent_waits_its_turn_among_the_dead(
        self, queues: DestinationQueues[str]
    ) -> None:
        stand(queues, "a", PROMPT)
        put(queues, "a", *numbered(20))
        permits = start(queues)
        end(queues, permits[0], SILENT)
        assert start(queues) == []
        for permit in permits[1:]:
            end(queues, permit, SILENT)
        assert len(start(queues)) == 1

    def test_a_new_destination_that_gives_its_place_up_makes_room_for_the_next(
        self, queues: DestinationQueues[str]
    ) -> None:
        count = LIMITS[NEW].together
        for number in range(count + 2):
            put(queues, f"new {number}", f"{number}")
        permits = start(queues)
        assert len(permits) == count
        queues.give_up(permits[0])
        queues.give_up(permits[0])
        assert len(start(queues)) == 1
        # It left its permit only once, however it ends.
        end(queues, permits[0], SILENT)
        queues.give_up(permits[0])
        assert start(queues) == []
        end(queues, permits[1], PROMPT)
        assert len(start(queues)) == 1

    def test_only_so_many_go_on_aside(self, queues: DestinationQueues[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MAX_WITHOUT_PERMIT", 2)
        for number in range(LIMITS[NEW].together + 10):
            put(queues, f"new {number}", f"{number}")
        permits = start(queues)
        for permit in permits[:4]:
            queues.give_up(permit)
        assert len(start(queues)) == 2
        # Those that wait to give theirs up do so when others come back, and are forgotten when they end before.
        end(queues, permits[0], SILENT)
        assert len(start(queues)) == 1
        end(queues, permits[3], SILENT)
        assert len(start(queues)) == 1
        end(queues, permits[1], SILENT)
        assert start(queues) == []
        assert queues._aside == 1

    def test_a_known_destination_gives_no_place_up(self, queues: DestinationQueues[str]) -> None:
        stand(queues, "a", SILENT)
        put(queues, "a", "1", "2")
        [permit] = start(queues)
        queues.give_up(permit)
        assert start(queues) == []

    def test_every_other_new_destination_is_the_newest(self, queues: DestinationQueues[str]) -> None:
        for number in range(1, 8):
            put(queues, f"new {number}", f"{number}")
        assert items(start(queues)) == ["1", "7", "2", "6", "3", "5", "4"]

    def test_a_destination_is_not_new_when_it_is_remembered_from_before(self, queues: DestinationQueues[str]) -> None:
        queues.learn("live", PROMPT)
        queues.learn("dead", SILENT)
        put(queues, "live", "1", "2")
        put(queues, "dead", "x", "y")
        permits = start(queues)
        assert items(permits) == ["1", "2", "x"]
        assert not any(queues.is_new(permit) for permit in permits)

    def test_is_not_given_faster_than_the_pace(self) -> None:
        now = 100.0
        queues: DestinationQueues[str] = DestinationQueues(DestinationRateLimiter(10, lambda: now))
        for origin in "ab":
            stand(queues, origin, PROMPT)
        put(queues, "a", *numbered(40))
        started: list[str] = []

        def run() -> None:
            while permits := start(queues):
                started.extend(items(permits))
                for permit in permits:
                    end(queues, permit, PROMPT)

        run()
        assert started == list(numbered(19))  # and the one that gave it its health
        assert queues.pause == pytest.approx(0.1)
        put(queues, "b", "other")
        assert queues.pause == pytest.approx(0.1)
        run()
        assert started[19:] == ["other"]
        now += 0.55
        run()
        assert started[20:] == list(numbered(24))[19:]
        # What it had is not forgotten when nothing waits any more.
        now += 1.6
        run()
        assert len(started) == 1 + 40
        assert queues._queues == {}
        put(queues, "a", *numbered(3))
        assert start(queues) == []
        now += 0.1
        assert items(start(queues)) == ["item 0"]

    def test_is_given_at_any_pace_where_there_is_none(self) -> None:
        queues: DestinationQueues[str] = DestinationQueues(DestinationRateLimiter(1, lambda: 100.0))
        for _ in range(100):
            assert queues.take("own", paced=False)
            queues.add("own", "x")
            [permit] = start(queues)
            end(queues, permit, PROMPT)
        assert queues.pause is None

    def test_an_attempt_that_says_nothing_changes_no_standing(self, queues: DestinationQueues[str]) -> None:
        stand(queues, "a", PROMPT)
        put(queues, "a", "x")
        [permit] = start(queues)
        end(queues, permit)
        put(queues, "a", *numbered(8))
        assert len(start(queues)) == 8


class TestMemory:
    @pytest.mark.parametrize("health", DestinationHealth)
    def test_of_one_destination_is_a_share_of_what_is_free(
        self, queues: DestinationQueues[str], health: DestinationHealth
    ) -> None:
        if health is not NEW:
            stand(queues, "a", health)
        taken = sum(queues.take("a") for _ in range(10_000))
        limits = LIMITS[health]
        assert taken == int(limits.held * limits.share / (1 + limits.share))
        assert queues.rooms == {"a": 0}

    @pytest.mark.parametrize("health", DestinationHealth)
    def test_leaves_something_to_the_next_however_many_there_are(
        self, queues: DestinationQueues[str], health: DestinationHealth
    ) -> None:
        count = 2_000
        for number in range(count) if health is not NEW else ():
            stand(queues, str(number), health)
        for number in range(count):
            while queues.take(str(number)):
                pass
        assert sum(queues.take("next") for _ in range(100)) >= 1
        assert queues._groups[health].held <= LIMITS[health].held + count

    def test_of_the_dead_takes_none_from_the_others(self, queues: DestinationQueues[str]) -> None:
        stand(queues, "live", PROMPT)
        for number in range(5_000):
            stand(queues, f"dead {number}", SILENT)
        for number in range(5_000):
            while queues.take(f"dead {number}"):
                pass
        assert sum(queues.take("live") for _ in range(10_000)) == LIMITS[PROMPT].held // 2
        assert sum(queues.take("new") for _ in range(10_000)) == LIMITS[NEW].held // 5

    def test_of_all_is_bounded(self, queues: DestinationQueues[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MAX_DESTINATIONS", 3)
        stand(queues, "slow", SILENT)
        assert [queues.take(origin) for origin in "abcda"] == [True, True, True, False, True]
        # So that nothing is claimed for those that would be turned away, and claimed again at once.
        assert queues.room_elsewhere == queues.rooms["slow"] == 0
        assert queues.rooms["a"] > 0

    def test_is_given_back_by_a_destination_that_falls_silent(self, queues: DestinationQueues[str]) -> None:
        stand(queues, "a", PROMPT)
        put(queues, "a", *numbered(2_000))
        permits = start(queues)
        back = end(queues, permits[0], SILENT)
        # The last ones go back, so that the order is kept.
        assert back == [f"item {number}" for number in range(1_999, 1_999 - len(back), -1)]
        assert queues._groups[SILENT].held == queues._queues["a"].held == 14  # of fifteen, one is written down
        assert queues._groups[PROMPT].held == 0

    def test_is_free_again_after_the_last_item(self, queues: DestinationQueues[str]) -> None:
        put(queues, "a", *numbered(50))
        while permits := start(queues):
            for permit in permits:
                end(queues, permit, PROMPT)
        assert queues.rooms == {}
        assert queues._queues == {}
        assert all(group.held == group.active == 0 for group in queues._groups.values())

    def test_of_standings_is_bounded(self, queues: DestinationQueues[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MAX_REMEMBERED", 3)
        for origin in "abcdea":
            stand(queues, origin, SILENT)
        assert list(queues._known) == ["d", "e", "a"]

    def test_is_said_of_those_that_hold_any_and_of_those_that_are_slow(self, queues: DestinationQueues[str]) -> None:
        for health in (PROMPT, LATE, SILENT):
            stand(queues, f"idle and {health}", health)
            stand(queues, f"{health}", health)
            put(queues, f"{health}", "x")
        put(queues, "new", "x")
        assert queues.rooms == {
            "idle and late": 62,
            "idle and silent": 15,
            "prompt": 7_998,
            "late": 61,
            "silent": 14,
            "new": 498,
        }
        assert queues.room_elsewhere == 499

    def test_of_an_unknown_destination_is_never_nothing(self, queues: DestinationQueues[str]) -> None:
        for number in range(2_000):
            while queues.take(str(number)):
                pass
        assert queues.room_elsewhere == 1

    def test_is_dropped_when_the_service_stops(self, queues: DestinationQueues[str]) -> None:
        put(queues, "a", "1", "2")
        [permit] = start(queues)
        queues.clear()
        end(queues, permit, PROMPT)
        assert start(queues) == []


SMALL = {
    NEW: Limits(1, 3, 8, 1 / 2),
    PROMPT: Limits(3, 5, 12, 1),
    LATE: Limits(2, 3, 6, 1 / 2),
    SILENT: Limits(1, 2, 6, 1 / 3),
}
ORIGINS = st.sampled_from("abcdefgh")


class Machine(RuleBasedStateMachine):
    """Any order of events, counted beside the queues."""

    def __init__(self) -> None:
        super().__init__()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "LIMITS", SMALL)
            self.queues: DestinationQueues[int] = DestinationQueues()
        self.number = 0
        self.permits: list[Permit[int]] = []
        self.writing: list[Permit[int]] = []
        self.waiting: dict[str, list[int]] = collections.defaultdict(list)

    @rule(origin=ORIGINS)
    def put(self, origin: str) -> None:
        if self.queues.take(origin):
            self.number += 1
            self.queues.add(origin, self.number)
            self.waiting[origin].append(self.number)

    @rule()
    def start(self) -> None:
        if permit := self.queues.next():
            assert self.waiting[permit.queue.origin].pop(0) == permit.item
            self.permits.append(permit)

    @precondition(lambda self: self.permits)
    @rule(data=st.data(), health=st.none() | st.sampled_from([PROMPT, LATE, SILENT]))
    def leave(self, data: st.DataObject, health: DestinationHealth | None) -> None:
        permit = self.permits.pop(data.draw(st.integers(0, len(self.permits) - 1)))
        for item in self.queues.leave(permit, health):
            assert self.waiting[permit.queue.origin].pop() == item
        self.writing.append(permit)

    @precondition(lambda self: self.permits)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        self.queues.give_up(self.permits[data.draw(st.integers(0, len(self.permits) - 1))])

    @precondition(lambda self: self.writing)
    @rule(data=st.data())
    def write(self, data: st.DataObject) -> None:
        self.queues.release(self.writing.pop(data.draw(st.integers(0, len(self.writing) - 1))))

    @invariant()
    def counts_are_right(self) -> None:
        active = collections.Counter(permit.queue.origin for permit in self.permits)
        writing = collections.Counter(permit.queue.origin for permit in self.writing)
        for origin, queue in self.queues._queues.items():
            assert list(queue.waiting) == self.waiting[origin]
            assert queue.active == active[origin]
            assert queue.held == queue.active + writing[origin] + len(queue.waiting) > 0
            # Whoever may have a permit has a turn, once.
            may = bool(queue.waiting) and queue.active < queue.group.limits.each
            assert queue.in_turn == may
            assert [each for group in self.queues._groups.values() for each in group.turns].count(queue) == may
        assert {origin for origin, waiting in self.waiting.items() if waiting} <= self.queues._queues.keys()
        for group in self.queues._groups.values():
            assert group.active == sum(permit.group is group and not permit.aside for permit in self.permits)
            assert group.held == sum(queue.held for queue in self.queues._queues.values() if queue.group is group)
            assert all(queue.group is group for queue in group.turns)

    @invariant()
    def limits_hold(self) -> None:
        for group in self.queues._groups.values():
            assert group.active <= group.limits.together
        assert self.queues._aside == sum(permit.aside for permit in self.permits) <= module.MAX_WITHOUT_PERMIT


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)
