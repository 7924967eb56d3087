"""The hub: the first change at once, then gathered; what was missed is replayed, or said to be lost."""

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import AsyncIterator, Container
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportsim.core.json import dumps
from reportsim.core.model import CallbackStatus, Request, Status
from reportsim.engine.events import hub as event_hub
from reportsim.engine.events import ring
from reportsim.engine.events import subscriber as subscribers
from reportsim.engine.events.hub import EventHub
from reportsim.engine.events.messages import OF_MESSAGE, Message, Source, View, encode, render_messages
from reportsim.engine.events.subscriber import Subscriber
from tests.store.rows import URL, attempt_at, new, new_id, now

SILENCE_S = 0.05
ENOUGH_S = 5.0


def pending(**fields: Any) -> Request:
    return new(**fields).request


def working(request: Request) -> Request:
    return replace(request, status=Status.PROCESSING, started_at=now(), tries=1)


def done(request: Request) -> Request:
    return replace(request, status=Status.COMPLETED, completed_at=now(), result_payload={"rows": 1})


def parse(raw: bytes) -> list[tuple[str, str, Any]]:
    """The messages of a piece of stream, each as id, event and data."""
    found = []
    for block in raw.decode().split("\n\n")[:-1]:
        lines = dict(line.split(": ", 1) for line in block.split("\n"))
        found.append((lines["id"], lines["event"], json.loads(lines["data"])))
    return found


async def read(subscriber: Subscriber) -> list[tuple[str, str, Any]]:
    """What comes next; fails when nothing does."""
    raw = await subscriber.read(ENOUGH_S)
    assert raw
    return parse(raw)


async def states(subscriber: Subscriber) -> list[dict[str, str]]:
    """The requests of the next piece, message by message, each with its status."""
    return [
        {item["id"]: item["status"] for item in data["items"]}
        for _, event, data in await read(subscriber)
        if event == "requests"
    ]


async def is_silent(subscriber: Subscriber) -> bool:
    return await subscriber.read(SILENCE_S) == b""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gathers for a moment only."""
    monkeypatch.setattr(event_hub, "GATHER_S", 0.02)


@pytest.fixture
async def hub() -> AsyncIterator[EventHub]:
    async with EventHub().running() as running:
        yield running


async def quiet(hub: EventHub) -> None:
    """Waits until the gathering time of what was published has passed."""
    with hub.subscribe() as subscriber:
        while await subscriber.read(SILENCE_S):
            pass


class TestGathering:
    async def test_the_first_change_is_sent_at_once(self, hub: EventHub, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(event_hub, "GATHER_S", 3600)
        request = pending()
        with hub.subscribe() as subscriber:
            hub.publish([request])
            [(id, event, data)] = await read(subscriber)
        assert (id, event) == (f"{hub.boot}-1", "requests")
        assert data == {"items": [json.loads(json.dumps(request.as_json()))]}

    async def test_what_follows_is_sent_together_in_its_newest_state(self, hub: EventHub) -> None:
        first, second = pending(), pending()
        with hub.subscribe() as subscriber:
            hub.publish([first])
            assert await states(subscriber) == [{str(first.id): "PENDING"}]
            hub.publish([working(first)])
            hub.publish([second])
            hub.publish([done(first)])
            assert await states(subscriber) == [{str(second.id): "PENDING", str(first.id): "COMPLETED"}]
            assert await is_silent(subscriber)

    async def test_a_state_that_comes_late_is_no_news(self, hub: EventHub) -> None:
        request = pending()
        with hub.subscribe() as subscriber:
            hub.publish([working(request)])
            hub.publish([request])
            assert await states(subscriber) == [{str(request.id): "PROCESSING"}]
            hub.publish([request])
            assert await is_silent(subscriber)

    async def test_attempts_and_new_series_are_news(self, hub: EventHub) -> None:
        request = done(pending(callback_url=URL))
        tried = replace(request, callback_attempts=1)
        failed = replace(tried, callback_status=CallbackStatus.FAILED)
        again = replace(failed, callback_series=2, callback_attempts=0, callback_status=CallbackStatus.PENDING)
        with hub.subscribe() as subscriber:
            for state in (request, tried, failed, again):
                hub.publish([state])
                [(_, _, data)] = await read(subscriber)
                shown = data["items"][0]
                assert (shown["callback_status"], shown["callback_attempts"]) == (
                    state.callback_status,
                    state.callback_attempts,
                )
            hub.publish([failed])
            assert await is_silent(subscriber)

    async def test_nothing_is_sent_of_nothing(self, hub: EventHub) -> None:
        with hub.subscribe() as subscriber:
            hub.publish([])
            assert await is_silent(subscriber)
        assert hub.last_id == f"{hub.boot}-0"

    async def test_log_rows_and_other_events_are_sent_each_by_itself(self, hub: EventHub) -> None:
        log = attempt_at(pending(callback_url=URL)).log
        with hub.subscribe() as subscriber:
            hub.publish_log(log)
            hub.publish_event("stats", {"busy": 1})
            assert await read(subscriber) == [
                (f"{hub.boot}-1", "callback", log.as_json()),
                (f"{hub.boot}-2", "stats", {"busy": 1}),
            ]

    async def test_too_many_changes_at_once_are_a_reset(self, hub: EventHub, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(event_hub, "MAX_CHANGES", 10)
        with hub.subscribe() as subscriber:
            hub.publish([pending() for _ in range(11)])
            assert [(event, data) for _, event, data in await read(subscriber)] == [("reset", {})]
            request = pending()
            hub.publish([request])
            assert await states(subscriber) == [{str(request.id): "PENDING"}]

    async def test_many_changes_of_few_requests_are_not_too_many(
        self, hub: EventHub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(event_hub, "MAX_CHANGES", 2)
        requests = [pending(), pending()]
        with hub.subscribe() as subscriber:
            for change in (lambda request: request, working, done):
                hub.publish([change(request) for request in requests])
            assert await states(subscriber) == [{str(request.id): "COMPLETED" for request in requests}]


class TestFilters:
    async def test_a_stream_about_one_request_has_nothing_else(self, hub: EventHub) -> None:
        mine, other = pending(callback_url=URL), pending(callback_url=URL)
        log, other_log = attempt_at(mine).log, attempt_at(other).log
        with hub.subscribe(request_id=mine.id) as subscriber:
            hub.publish([other, mine])
            assert await states(subscriber) == [{str(mine.id): "PENDING"}]
            hub.publish_log(other_log)
            hub.publish_log(log)
            assert [data["id"] for _, _, data in await read(subscriber)] == [str(log.id)]
            hub.publish([working(other)])
            assert await is_silent(subscriber)

    async def test_rows_of_a_run_show_to_those_who_name_it_and_to_no_one_else(self, hub: EventHub) -> None:
        run = new_id()
        inside, outside, elsewhere = pending(run_id=run), pending(), pending(run_id=new_id())
        with hub.subscribe() as everyone, hub.subscribe(run=run) as of_run, hub.subscribe(request_id=inside.id) as one:
            hub.publish([inside, outside, elsewhere])
            assert await states(everyone) == [{str(outside.id): "PENDING"}]
            assert await states(of_run) == [{str(inside.id): "PENDING"}]
            assert await states(one) == [{str(inside.id): "PENDING"}]
            hub.publish([working(inside)])
            assert await states(of_run) == [{str(inside.id): "PROCESSING"}]
            hub.publish_log(attempt_at(inside).log, run)
            assert len(await read(of_run)) == 1
            assert await is_silent(everyone)

    async def test_what_concerns_everyone_reaches_everyone(self, hub: EventHub) -> None:
        with (
            hub.subscribe() as everyone,
            hub.subscribe(run=new_id()) as of_run,
            hub.subscribe(request_id=new_id()) as one,
        ):
            hub.publish_event("stats", {})
            hub.reset()
            for subscriber in (everyone, of_run, one):
                assert [event for _, event, _ in await read(subscriber)] == ["stats", "reset"]


RUNS = [None, new_id(), new_id()]
# Each about one of a few requests, each of which belongs to a run or to none.
SOURCES = [Source(request.id, request.run_id, request) for request in (pending(run_id=run) for run in RUNS * 2)]
VIEWS = [View(request_id, run) for request_id in [None, *(source.id for source in SOURCES), new_id()] for run in RUNS]


def is_seen(view: View, source: Source) -> bool:
    """What a filter lets through, said for one subscriber and one state."""
    if view.request_id is not None and source.id != view.request_id:
        return False
    return source.run == view.run if view.run or view.request_id is None else True


def filtered(messages: list[Message], view: View) -> bytes:
    """Some messages as one subscriber sees them that goes through all of them by itself."""
    chunks = []
    for message in messages:
        sources = cast(list[Source], message._parts)
        data = [dumps(source.state.as_json()) for source in sources if is_seen(view, source)]
        if message.render_unfiltered():
            chunks.append(message.render_unfiltered())
        elif data:
            whole = data[0] if message.event == "callback" else b'{"items":[' + b",".join(data) + b"]}"
            chunks.append(encode(message.id, message.event, whole))
    return b"".join(chunks)


@given(
    st.lists(st.lists(st.sampled_from(SOURCES), max_size=8, unique_by=lambda source: source.id), max_size=5),
    st.lists(st.sampled_from(VIEWS), unique=True),
)
def test_every_view_shows_exactly_what_its_filter_lets_through(told: list[list[Source]], views: list[View]) -> None:
    def messages() -> list[Message]:
        return [
            Message(number, f"boot-{number}", ("requests", "callback")[len(sources) == 1], sources, b"")
            if sources
            else Message(number, f"boot-{number}", "stats", [], b"{}")
            for number, sources in enumerate(told)
        ]

    expected = {view: filtered(messages(), view) for view in views}
    assert render_messages(messages(), views) == {view: chunk for view, chunk in expected.items() if chunk}


async def test_a_thousand_streams_walk_through_what_happened_once(
    hub: EventHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    walks = 0
    render_for = Message.render_for

    def counted(message: Message, views: Container[View]) -> dict[View, bytes]:
        nonlocal walks
        walks += 1
        return render_for(message, views)

    monkeypatch.setattr(Message, "render_for", counted)
    with contextlib.ExitStack() as stack:
        requests = [pending() for _ in range(1_000)]
        streams = [stack.enter_context(hub.subscribe(request_id=request.id)) for request in requests]
        hub.publish(requests)
        assert await states(streams[-1]) == [{str(requests[-1].id): "PENDING"}]
    assert walks == 1
    assert hub._subscribers == {}


class TestReplay:
    async def test_what_came_after_an_id_is_sent_first(self, hub: EventHub) -> None:
        first, second = pending(), pending()
        hub.publish([first])
        await quiet(hub)
        seen = hub.last_id
        hub.publish([second])
        await quiet(hub)
        hub.publish([working(second)])
        await quiet(hub)
        with hub.subscribe(seen) as subscriber:
            assert await states(subscriber) == [{str(second.id): "PENDING"}, {str(second.id): "PROCESSING"}]
            third = pending()
            hub.publish([third])
            assert await states(subscriber) == [{str(third.id): "PENDING"}]

    async def test_whoever_missed_nothing_gets_nothing(self, hub: EventHub) -> None:
        hub.publish_event("stats", {})
        for last_id in (hub.last_id, None, ""):
            with hub.subscribe(last_id) as subscriber:
                assert await is_silent(subscriber)

    async def test_from_the_very_beginning_everything_is_sent(self, hub: EventHub) -> None:
        for number in range(3):
            hub.publish_event("stats", {"n": number})
        with hub.subscribe(f"{hub.boot}-0") as subscriber:
            assert [data["n"] for _, _, data in await read(subscriber)] == [0, 1, 2]

    async def test_a_replay_is_filtered_like_the_stream(self, hub: EventHub) -> None:
        run = new_id()
        inside, outside = pending(run_id=run), pending()
        hub.publish([inside, outside])
        await quiet(hub)
        with hub.subscribe(f"{hub.boot}-0", run=run) as of_run, hub.subscribe(f"{hub.boot}-0") as everyone:
            assert await states(of_run) == [{str(inside.id): "PENDING"}]
            assert await states(everyone) == [{str(outside.id): "PENDING"}]

    async def test_an_id_too_old_is_answered_with_a_reset_and_the_newest_id(
        self, hub: EventHub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(hub._ring, "messages", deque(maxlen=3))
        for number in range(5):
            hub.publish_event("stats", {"n": number})
        with hub.subscribe(f"{hub.boot}-1") as subscriber:
            assert await read(subscriber) == [(hub.last_id, "reset", {})]
        with hub.subscribe(f"{hub.boot}-2") as subscriber:
            assert [data["n"] for _, _, data in await read(subscriber)] == [2, 3, 4]

    @pytest.mark.parametrize(
        "last_id",
        [
            "0123456789abcdef-0",
            "{boot}-2",
            "{boot}-99999999999999999999",
            "{boot}--1",
            "{boot}-",
            "{boot}-x",
            "{boot}-٣",
            "{boot}",
            "nonsense",
            "-",
            "☃",
        ],
    )
    async def test_an_id_that_is_not_ours_is_answered_with_a_reset(self, hub: EventHub, last_id: str) -> None:
        hub.publish_event("stats", {})
        with hub.subscribe(last_id.format(boot=hub.boot)) as subscriber:
            assert await read(subscriber) == [(hub.last_id, "reset", {})]

    async def test_a_replay_comes_in_pieces_and_nothing_of_it_is_kept_for_those_who_do_not_read(
        self, hub: EventHub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for number in range(100):
            hub.publish_event("stats", {"n": number, "filler": "x" * 1_000})
        monkeypatch.setattr(ring, "PIECE", 4_000)
        with contextlib.ExitStack() as stack:
            streams = [stack.enter_context(hub.subscribe(f"{hub.boot}-0")) for _ in range(50)]
            assert hub.budget.spent == sum(stream.queued for stream in streams) == 0
            found: list[int] = []
            while len(found) < 100:
                piece = await streams[0].read(ENOUGH_S)
                assert piece
                assert len(piece) <= 4_000
                found += [data["n"] for _, _, data in parse(piece)]
            assert found == list(range(100))
            # Of what comes meanwhile nothing is queued for those who are not that far.
            hub.publish_event("stats", {"n": 100})
            assert [data["n"] for _, _, data in await read(streams[0])] == [100]
            assert hub.budget.spent == 0

    async def test_what_happens_during_a_replay_comes_after_it_and_once(
        self, hub: EventHub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ring, "PIECE", 1)
        for number in range(3):
            hub.publish_event("stats", {"n": number})
        with hub.subscribe(f"{hub.boot}-0") as subscriber:
            found = [data["n"] for _, _, data in await read(subscriber)]
            hub.publish_event("stats", {"n": 3})
            while len(found) < 4:
                found += [data["n"] for _, _, data in await read(subscriber)]
            assert found == [0, 1, 2, 3]
            assert await is_silent(subscriber)

    async def test_a_replay_that_the_ring_has_overtaken_is_a_reset(
        self, hub: EventHub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ring, "PIECE", 1)
        monkeypatch.setattr(hub._ring, "messages", deque(maxlen=3))
        for number in range(3):
            hub.publish_event("stats", {"n": number})
        with hub.subscribe(f"{hub.boot}-0") as subscriber:
            assert [data["n"] for _, _, data in await read(subscriber)] == [0]
            for number in range(3, 8):
                hub.publish_event("stats", {"n": number})
            assert await read(subscriber) == [(hub.last_id, "reset", {})]
            hub.publish_event("stats", {"n": 8})
            assert [data["n"] for _, _, data in await read(subscriber)] == [8]

    async def test_resuming_renders_no_more_than_a_piece(self, hub: EventHub, monkeypatch: pytest.MonkeyPatch) -> None:
        rendered = 0
        whole = Message._render

        def counted(message: Message, number: int) -> bytes:
            nonlocal rendered
            rendered += 1
            return whole(message, number)

        monkeypatch.setattr(ring, "PIECE", 1_000)
        for _ in range(20):
            hub._send([hub._message("requests", [Source(item.id, None, item) for item in (pending(), pending())])])
        monkeypatch.setattr(Message, "_render", counted)
        with hub.subscribe(f"{hub.boot}-0") as subscriber:
            assert rendered == 0
            await read(subscriber)
            assert rendered <= 4

    async def test_a_stream_that_is_shown_nothing_walks_through_what_happened_in_pieces_too(
        self, hub: EventHub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Such pieces are empty, so their size bounds nothing."""
        monkeypatch.setattr(ring, "MAX_PARTS", 10)
        for _ in range(50):
            hub._send([hub._message("requests", [Source(item.id, None, item) for item in (pending(), pending())])])
        for view in ({"request_id": new_id()}, {"run": new_id()}):
            with hub.subscribe(f"{hub.boot}-0", **view) as subscriber:
                steps = []
                while (begun := subscriber.position) is not None:
                    assert hub._replay(subscriber) == b""
                    steps.append((50 if subscriber.position is None else subscriber.position) - begun)
                assert sum(steps) == 50
                assert max(steps) <= 10

    @pytest.mark.parametrize("kept", [True, False])
    async def test_queues_share_a_budget_beyond_which_they_read_from_the_ring_or_are_reset(
        self, hub: EventHub, monkeypatch: pytest.MonkeyPatch, kept: bool
    ) -> None:
        if not kept:
            monkeypatch.setattr(ring, "MAX_BYTES", 3 * OF_MESSAGE + 200)
        monkeypatch.setattr(event_hub, "MAX_QUEUED_BYTES", 500)
        with contextlib.ExitStack() as stack:
            streams = [stack.enter_context(hub.subscribe()) for _ in range(10)]
            for number in range(100):
                hub.publish_event("stats", {"n": number})
                assert hub.budget.spent <= 500
            for stream in streams:
                found = [(event, data.get("n")) for _, event, data in await read(stream)]
                assert found == ([("stats", number) for number in range(100)] if kept else [("reset", None)])
        assert hub.budget.spent == 0

    async def test_what_is_kept_of_many_small_events_is_bounded(
        self, hub: EventHub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ring, "MAX_BYTES", 10 * OF_MESSAGE)
        for _ in range(100):
            hub.reset()
        assert len(hub._ring.messages) < 10

    async def test_ids_count_up_and_never_repeat(self, hub: EventHub) -> None:
        with hub.subscribe() as subscriber:
            for _ in range(5):
                hub.publish_event("stats", {})
            assert [id for id, _, _ in await read(subscriber)] == [f"{hub.boot}-{n}" for n in range(1, 6)]
        assert EventHub().boot != hub.boot


class TestSubscribers:
    async def test_one_who_does_not_read_is_cut_with_what_it_has_and_hurts_nobody(
        self, hub: EventHub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(subscribers, "MAX_CHUNKS", 5)
        with hub.subscribe() as slow, hub.subscribe() as quick:
            for number in range(8):
                hub.publish_event("stats", {"n": number})
                assert [data["n"] for _, _, data in await read(quick)] == [number]
            found = await read(slow)
            assert [data["n"] for _, _, data in found] == [0, 1, 2, 3, 4]
            assert await slow.read(ENOUGH_S) is None
        with hub.subscribe(found[-1][0]) as resumed:
            assert [data["n"] for _, _, data in await read(resumed)] == [5, 6, 7]

    async def test_silence_is_empty_and_not_the_end(self, hub: EventHub) -> None:
        with hub.subscribe() as subscriber:
            assert await subscriber.read(0.01) == b""
            hub.publish_event("stats", {})
            assert await read(subscriber)

    async def test_closing_ends_every_stream_after_what_is_queued(self, hub: EventHub) -> None:
        with hub.subscribe() as waiting, hub.subscribe() as behind:
            task = asyncio.create_task(waiting.read(ENOUGH_S))
            await asyncio.sleep(0)
            hub.close()
            assert await task is None
            assert await behind.read(ENOUGH_S) is None
        with hub.subscribe() as late:
            assert await late.read(ENOUGH_S) is None

    async def test_what_is_queued_at_closing_is_still_read(self, hub: EventHub) -> None:
        with hub.subscribe() as subscriber:
            hub.publish_event("stats", {})
            hub.close()
            assert await read(subscriber)
            assert await subscriber.read(ENOUGH_S) is None

    async def test_they_are_counted_while_they_are_there(self, hub: EventHub) -> None:
        assert hub.subscribers == 0
        with hub.subscribe(), hub.subscribe():
            assert hub.subscribers == 2
        assert hub.subscribers == 0


class TestEnds:
    async def test_everyone_who_waits_for_an_end_is_told(self, hub: EventHub) -> None:
        request, other = pending(), pending()
        with hub.end_of(request.id) as first, hub.end_of(request.id) as second, hub.end_of(other.id) as third:
            hub.publish([request, working(request), working(other)])
            assert not first.done()
            hub.publish([done(request)])
            assert (await first).status is Status.COMPLETED
            assert await second == await first
            assert not third.done()

    async def test_a_failure_is_an_end(self, hub: EventHub) -> None:
        request = pending()
        failed = replace(request, status=Status.FAILED, error={}, completed_at=now())
        with hub.end_of(request.id) as end:
            hub.publish([failed])
            assert await end == failed

    async def test_too_many_changes_still_tell_those_who_wait(
        self, hub: EventHub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(event_hub, "MAX_CHANGES", 1)
        request = pending()
        with hub.end_of(request.id) as end:
            hub.publish([pending(), done(request)])
            assert (await end).ended

    async def test_one_who_leaves_is_forgotten(self, hub: EventHub) -> None:
        request = pending()
        with hub.end_of(request.id) as left:
            pass
        with hub.end_of(request.id) as first:
            with hub.end_of(request.id):
                pass
            hub.publish([done(request)])
            assert (await first).ended
        assert not left.done()
        assert not hub._ends

    async def test_one_whose_task_was_cancelled_hurts_nobody(self, hub: EventHub) -> None:
        request = pending()
        with hub.end_of(request.id) as gone, hub.end_of(request.id) as stays:
            gone.cancel()
            hub.publish([done(request)])
            assert (await stays).ended


async def test_what_is_remembered_of_requests_is_bounded(hub: EventHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_hub, "MAX_REMEMBERED", 5)
    newest = pending()
    hub.publish([*(pending() for _ in range(20)), newest])
    assert len(hub._latest) == 5
    assert hub.publish([newest]) == []
