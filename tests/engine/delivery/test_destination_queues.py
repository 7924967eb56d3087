"""Turns on the wire: nobody waits for the dead, nobody is forgotten, and memory has its bounds."""

import collections
from collections.abc import Iterator

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from reportsim.engine.delivery import destination_queues as module
from reportsim.engine.delivery.destination_queues import LIMITS, Lanes, Limits, Place, Standing
from reportsim.engine.delivery.pacing import Pace

PROMPT, LATE, SILENT, NEW = Standing.PROMPT, Standing.LATE, Standing.SILENT, Standing.NEW


@pytest.fixture
def lanes() -> Lanes[str]:
    return Lanes()


def put(lanes: Lanes[str], origin: str, *items: str) -> None:
    for item in items:
        assert lanes.take(origin)
        lanes.add(origin, item)


def start(lanes: Lanes[str]) -> list[Place[str]]:
    """Everything that there is a place for."""
    return list(iter(lanes.next, None))


def items(places: list[Place[str]]) -> list[str]:
    return [place.item for place in places]


def end(lanes: Lanes[str], place: Place[str], standing: Standing | None = None) -> list[str]:
    """An attempt that has ended and is written down."""
    back = lanes.leave(place, standing)
    lanes.written(place)
    return back


def stand(lanes: Lanes[str], origin: str, standing: Standing) -> None:
    """Gives a destination a standing by one attempt."""
    put(lanes, origin, "first")
    [place] = [place for place in start(lanes) if place.lane.origin == origin]
    assert end(lanes, place, standing) == []


def numbered(count: int) -> Iterator[str]:
    return (f"item {number}" for number in range(count))


class TestTheWire:
    @pytest.mark.parametrize("standing", Standing)
    def test_has_so_many_places_for_each_destination(self, lanes: Lanes[str], standing: Standing) -> None:
        if standing is not NEW:
            stand(lanes, "a", standing)
        put(lanes, "a", *numbered(12))
        places = start(lanes)
        assert items(places) == list(numbered(LIMITS[standing].each))
        end(lanes, places[0], standing)
        assert len(start(lanes)) == 1

    def test_is_shared_in_turns(self, lanes: Lanes[str]) -> None:
        for origin in "ab":
            stand(lanes, origin, PROMPT)
        put(lanes, "a", "a1", "a2", "a3")
        put(lanes, "b", "b1", "b2", "b3")
        assert items(start(lanes)) == ["a1", "b1", "a2", "b2", "a3", "b3"]

    def test_is_given_to_those_who_answer_however_many_are_dead(self, lanes: Lanes[str]) -> None:
        stand(lanes, "live", PROMPT)
        for number in range(500):
            stand(lanes, f"dead {number}", SILENT)
        for number in range(500):
            put(lanes, f"dead {number}", "x")
        assert len(start(lanes)) == LIMITS[SILENT].together
        put(lanes, "live", *numbered(8))
        assert items(start(lanes)) == list(numbered(8))

    def test_is_given_to_new_destinations_while_the_dead_have_their_share(self, lanes: Lanes[str]) -> None:
        for number in range(500):
            stand(lanes, f"dead {number}", SILENT)
            put(lanes, f"dead {number}", "x")
        start(lanes)
        put(lanes, "new", "y")
        assert items(start(lanes)) == ["y"]

    def test_is_given_to_the_dead_in_turn(self, lanes: Lanes[str]) -> None:
        count = 3 * LIMITS[SILENT].together
        for number in range(count):
            stand(lanes, f"dead {number}", SILENT)
        for number in range(count):
            put(lanes, f"dead {number}", "1", "2")
        tried: list[str] = []
        while places := start(lanes):
            tried += [place.lane.origin for place in places]
            for place in places:
                end(lanes, place, SILENT)
        assert tried == [f"dead {number}" for number in range(count)] * 2

    def test_a_destination_that_answers_again_leaves_the_dead_at_once(self, lanes: Lanes[str]) -> None:
        stand(lanes, "back", SILENT)
        put(lanes, "back", "1", "2", "3")
        [place] = start(lanes)
        for number in range(LIMITS[SILENT].together):
            stand(lanes, f"dead {number}", SILENT)
            put(lanes, f"dead {number}", "x")
        start(lanes)
        end(lanes, place, PROMPT)
        assert items(start(lanes))[:2] == ["2", "3"]

    def test_is_left_before_what_was_there_is_written_down(
        self, lanes: Lanes[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "MOST_WRITING", 5)
        stand(lanes, "a", PROMPT)
        put(lanes, "a", *numbered(20))
        written: list[Place[str]] = []
        while places := start(lanes):
            for place in places:
                lanes.leave(place, PROMPT)
            written += places
        # Eight left it at once, and no more are sent until some are written down.
        assert len(written) == 8
        assert lanes._lanes["a"].held == 20
        for place in written[:4]:
            lanes.written(place)
        assert len(start(lanes)) == 8

    def test_a_destination_that_falls_silent_waits_its_turn_among_the_dead(self, lanes: Lanes[str]) -> None:
        stand(lanes, "a", PROMPT)
        put(lanes, "a", *numbered(20))
        places = start(lanes)
        end(lanes, places[0], SILENT)
        assert start(lanes) == []
        for place in places[1:]:
            end(lanes, place, SILENT)
        assert len(start(lanes)) == 1

    def test_a_new_destination_that_gives_its_place_up_makes_room_for_the_next(self, lanes: Lanes[str]) -> None:
        count = LIMITS[NEW].together
        for number in range(count + 2):
            put(lanes, f"new {number}", f"{number}")
        places = start(lanes)
        assert len(places) == count
        lanes.give_up(places[0])
        lanes.give_up(places[0])
        assert len(start(lanes)) == 1
        # It left its place only once, however it ends.
        end(lanes, places[0], SILENT)
        lanes.give_up(places[0])
        assert start(lanes) == []
        end(lanes, places[1], PROMPT)
        assert len(start(lanes)) == 1

    def test_only_so_many_go_on_aside(self, lanes: Lanes[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MOST_ASIDE", 2)
        for number in range(LIMITS[NEW].together + 10):
            put(lanes, f"new {number}", f"{number}")
        places = start(lanes)
        for place in places[:4]:
            lanes.give_up(place)
        assert len(start(lanes)) == 2
        # Those that wait to give theirs up do so when others come back, and are forgotten when they end before.
        end(lanes, places[0], SILENT)
        assert len(start(lanes)) == 1
        end(lanes, places[3], SILENT)
        assert len(start(lanes)) == 1
        end(lanes, places[1], SILENT)
        assert start(lanes) == []
        assert lanes._aside == 1

    def test_a_known_destination_gives_no_place_up(self, lanes: Lanes[str]) -> None:
        stand(lanes, "a", SILENT)
        put(lanes, "a", "1", "2")
        [place] = start(lanes)
        lanes.give_up(place)
        assert start(lanes) == []

    def test_every_other_new_destination_is_the_newest(self, lanes: Lanes[str]) -> None:
        for number in range(1, 8):
            put(lanes, f"new {number}", f"{number}")
        assert items(start(lanes)) == ["1", "7", "2", "6", "3", "5", "4"]

    def test_a_destination_is_not_new_when_it_is_remembered_from_before(self, lanes: Lanes[str]) -> None:
        lanes.learn("live", PROMPT)
        lanes.learn("dead", SILENT)
        put(lanes, "live", "1", "2")
        put(lanes, "dead", "x", "y")
        places = start(lanes)
        assert items(places) == ["1", "2", "x"]
        assert not any(lanes.is_new(place) for place in places)

    def test_is_not_given_faster_than_the_pace(self) -> None:
        now = 100.0
        lanes: Lanes[str] = Lanes(Pace(10, lambda: now))
        for origin in "ab":
            stand(lanes, origin, PROMPT)
        put(lanes, "a", *numbered(40))
        started: list[str] = []

        def run() -> None:
            while places := start(lanes):
                started.extend(items(places))
                for place in places:
                    end(lanes, place, PROMPT)

        run()
        assert started == list(numbered(19))  # and the one that gave it its standing
        assert lanes.pause == pytest.approx(0.1)
        put(lanes, "b", "other")
        assert lanes.pause == pytest.approx(0.1)
        run()
        assert started[19:] == ["other"]
        now += 0.55
        run()
        assert started[20:] == list(numbered(24))[19:]
        # What it had is not forgotten when nothing waits any more.
        now += 1.6
        run()
        assert len(started) == 1 + 40
        assert lanes._lanes == {}
        put(lanes, "a", *numbered(3))
        assert start(lanes) == []
        now += 0.1
        assert items(start(lanes)) == ["item 0"]

    def test_is_given_at_any_pace_where_there_is_none(self) -> None:
        lanes: Lanes[str] = Lanes(Pace(1, lambda: 100.0))
        for _ in range(100):
            assert lanes.take("own", paced=False)
            lanes.add("own", "x")
            [place] = start(lanes)
            end(lanes, place, PROMPT)
        assert lanes.pause is None

    def test_an_attempt_that_says_nothing_changes_no_standing(self, lanes: Lanes[str]) -> None:
        stand(lanes, "a", PROMPT)
        put(lanes, "a", "x")
        [place] = start(lanes)
        end(lanes, place)
        put(lanes, "a", *numbered(8))
        assert len(start(lanes)) == 8


class TestMemory:
    @pytest.mark.parametrize("standing", Standing)
    def test_of_one_destination_is_a_share_of_what_is_free(self, lanes: Lanes[str], standing: Standing) -> None:
        if standing is not NEW:
            stand(lanes, "a", standing)
        taken = sum(lanes.take("a") for _ in range(10_000))
        limits = LIMITS[standing]
        assert taken == int(limits.held * limits.share / (1 + limits.share))
        assert lanes.rooms == {"a": 0}

    @pytest.mark.parametrize("standing", Standing)
    def test_leaves_something_to_the_next_however_many_there_are(self, lanes: Lanes[str], standing: Standing) -> None:
        count = 2_000
        for number in range(count) if standing is not NEW else ():
            stand(lanes, str(number), standing)
        for number in range(count):
            while lanes.take(str(number)):
                pass
        assert sum(lanes.take("next") for _ in range(100)) >= 1
        assert lanes._tracks[standing].held <= LIMITS[standing].held + count

    def test_of_the_dead_takes_none_from_the_others(self, lanes: Lanes[str]) -> None:
        stand(lanes, "live", PROMPT)
        for number in range(5_000):
            stand(lanes, f"dead {number}", SILENT)
        for number in range(5_000):
            while lanes.take(f"dead {number}"):
                pass
        assert sum(lanes.take("live") for _ in range(10_000)) == LIMITS[PROMPT].held // 2
        assert sum(lanes.take("new") for _ in range(10_000)) == LIMITS[NEW].held // 5

    def test_of_all_is_bounded(self, lanes: Lanes[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MOST_LANES", 3)
        stand(lanes, "slow", SILENT)
        assert [lanes.take(origin) for origin in "abcda"] == [True, True, True, False, True]
        # So that nothing is claimed for those that would be turned away, and claimed again at once.
        assert lanes.room_elsewhere == lanes.rooms["slow"] == 0
        assert lanes.rooms["a"] > 0

    def test_is_given_back_by_a_destination_that_falls_silent(self, lanes: Lanes[str]) -> None:
        stand(lanes, "a", PROMPT)
        put(lanes, "a", *numbered(2_000))
        places = start(lanes)
        back = end(lanes, places[0], SILENT)
        # The last ones go back, so that the order is kept.
        assert back == [f"item {number}" for number in range(1_999, 1_999 - len(back), -1)]
        assert lanes._tracks[SILENT].held == lanes._lanes["a"].held == 14  # of fifteen, one is written down
        assert lanes._tracks[PROMPT].held == 0

    def test_is_free_again_after_the_last_item(self, lanes: Lanes[str]) -> None:
        put(lanes, "a", *numbered(50))
        while places := start(lanes):
            for place in places:
                end(lanes, place, PROMPT)
        assert lanes.rooms == {}
        assert lanes._lanes == {}
        assert all(track.held == track.active == 0 for track in lanes._tracks.values())

    def test_of_standings_is_bounded(self, lanes: Lanes[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "REMEMBERED", 3)
        for origin in "abcdea":
            stand(lanes, origin, SILENT)
        assert list(lanes._known) == ["d", "e", "a"]

    def test_is_said_of_those_that_hold_any_and_of_those_that_are_slow(self, lanes: Lanes[str]) -> None:
        for standing in (PROMPT, LATE, SILENT):
            stand(lanes, f"idle and {standing}", standing)
            stand(lanes, f"{standing}", standing)
            put(lanes, f"{standing}", "x")
        put(lanes, "new", "x")
        assert lanes.rooms == {
            "idle and late": 62,
            "idle and silent": 15,
            "prompt": 3_998,
            "late": 61,
            "silent": 14,
            "new": 498,
        }
        assert lanes.room_elsewhere == 499

    def test_of_an_unknown_destination_is_never_nothing(self, lanes: Lanes[str]) -> None:
        for number in range(2_000):
            while lanes.take(str(number)):
                pass
        assert lanes.room_elsewhere == 1

    def test_is_dropped_when_the_service_stops(self, lanes: Lanes[str]) -> None:
        put(lanes, "a", "1", "2")
        [place] = start(lanes)
        lanes.clear()
        end(lanes, place, PROMPT)
        assert start(lanes) == []


SMALL = {
    NEW: Limits(1, 3, 8, 1 / 2),
    PROMPT: Limits(3, 5, 12, 1),
    LATE: Limits(2, 3, 6, 1 / 2),
    SILENT: Limits(1, 2, 6, 1 / 3),
}
ORIGINS = st.sampled_from("abcdefgh")


class Machine(RuleBasedStateMachine):
    """Any order of events, counted beside the lanes."""

    def __init__(self) -> None:
        super().__init__()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "LIMITS", SMALL)
            self.lanes: Lanes[int] = Lanes()
        self.number = 0
        self.places: list[Place[int]] = []
        self.writing: list[Place[int]] = []
        self.waiting: dict[str, list[int]] = collections.defaultdict(list)

    @rule(origin=ORIGINS)
    def put(self, origin: str) -> None:
        if self.lanes.take(origin):
            self.number += 1
            self.lanes.add(origin, self.number)
            self.waiting[origin].append(self.number)

    @rule()
    def start(self) -> None:
        if place := self.lanes.next():
            assert self.waiting[place.lane.origin].pop(0) == place.item
            self.places.append(place)

    @precondition(lambda self: self.places)
    @rule(data=st.data(), standing=st.none() | st.sampled_from([PROMPT, LATE, SILENT]))
    def leave(self, data: st.DataObject, standing: Standing | None) -> None:
        place = self.places.pop(data.draw(st.integers(0, len(self.places) - 1)))
        for item in self.lanes.leave(place, standing):
            assert self.waiting[place.lane.origin].pop() == item
        self.writing.append(place)

    @precondition(lambda self: self.places)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        self.lanes.give_up(self.places[data.draw(st.integers(0, len(self.places) - 1))])

    @precondition(lambda self: self.writing)
    @rule(data=st.data())
    def write(self, data: st.DataObject) -> None:
        self.lanes.written(self.writing.pop(data.draw(st.integers(0, len(self.writing) - 1))))

    @invariant()
    def counts_are_right(self) -> None:
        active = collections.Counter(place.lane.origin for place in self.places)
        writing = collections.Counter(place.lane.origin for place in self.writing)
        for origin, lane in self.lanes._lanes.items():
            assert list(lane.waiting) == self.waiting[origin]
            assert lane.active == active[origin]
            assert lane.held == lane.active + writing[origin] + len(lane.waiting) > 0
            # Whoever may have a place has a turn, once.
            may = bool(lane.waiting) and lane.active < lane.track.limits.each
            assert lane.in_turn == may
            assert [each for track in self.lanes._tracks.values() for each in track.turns].count(lane) == may
        assert {origin for origin, waiting in self.waiting.items() if waiting} <= self.lanes._lanes.keys()
        for track in self.lanes._tracks.values():
            assert track.active == sum(place.track is track and not place.aside for place in self.places)
            assert track.held == sum(lane.held for lane in self.lanes._lanes.values() if lane.track is track)
            assert all(lane.track is track for lane in track.turns)

    @invariant()
    def limits_hold(self) -> None:
        for track in self.lanes._tracks.values():
            assert track.active <= track.limits.together
        assert self.lanes._aside == sum(place.aside for place in self.places) <= module.MOST_ASIDE


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)
