"""Waiting clients: refused when there is no room, free to leave, and told the end whoever wrote it."""

import asyncio
import contextlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from reportsim.core.model import Status
from reportsim.engine import blocking
from reportsim.engine.worker import claim_writer, worker
from reportsim.engine.worker.observer import NullObserver
from reportsim.settings import Settings
from reportsim.store import benchmarks, notifications
from reportsim.store import requests as store
from reportsim.store.pool import Pool
from tests.conftest import Service, serving
from tests.engine.jobs import finished, job, state, submit, until
from tests.store.rows import OTHER, end_of, inserted, new

TINY = {"ledger": "tiny"}
KEY = {"X-Idempotency-Key": "once"}


def held_for(milliseconds: int) -> dict[str, Any]:
    return {**TINY, "simulate": {"service_time": {"distribution": "fixed", "mean_ms": milliseconds}, "seed": 1}}


async def post(service: Service, body: dict[str, Any], headers: dict[str, str] = KEY) -> tuple[int, bytes, Any]:
    async with service.client.post("/api/sync", json=body, headers=headers) as answer:
        return answer.status, await answer.read(), answer.headers


async def test_without_capacity_in_time_it_is_refused_and_its_key_is_free_again(settings: Settings, pool: Pool) -> None:
    async with serving(replace(settings, workers=1, sync_timeout=0.2)) as service:
        busy = await submit(service.engine, job(1_000))

        async def working() -> bool:
            return busy.id in service.engine.worker.running_ids

        await until(working)
        status, body, headers = await post(service, TINY)
        assert status == 503
        assert headers["Retry-After"] == "1"
        assert b"no-capacity" in body
        assert await store.stored_answer(pool, "once") is None
        [refused] = await store.page(pool, store.Filters(mode="sync"), before=None, limit=10)
        assert refused.status is Status.FAILED
        assert refused.error is not None
        assert refused.error["type"] == "/problems/no-capacity"
        await finished(pool, busy)
        status, _, headers = await post(service, TINY)
        assert status == 200
        assert "Idempotent-Replayed" not in headers
        again = await state(pool, refused)
        assert (again.status, again.tries) == (Status.FAILED, refused.tries)


@pytest.mark.parametrize("moment", [0.05, 3_600.0], ids=["written down", "not written down"])
async def test_a_report_that_began_in_time_is_waited_for_to_its_end(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, moment: float
) -> None:
    monkeypatch.setattr(claim_writer, "WRITE_AFTER_S", moment)
    async with serving(replace(settings, sync_timeout=0.2)) as service:
        status, _, _ = await post(service, held_for(800))
        assert status == 200


async def test_a_client_that_leaves_drops_its_waiting_and_not_the_work(service: Service, pool: Pool) -> None:
    client = asyncio.create_task(post(service, held_for(500)))

    async def working() -> bool:
        return bool(service.engine.worker.running_ids)

    await until(working)
    [id] = service.engine.worker.running_ids
    client.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await client
    done = await finished(pool, await state(pool, id))
    assert (done.status, done.tries) == (Status.COMPLETED, 1)
    replies = [await post(service, held_for(500)) for _ in range(2)]
    assert {(status, body) for status, body, _ in replies} == {(200, replies[0][1])}
    assert all(headers["Idempotent-Replayed"] == "true" for _, _, headers in replies)
    assert str(id).encode() in replies[0][1]
    assert len(await store.page(pool, store.Filters(), before=None, limit=10)) == 1


async def test_a_client_that_leaves_before_there_is_a_slot_still_has_its_report(settings: Settings, pool: Pool) -> None:
    async with serving(replace(settings, workers=1)) as service:
        busy = await submit(service.engine, job(500))
        client = asyncio.create_task(post(service, TINY))

        async def accepted() -> bool:
            return len(await store.page(pool, store.Filters(mode="sync"), before=None, limit=10)) == 1

        await until(accepted)
        client.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await client
        await finished(pool, busy)
        [left] = await store.page(pool, store.Filters(mode="sync"), before=None, limit=10)
        assert (await finished(pool, left)).status is Status.COMPLETED


async def test_an_end_that_another_replica_wrote_is_told(
    settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row was taken from us, as after an outage of ours; whoever did it made the report."""
    monkeypatch.setattr(blocking, "READ_AGAIN_S", 0.1)
    async with serving(replace(settings, sync_timeout=0.3)) as service:
        row = job(60_000, mode="sync", owner=service.engine.owner)
        with service.engine.hub.end_of(row.request.id) as ended:
            await submit(service.engine, row)

            async def working() -> bool:
                return row.request.id in service.engine.worker.running_ids

            await until(working)
            client = asyncio.create_task(service.engine.blocking.wait_for_end(row.request.id, ended))
            taken = "UPDATE requests SET status = 'PROCESSING', tries = tries + 1, owner = $2 WHERE id = $1"
            await pool.execute(taken, row.request.id, OTHER)
            theirs = await state(pool, row.request)
            assert await store.finish(pool, OTHER, service.engine._lease, [end_of(theirs)]) == [True]
            async with asyncio.timeout(10):
                assert (await client).status is Status.COMPLETED
        service.engine.worker.stop_superseded(await state(pool, row.request))


async def test_many_clients_at_once_are_all_served_in_their_turn(settings: Settings, pool: Pool) -> None:
    async with serving(replace(settings, workers=2)) as service:
        rows = [await asyncio.gather(*(post(service, held_for(20), {}) for _ in range(20)))]
        assert [status for status, _, _ in rows[0]] == [200] * 20
    counts = await pool.fetchrow("SELECT count(*) AS n, max(tries) AS tries FROM requests")
    assert counts is not None
    assert (counts["n"], counts["tries"]) == (20, 1)


async def test_a_key_sent_many_times_at_once_is_executed_once(service: Service, pool: Pool) -> None:
    async def settle() -> tuple[int, bytes]:
        while True:
            status, body, _ = await post(service, TINY)
            if status != 409:
                return status, body

    answers = await asyncio.gather(*(settle() for _ in range(10)))
    assert len(set(answers)) == 1
    assert answers[0][0] == 200
    assert len(await store.page(pool, store.Filters(), before=None, limit=20)) == 1


async def test_a_refused_batch_neighbour_does_not_hurt_a_waiting_client(service: Service, pool: Pool) -> None:
    """A row that the database cannot take shares its statement with others."""
    bad = new(input_payload={"text": "\\ud800"}, http_request_id="\0")
    good = [new() for _ in range(5)]
    results = await asyncio.gather(*(service.engine.submit(row) for row in (bad, *good)), return_exceptions=True)
    assert isinstance(results[0], Exception)
    assert results[1:] == [True] * 5
    for row in good:
        assert (await finished(pool, row.request)).status is Status.COMPLETED


async def test_what_is_read_of_waiting_requests_of_a_run_changes_nothing_of_their_order(
    settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a reconnect, and with every look while changes are polled for."""
    monkeypatch.setattr(worker, "POLL_INTERVAL_S", 30.0)
    async with serving(settings) as service:
        engine, owner, run = service.engine, uuid4(), uuid4()
        # The requests of runs that do not exist are ended.
        await benchmarks.insert(pool, run, {}, owner=owner, lease=timedelta(minutes=5), at=datetime.now(UTC))
        async with engine.run_worker(owner, 1, NullObserver()):
            fields: dict[str, Any] = {"mode": "sync", "owner": owner, "run_id": run}
            busy = await submit(engine, job(60_000, **fields))
            waiting = [await submit(engine, job(20, **fields)) for _ in range(4)]
            engine._take_changes([await state(pool, request) for request in waiting[:2]])
            assert await engine.changes.cancel(busy.id)
            ends = [await finished(pool, request) for request in waiting]
    started = [end.started_at for end in ends]
    assert None not in started
    assert started == sorted(started)  # type: ignore[type-var]


async def test_rows_of_a_run_are_no_changes_that_others_look_for(pool: Pool) -> None:
    moment = await notifications.database_now(pool)
    await inserted(pool, new(run_id=uuid4()))
    [outside] = await inserted(pool, new())
    changes, latest = await notifications.changed_since(pool, moment, 10)
    assert [(change.id, change.progress) for change in changes] == [(outside.id, outside.progress)]
    assert latest > moment
