"""Replicas on one database: what one does the others show, tell and take over, over every kind of line."""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import asyncpg
import pytest

from reportsim.core.model import Request, Status, rfc3339
from reportsim.engine import replication
from reportsim.engine.consumption import Consumption
from reportsim.engine.events.hub import EventHub
from reportsim.engine.replication import Replication
from reportsim.settings import Settings
from reportsim.store import notifications
from reportsim.store.connection import DatabaseConnection
from reportsim.store.pool import Connection, Pool, connect
from tests.conftest import Service, serving
from tests.engine.jobs import finished, job, state, submit, until
from tests.engine.receiver import Receiver
from tests.store.rows import inserted, new, new_id

POLLED = "changes are polled for"
DOWN = "line to other replicas is down"
SOON_S = 5.0


@dataclass
class Pair:
    """Two replicas: one that works, and one whose only slot is taken, so that it can only look on."""

    works: Service
    looks: Service


@contextlib.asynccontextmanager
async def paired(settings: Settings) -> AsyncIterator[Pair]:
    async with serving(settings) as works, serving(replace(settings, workers=1)) as looks:
        await looks.engine.slots.acquire()
        yield Pair(works, looks)


@pytest.fixture
async def pair(settings: Settings) -> AsyncIterator[Pair]:
    async with paired(settings) as made:
        yield made


@pytest.fixture
def deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that is announced arrives, as behind a pooler."""
    monkeypatch.setattr(Replication, "_hear", lambda *_: None)
    monkeypatch.setattr(replication, "ECHO_S", 0.1)


@dataclass
class Page:
    """What a page is told over its stream."""

    service: Service
    seen: list[tuple[str, Any]]

    async def until(self, event: str, **members: Any) -> float:
        """Waits until an event shows something with these members; says for how long."""
        started = time.monotonic()

        async def shown() -> bool:
            return any(
                kind == event and any(members.items() <= item.items() for item in data.get("items", [data]))
                for kind, data in self.seen
            )

        await until(shown)
        return time.monotonic() - started


@contextlib.asynccontextmanager
async def page_of(service: Service) -> AsyncIterator[Page]:
    page = Page(service, [])

    async def read() -> None:
        async with service.client.get("/api/events") as answer:
            event = ""
            async for line in answer.content:
                name, _, value = line.decode().strip().partition(": ")
                event = value if name == "event" else event
                if name == "data":
                    page.seen.append((event, json.loads(value)))

    reading = asyncio.create_task(read())
    try:

        async def open_() -> bool:
            return service.engine.hub.subscribers > 0

        await until(open_)
        yield page
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def listeners(connection: Connection) -> list[int]:
    """The backends that listen in this database: their last statement is LISTEN, an announcement, or a check."""
    rows = await connection.fetch(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND (query LIKE 'LISTEN%' OR query LIKE 'SELECT pg_notify%' OR query = 'SELECT 1')"
    )
    return [row["pid"] for row in rows]


class TestWhatOneDoes:
    async def test_is_shown_on_a_page_of_the_other(self, pair: Pair, pool: Pool, receiver: Receiver) -> None:
        receiver.status = lambda arrival: 204 if arrival.attempt == 2 else 503
        waits = []
        async with page_of(pair.looks) as page:
            for _ in range(5):
                request = await submit(pair.works.engine, new(callback_url=receiver.url()))
                waits.append(await page.until("requests", id=str(request.id)))
                done = await finished(pool, request)
                await page.until("requests", id=str(request.id), status="COMPLETED", callback_status="SUCCESS")
                for attempt in (1, 2):
                    await page.until("callback", request_id=str(request.id), attempt_number=attempt)
                assert done.tries == 1
        assert sorted(waits)[2] < 1
        rows = [data["id"] for event, data in page.seen if event == "callback"]
        assert len(rows) == len(set(rows)) == 10
        assert "reset" not in {event for event, _ in page.seen}
        print(f"\nshown on the other replica's page after at most {max(waits):.3f} s")

    async def test_ends_the_waiting_of_a_client_of_the_other(self, pair: Pair) -> None:
        request = await submit(pair.works.engine, job(300))
        started = time.monotonic()
        path, headers = f"/api/requests/{request.id}", {"Prefer": "wait=20"}
        async with pair.looks.client.get(path, headers=headers) as answer:
            assert (await answer.json())["status"] == "COMPLETED"
        assert time.monotonic() - started < SOON_S

    async def test_is_stopped_by_a_cancel_at_the_other(self, pair: Pair, pool: Pool) -> None:
        request = await submit(pair.works.engine, job(60_000))

        async def working() -> bool:
            return request.id in pair.works.engine.worker.running_ids

        await until(working)
        async with pair.looks.client.post(f"/api/requests/{request.id}/cancel") as answer:
            assert answer.status == 200

        async def stopped() -> bool:
            return not pair.works.engine.worker.running_ids

        await until(stopped, timeout=SOON_S)
        assert (await state(pool, request)).status is Status.FAILED

    async def test_is_told_even_when_it_is_the_last_thing_it_does(self, settings: Settings, pool: Pool) -> None:
        async with serving(replace(settings, workers=1)) as looks:
            await looks.engine.slots.acquire()
            async with page_of(looks) as page:
                async with serving(settings) as works:
                    request = await submit(works.engine, job(200))

                    async def working() -> bool:
                        return request.id in works.engine.worker.running_ids

                    await until(working)
                assert (await state(pool, request)).status is Status.COMPLETED
                await page.until("requests", id=str(request.id), status="COMPLETED")


class TestManyChanges:
    async def test_are_a_reset_for_pages_and_still_told_to_those_who_wait(
        self, pair: Pair, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(notifications, "MOST_IDS", 3)
        request = await submit(pair.works.engine, job(400))
        async with page_of(pair.looks) as page:
            path, headers = f"/api/requests/{request.id}", {"Prefer": "wait=20"}
            waiting = asyncio.create_task(pair.looks.client.get(path, headers=headers))
            started = time.monotonic()
            while not waiting.done():
                await asyncio.gather(*(submit(pair.works.engine, new()) for _ in range(10)))
                await asyncio.sleep(0.02)
            took = time.monotonic() - started
            assert (await (await waiting).json())["status"] == "COMPLETED"
            await page.until("reset")
        assert took < SOON_S
        # Pages read everything again at a reset, so there are few of them whatever happens.
        assert [event for event, _ in page.seen].count("reset") <= 2 + took / replication.CATCH_UP_S


class TestLine:
    async def test_that_breaks_is_mended_and_what_was_missed_is_caught_up_with(
        self, pair: Pair, connection: Connection, pool: Pool
    ) -> None:
        request = await submit(pair.works.engine, job(1_500))
        async with page_of(pair.looks) as page:
            path, headers = f"/api/requests/{request.id}", {"Prefer": "wait=20"}
            waiting = asyncio.create_task(pair.looks.client.get(path, headers=headers))
            await page.until("requests", id=str(request.id))
            for pid in await listeners(connection):
                await connection.execute("SELECT pg_terminate_backend($1)", pid)
            missed = await submit(pair.works.engine, new())
            await finished(pool, missed)
            await page.until("reset")
            assert (await (await waiting).json())["status"] == "COMPLETED"
            later = await submit(pair.works.engine, new())
            await page.until("requests", id=str(later.id), status="COMPLETED")

    async def test_is_not_disturbed_by_its_own_checks(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(replication, "CHECK_S", 0.001)
        monkeypatch.setattr(replication, "GATHER_S", 0.0)
        async with paired(settings) as pair:
            for _ in range(30):
                await asyncio.gather(*(submit(pair.works.engine, new()) for _ in range(5)))
        assert DOWN not in caplog.text

    async def test_that_comes_back_through_a_pooler_polls(
        self, pair: Pair, connection: Connection, pool: Pool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def connect_through_pooler(dsn: str) -> DatabaseConnection:
            found = await connect(dsn)
            found.pooled = True
            return found

        monkeypatch.setattr(replication, "connect", connect_through_pooler)
        async with page_of(pair.looks) as page:
            for pid in await listeners(connection):
                await connection.execute("SELECT pg_terminate_backend($1)", pid)
            await until(lambda: polls(pair))
            await page.until("reset")
            for _ in range(2):
                request = await submit(pair.works.engine, new())
                await page.until("requests", id=str(request.id), status="COMPLETED")
            assert await polls(pair)


class TestDeafLine:
    async def test_is_polled_and_said_to_be_so_once(
        self, deaf: None, settings: Settings, pool: Pool, connection: Connection, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.WARNING)
        async with paired(settings) as pair, page_of(pair.looks) as page:
            await until(lambda: polls(pair))
            request = await submit(pair.works.engine, new())
            await page.until("requests", id=str(request.id), status="COMPLETED")
            for pid in await listeners(connection):
                await connection.execute("SELECT pg_terminate_backend($1)", pid)
            await page.until("reset")
            request = await submit(pair.works.engine, new())
            await page.until("requests", id=str(request.id), status="COMPLETED")
        said = [record for record in caplog.records if POLLED in record.getMessage()]
        assert len(said) == 2, "once for each replica"

    async def test_keeps_up_with_more_changes_than_are_read_at_once(
        self, deaf: None, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(replication, "MOST_CHANGES", 5)
        async with paired(settings) as pair, page_of(pair.looks) as page:
            await until(lambda: polls(pair))
            waited_for = await submit(pair.works.engine, job(500))
            path, headers = f"/api/requests/{waited_for.id}", {"Prefer": "wait=20"}
            waiting = asyncio.create_task(pair.looks.client.get(path, headers=headers))
            started = time.monotonic()
            while not waiting.done():
                await asyncio.gather(*(submit(pair.works.engine, new()) for _ in range(10)))
                await asyncio.sleep(0.05)
            assert (await (await waiting).json())["status"] == "COMPLETED"
            assert time.monotonic() - started < SOON_S
            last = await submit(pair.works.engine, new())
            await page.until("requests", id=str(last.id), status="COMPLETED")

    async def test_what_a_replica_changed_itself_resets_none_of_its_pages(
        self, deaf: None, settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(replication, "MOST_CHANGES", 5)
        looks: asyncio.Queue[int] = asyncio.Queue()
        changed_since = notifications.changed_since

        async def counted(*given: Any) -> Any:
            found = await changed_since(*given)
            looks.put_nowait(len(found[0]))
            return found

        monkeypatch.setattr(notifications, "changed_since", counted)
        async with serving(settings) as service, page_of(service) as page:

            async def is_polling() -> bool:
                return service.engine.is_polling

            await until(is_polling)
            own = await asyncio.gather(*(submit(service.engine, new()) for _ in range(30)))
            for request in own:
                await finished(pool, request)
            async with asyncio.timeout(20):
                while await looks.get() < 30:
                    pass
            last = await submit(service.engine, new())
            await page.until("requests", id=str(last.id), status="COMPLETED")
            assert "reset" not in {event for event, _ in page.seen}

    async def test_is_listened_to_again_when_it_was_only_slow(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(replication, "ECHO_S", 0.0)
        async with paired(settings) as pair:

            async def listens() -> bool:
                return not pair.works.engine.is_polling and not pair.looks.engine.is_polling

            await until(listens)
            async with page_of(pair.looks) as page:
                request = await submit(pair.works.engine, new())
                await page.until("requests", id=str(request.id), status="COMPLETED")


class TestMany:
    @staticmethod
    def line(pool: Pool, heard: list[list[Request]]) -> Replication:
        """One that is not connected, and hears what it is given."""
        return Replication(
            dsn="", pool=pool, hub=EventHub(), consumption=Consumption("a"), on_changes=heard.append, concerns=list
        )

    async def test_changes_are_read_a_part_at_a_time(self, pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(replication, "AT_ONCE", 2)
        heard: list[list[Request]] = []
        requests = await inserted(pool, *(new() for _ in range(5)))
        await self.line(pool, heard)._read(request.id for request in requests)
        assert [len(some) for some in heard] == [2, 2, 1]
        assert {request.id for some in heard for request in some} == {request.id for request in requests}

    async def test_more_than_are_kept_are_not_kept_but_known_to_be_missed(
        self, pool: Pool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(replication, "MOST_CHANGES", 5)
        line = self.line(pool, [])
        for count in (3, 2):
            line._hear(None, 0, notifications.CHANNEL, notifications.encode("other", [new_id() for _ in range(count)]))
        assert (len(line._inbox), line._missed) == (5, False)
        line._hear(None, 0, notifications.CHANNEL, notifications.encode("other", [new_id()]))
        assert (len(line._inbox), line._missed) == (0, True)


async def polls(pair: Pair) -> bool:
    return pair.works.engine.is_polling and pair.looks.engine.is_polling


async def test_a_claim_that_a_crash_of_the_database_undid_is_made_again_and_ends_once(
    service: Service, pool: Pool, receiver: Receiver
) -> None:
    """Claims do not wait for the disk: the second one has the same number, and only one of both may tell its end."""
    receiver.status = lambda arrival: 503 if arrival.attempt == 1 else 204
    request = await submit(service.engine, job(500, callback_url=receiver.url()))

    async def working() -> bool:
        return request.id in service.engine.worker.running_ids

    await until(working)
    await pool.execute(
        "UPDATE requests SET status = 'PENDING', tries = 0, owner = NULL, lease_until = NULL, started_at = NULL"
    )
    done = await finished(pool, request)
    assert (done.status, done.tries) == (Status.COMPLETED, 1)
    assert [arrival.attempt for arrival in receiver.arrivals] == [1, 2]
    assert len({arrival.body for arrival in receiver.arrivals}) == 1
    assert receiver.arrivals[0].event["data"]["started_at"] == rfc3339(done.started_at)


async def test_keys_that_two_replicas_take_in_crossing_order_hurt_nobody(
    service: Service, pool: Pool, connection: Connection
) -> None:
    """Each insert waits for a key that the other has; the database ends one of them to let the other through."""
    theirs = connection.transaction()
    await theirs.start()
    insert = (
        "INSERT INTO requests (id, mode, status, input_payload, idempotency_key, endpoint, ledger_id, ledger_version,"
        " report_version, csv_guard, created_at)"
        " VALUES (gen_random_uuid(), 'async', 'PENDING', '{}', $1, '', 2, 1, 1, true, now())"
    )
    await connection.execute(insert, "second")
    keys = ["first", "second", "third"]
    ours = asyncio.gather(*(service.engine.submit(new(idempotency_key=key)) for key in keys), return_exceptions=True)
    await asyncio.sleep(0.2)
    try:
        await connection.execute(insert, "first")
    except asyncpg.UniqueViolationError:
        # Ours was ended, and was the faster one to try again.
        await theirs.rollback()
        assert await ours == [True, True, True]
    else:
        await theirs.commit()
        assert await ours == [False, False, True]
