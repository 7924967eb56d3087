"""Reservations: short requests are taken in batches for the next slots, and returned when they do not begin."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from reportsim.core.model import Mode, Request, Status
from reportsim.engine import sweeper
from reportsim.engine.engine import Engine
from reportsim.engine.worker import own_requests, worker
from reportsim.settings import Settings
from reportsim.store import requests as store
from reportsim.store.errors import DatabaseUnavailable
from reportsim.store.pool import Connection, Pool
from tests.conftest import serving
from tests.engine.jobs import finished, job, state, submit, until
from tests.store.rows import new

NEVER_S = 3600.0


@contextlib.asynccontextmanager
async def busy(settings: Settings, *, held_s: float = 0.001) -> AsyncIterator[tuple[Engine, Callable[[], None]]]:
    """A service of one slot, which is taken until the function is called; requests held theirs for so long before."""
    async with serving(replace(settings, workers=1)) as service:
        engine = service.engine
        taken = [await engine.slots.acquire()]
        engine.worker._own._held_s = held_s
        try:
            yield engine, lambda: engine.slots.give_back([taken.pop()])
        finally:
            engine.slots.give_back(taken)


def count_calls(monkeypatch: pytest.MonkeyPatch, name: str) -> list[Sequence[Any]]:
    """The results of a store function from now on."""
    function, results = getattr(store, name), []

    async def counted(*given: Any, **named: Any) -> Any:
        result = await function(*given, **named)
        results.append(result)
        return result

    monkeypatch.setattr(store, name, counted)
    return results


def never_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing happens because of the time alone."""
    monkeypatch.setattr(sweeper, "SWEEP_EVERY_S", NEVER_S)
    monkeypatch.setattr(worker, "POLL_INTERVAL_S", NEVER_S)


async def test_short_requests_begin_in_their_order_with_few_statements(
    settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    never_poll(monkeypatch)
    claims, reservations = count_calls(monkeypatch, "claim"), count_calls(monkeypatch, "reserve")
    async with busy(settings) as (engine, free):
        requests = [await submit(engine, new(owner=engine.owner if n % 5 == 4 else None)) for n in range(20)]
        free()
        done = [await finished(pool, request) for request in requests]
    assert [(each.status, each.tries) for each in done] == [(Status.COMPLETED, 1)] * 20
    starts = [each.started_at for each in done if each.started_at]
    assert (len(starts), sorted(starts)) == (20, starts)
    assert sum(map(len, reservations)) == 15
    # The first, and the last, when nothing reserved is left that is older.
    assert sum(map(len, claims)) == 2


async def test_long_requests_are_claimed_one_by_one(
    settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    reservations = count_calls(monkeypatch, "reserve")
    async with busy(settings, held_s=2.0) as (engine, free):
        requests = [await submit(engine, new()) for _ in range(5)]
        free()
        for request in requests:
            await finished(pool, request)
    assert reservations == []


async def test_requests_behind_a_long_one_are_not_reserved(
    settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    reservations = count_calls(monkeypatch, "reserve")
    async with busy(settings) as (engine, free):
        first = [await submit(engine, new()) for _ in range(3)]
        await submit(engine, job(150, planned_s=0.15))
        last = await submit(engine, new())
        free()
        await finished(pool, last)
    assert [request.id for request in reservations[0]] == [request.id for request in first[1:]]


async def test_a_reserved_request_that_does_not_begin_is_done_by_another_replica(
    settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    never_poll(monkeypatch)
    reservations = count_calls(monkeypatch, "reserve")
    async with busy(settings) as (engine, free):
        # It plans nothing of the kind, and yet holds the slot.
        long = await submit(engine, job(60_000))
        others = [await submit(engine, new()) for _ in range(3)]
        free()

        async def are_returned() -> bool:
            return bool(reservations) and not engine.worker._own.reserved_ids

        await until(are_returned)
        assert [request.id for request in reservations[0]] == [request.id for request in others]
        for request in others:
            row = await state(pool, request)
            assert (row.status, row.tries, row.started_at) == (Status.PENDING, 0, None)
        async with serving(settings) as other:
            other.engine.worker.wake()
            for request in others:
                assert (await finished(pool, request)).tries == 1
        assert long.id in engine.worker.running_ids


async def is_reserved(engine: Engine, request: Request) -> None:
    """Waits until a request is reserved."""

    async def look() -> bool:
        return request.id in engine.worker._own.reserved_ids

    await until(look)


@pytest.mark.parametrize("name", ["reserve", "return_reserved"])
@pytest.mark.parametrize("arrives", [True, False])
async def test_a_statement_without_an_answer_leaves_nothing_reserved(
    settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch, name: str, arrives: bool
) -> None:
    monkeypatch.setattr(own_requests, "RETRY_S", 0.1)
    function, calls = getattr(store, name), []

    async def unanswered(*given: Any) -> list[Request]:
        monkeypatch.setattr(store, name, function)
        calls.append(name)
        if arrives:
            await function(*given)
        raise DatabaseUnavailable("away")

    async with busy(settings) as (engine, free), serving(settings) as other:
        other.engine.worker.draining = True
        long, short = await submit(engine, job(60_000)), await submit(engine, new())
        monkeypatch.setattr(store, name, unanswered)
        free()

        async def is_called() -> bool:
            return bool(calls)

        await until(is_called)
        other.engine.worker.draining = False
        assert (await finished(pool, short)).tries == 1
        assert long.id in engine.worker.running_ids


async def test_a_request_that_another_statement_is_at_is_returned_later(
    settings: Settings, pool: Pool, connection: Connection
) -> None:
    async with busy(settings) as (engine, free), serving(settings) as other:
        other.engine.worker.draining = True
        long, short = await submit(engine, job(60_000)), await submit(engine, new())
        free()
        await is_reserved(engine, short)
        async with connection.transaction():
            await connection.execute("SELECT 1 FROM requests WHERE id = $1 FOR UPDATE", short.id)

            async def is_forgotten() -> bool:
                return not engine.worker._own.reserved_ids

            await until(is_forgotten)
            await asyncio.sleep(0.1)
        other.engine.worker.draining = False
        assert (await finished(pool, short)).tries == 1
        assert long.id in engine.worker.running_ids


async def test_a_replica_that_stops_returns_what_it_has_reserved_at_once(
    settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_requests, "RETURN_AFTER_S", NEVER_S)
    settings = replace(settings, shutdown_grace_s=6.0)
    async with serving(settings) as other:
        other.engine.worker.draining = True
        async with busy(settings) as (engine, free):
            long, short = await submit(engine, job(60_000)), await submit(engine, new())
            free()
            await is_reserved(engine, short)
            other.engine.worker.draining = False
            waiting = asyncio.create_task(finished(pool, short))
        assert waiting.done()
        assert (await waiting).status is Status.COMPLETED
        assert not (await state(pool, long)).ended


async def test_own_requests_do_not_overtake_older_ones_in_the_table(
    settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_requests, "RETURN_AFTER_S", NEVER_S)
    async with serving(replace(settings, workers=4)) as service:
        engine = service.engine
        taken = [await engine.slots.acquire() for _ in range(4)]
        engine.worker._own._held_s = 0.001
        await submit(engine, job(1_000))
        first = await submit(engine, new())
        engine.slots.give_back([taken.pop()])
        await is_reserved(engine, first)
        second = await submit(engine, new())
        own = [await submit(engine, job(300, owner=engine.owner, mode=Mode.SYNC)) for _ in range(3)]
        engine.slots.give_back(taken)
        starts = [(await finished(pool, request)).started_at for request in (first, second, *own)]
    assert starts == sorted(filter(None, starts))


async def test_a_reserved_request_that_is_cancelled_does_not_begin(settings: Settings, pool: Pool) -> None:
    async with busy(settings) as (engine, free):
        await submit(engine, job(80))
        cancelled = await submit(engine, new())
        free()
        await is_reserved(engine, cancelled)
        assert cancelled.id in engine.worker.followed_ids
        assert await engine.changes.cancel(cancelled.id)
        assert not engine.worker._own.reserved_ids
        await asyncio.sleep(0.1)
        row = await state(pool, cancelled)
        assert (row.status, row.started_at) == (Status.FAILED, None)
        assert engine.worker.lost_fences == 0
