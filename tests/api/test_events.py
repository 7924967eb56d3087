"""GET /api/events: what changes, as it changes, without a gap."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import aiohttp
import pytest

from reportsim.core.model import Status
from reportsim.settings import Settings
from reportsim.store import requests
from tests.api.calls import TINY, held_for, logs_of, read, submit, until
from tests.conftest import Service, serving

FAILURES = "/api/callbacks/simulate-failures"


@dataclass
class Event:
    """One message of the stream."""

    id: str | None
    event: str | None
    data: Any
    retry: str | None = None


@dataclass
class Stream:
    """An open stream, read event by event."""

    answer: aiohttp.ClientResponse
    opened_at: str | None = None

    async def next(self, event: str | None = None) -> Event:
        """The next message, or the next of one kind."""
        while True:
            found = await self._message()
            if event is None or found.event == event:
                return found

    async def until(self, id: str, **state: Any) -> list[Event]:
        """Everything up to the message in which a request is in this state."""
        events = []
        while True:
            events.append(await self.next())
            if events[-1].event == "requests":
                for item in events[-1].data["items"]:
                    if item["id"] == id and state.items() <= item.items():
                        return events

    async def ended(self) -> bool:
        """Whether the stream ends cleanly, whatever still comes before."""
        async with asyncio.timeout(20):
            await self.answer.content.read()
        return self.answer.content.at_eof()

    async def _message(self) -> Event:
        values: dict[str, str] = {}
        async with asyncio.timeout(20):
            while line := (await self.answer.content.readline()).decode().rstrip("\n"):
                name, _, value = line.partition(": ")
                values[name] = value
        data = values.get("data")
        return Event(values.get("id"), values.get("event"), json.loads(data) if data else None, values.get("retry"))


@contextlib.asynccontextmanager
async def listening(service: Service, last_id: str | None = None, **query: str) -> AsyncIterator[Stream]:
    headers = {"Last-Event-ID": last_id} if last_id is not None else {}
    async with service.client.get("/api/events", params=query, headers=headers) as answer:
        assert answer.status == 200
        stream = Stream(answer)
        first = await stream.next()
        assert (first.event, first.data) == (None, None)
        assert first.id
        assert first.retry
        stream.opened_at = first.id
        yield stream


async def test_a_stream_opens_at_once_and_is_kept_by_nobody(service: Service) -> None:
    async with listening(service) as stream:
        headers = stream.answer.headers
    assert headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert headers["Cache-Control"] == "no-cache"
    assert headers["X-Accel-Buffering"] == "no"
    assert "Content-Length" not in headers


async def test_a_change_is_sent_as_the_request_shows_itself(service: Service) -> None:
    async with listening(service) as stream:
        id = await submit(service)
        events = await stream.until(id, status="COMPLETED")
    assert all(event.event == "requests" and event.id for event in events)
    assert all(event.data.keys() == {"items"} for event in events)
    assert events[-1].data["items"] == [await read(service, f"/api/requests/{id}")]
    order = ["PENDING", "PROCESSING", "COMPLETED", "FAILED"]
    states = [order.index(item["status"]) for event in events for item in event.data["items"]]
    assert states == sorted(states)


async def test_changes_that_come_close_together_are_gathered_in_their_newest_state(service: Service) -> None:
    async with listening(service) as stream:
        id = await submit(service, "/api/sync")
        [row] = await requests.get(service.engine.pool, [UUID(id)])
        rows = [replace(row, id=service.engine.new_id()) for _ in range(5)]
        # Nothing else has a turn in between, so all of this comes within one gathering time.
        for status in (Status.PENDING, Status.PROCESSING, Status.COMPLETED):
            service.engine.publish([replace(each, status=status) for each in rows])
        ids = {str(each.id) for each in rows}
        items: list[dict[str, Any]] = []
        while not items:
            event = await stream.next("requests")
            items = [item for item in event.data["items"] if item["id"] in ids]
    assert {item["id"] for item in items} == ids
    assert len(items) == 5
    assert {item["status"] for item in items} == {"COMPLETED"}


async def test_an_attempt_is_sent_as_its_log_row(service: Service) -> None:
    async with listening(service) as stream:
        id = await submit(service, FAILURES, {**TINY, "failures": 1})
        attempts = [await stream.next("callback") for _ in range(2)]
        await service.ended(id)
    assert [attempt.data for attempt in attempts] == await logs_of(service, id)


async def test_the_end_of_a_callback_is_a_change_of_its_request(service: Service) -> None:
    async with listening(service) as stream:
        id = await submit(service, FAILURES, {**TINY, "failures": 0})
        await stream.until(id, status="COMPLETED", callback_status="SUCCESS", callback_attempts=1)


async def test_a_stream_can_be_about_one_request(service: Service) -> None:
    id = await submit(service, "/api/async", held_for(100))
    async with listening(service, request_id=id) as stream:
        for _ in range(3):
            await submit(service)
        events = await stream.until(id, status="COMPLETED")
    assert {item["id"] for event in events for item in event.data["items"]} == {id}


async def test_a_stream_resumes_after_the_last_id_without_gap_or_repetition(service: Service) -> None:
    async with listening(service) as stream:
        first = (await stream.until(await submit(service), status="COMPLETED"))[-1].id
    missed = await submit(service, FAILURES, {**TINY, "failures": 1})
    await service.ended(missed)
    assert first is not None
    async with listening(service, first) as by_header, listening(service, last_event_id=first) as by_query:
        # Cut before anything was read, it resumes from the same place.
        assert by_header.opened_at == by_query.opened_at == first
        newest = await submit(service)
        replayed = await by_header.until(newest, status="COMPLETED")
        assert await by_query.until(newest, status="COMPLETED") == replayed
    numbers = [int(str(event.id).rpartition("-")[2]) for event in replayed]
    start = int(first.rpartition("-")[2])
    assert numbers == list(range(start + 1, start + 1 + len(numbers)))
    assert [event.data["attempt_number"] for event in replayed if event.event == "callback"] == [1, 2]
    last = [item for event in replayed if event.event == "requests" for item in event.data["items"]]
    assert {item["id"]: item for item in last}[missed] == await read(service, f"/api/requests/{missed}")
    assert "reset" not in {event.event for event in replayed}


async def test_the_header_is_believed_before_the_query(service: Service) -> None:
    async with listening(service) as stream:
        last = (await stream.until(await submit(service), status="COMPLETED"))[-1].id
    async with listening(service, last, last_event_id="unknown-1") as stream:
        assert (await stream.until(await submit(service), status="COMPLETED"))[0].event == "requests"


@pytest.mark.parametrize("name", ["lastEventId", "Last-Event-ID"])
async def test_a_polyfill_resumes_by_the_query(service: Service, name: str) -> None:
    async with listening(service) as stream:
        last = (await stream.until(await submit(service), status="COMPLETED"))[-1].id
    assert last is not None
    for query in (
        {name: last},
        {"last_event_id": "unknown-1", name: last},
        {"last_event_id": last, name: ""},
        {"lastEventId": last, "Last-Event-ID": last},
    ):
        async with listening(service, **query) as stream:
            assert stream.opened_at == last


async def test_two_ids_to_resume_from_that_contradict_each_other_are_refused(service: Service) -> None:
    for query in ("lastEventId=a-1&Last-Event-ID=a-2", "lastEventId=a-1&lastEventId=a-1", "lasteventid=a-1"):
        async with service.client.get(f"/api/events?{query}") as answer:
            assert answer.status == 422
            assert (await answer.json())["errors"][0]["parameter"] in query


async def test_an_id_that_is_not_known_is_answered_with_a_reset(service: Service, subtests: pytest.Subtests) -> None:
    await submit(service, "/api/sync")
    boot = service.engine.hub.boot
    for last_id in ("0123456789abcdef-7", "nonsense", "-1", "0", f"{boot}-999999", f"{boot}--1", f"{boot}-x"):
        with subtests.test(last_id=last_id):
            async with listening(service, last_id) as stream:
                assert (await stream.next()).event == "reset"


async def test_after_a_reset_the_stream_is_whole_again(service: Service) -> None:
    async with listening(service, "nonsense") as stream:
        reset = await stream.next("reset")
        events = await stream.until(await submit(service), status="COMPLETED")
    numbers = [int(str(event.id).rpartition("-")[2]) for event in (reset, *events)]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


async def test_a_wrong_or_unknown_parameter_is_refused(service: Service, subtests: pytest.Subtests) -> None:
    for query in [{"request_id": "7"}, {"run": "x"}, {"surprise": "1"}]:
        with subtests.test(query=query):
            async with service.client.get("/api/events", params=query) as answer:
                assert answer.status == 422
                assert [error["parameter"] for error in (await answer.json())["errors"]] == list(query)


async def test_head_ends_with_its_headers(service: Service) -> None:
    async with asyncio.timeout(20), service.client.head("/api/events") as answer:
        assert answer.status == 200
        assert answer.content_type == "text/event-stream"
        await answer.read()
    # Nothing of a body was sent that the next answer would be read from.
    assert (await read(service, "/healthz"))["status"] == "ok"
    assert service.engine.hub.subscribers == 0


async def test_whoever_leaves_is_forgotten(service: Service) -> None:
    async with listening(service) as stream:
        assert service.engine.hub.subscribers == 1
        stream.answer.close()

    async def forgotten() -> bool:
        return service.engine.hub.subscribers == 0

    await until(forgotten)


async def test_streams_end_cleanly_when_the_service_stops(settings: Settings) -> None:
    async with aiohttp.ClientSession() as outside, contextlib.AsyncExitStack() as running:
        service = await running.enter_async_context(serving(settings))
        answer = await outside.get(f"{service.url}/api/events")
        stream = Stream(answer)
        await stream.next()
        stopping = asyncio.create_task(running.aclose())
        assert await stream.ended()
        async with asyncio.timeout(20):
            await stopping
