"""The worker: at once when idle, exactly as many as there are slots, each request once, and nothing left behind."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from reportsim.core.model import CallbackStatus, Request, Status
from reportsim.engine import sweeper
from reportsim.engine.worker import claim_writer, execution, own_requests, worker
from reportsim.engine.worker.observer import NullObserver
from reportsim.reports import generate
from reportsim.settings import Settings
from reportsim.store import ledgers
from reportsim.store import requests as store
from reportsim.store.batcher import Overloaded
from reportsim.store.errors import DatabaseUnavailable
from reportsim.store.pool import Pool
from tests.conftest import Service, serving
from tests.engine.jobs import finished, job, state, submit, until
from tests.engine.receiver import Receiver
from tests.store.rows import OTHER, inserted, new

NEVER_S = 3600.0


@contextlib.asynccontextmanager
async def all_slots_taken(service: Service) -> AsyncIterator[None]:
    """Nothing is worked on as long as the block lasts."""
    slots = service.engine.slots
    taken = [await slots.acquire() for _ in range(slots.width)]
    try:
        yield
    finally:
        slots.give_back(taken)


async def submit_for_a_ledger_that_goes(service: Service, pool: Pool) -> Request:
    """Submits a request whose ledger is deleted while it waits; all slots must be taken."""
    async with pool.acquire() as connection:
        ledger = await ledgers.generate(connection, "short-lived", lines=4, seed=1)
        request = await submit(service.engine, new(ledger_id=ledger.ledger_id, ledger_version=ledger.version))
        assert await ledgers.delete(connection, "short-lived")
    return request


async def left_by(pool: Pool, owner: UUID, *, takeovers: int = 0, seconds: float = -1, **fields: Any) -> Request:
    """A request that somebody claimed and whose lease ends in so many seconds."""
    [request] = await inserted(pool, new(**fields))
    await pool.execute(
        "UPDATE requests SET status = 'PROCESSING', owner = $2, tries = 1, started_at = now(), takeovers = $3,"
        " lease_until = now() + make_interval(secs => $4) WHERE id = $1",
        request.id,
        owner,
        takeovers,
        seconds,
    )
    return request


class TestFastPath:
    async def test_an_idle_service_works_at_once_without_any_look(
        self, settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With every periodic look put off for an hour, only the hint of the submission is left."""
        monkeypatch.setattr(worker, "POLL_INTERVAL_S", NEVER_S)
        monkeypatch.setattr(sweeper, "SWEEP_EVERY_S", NEVER_S)
        async with serving(settings) as service:
            for _ in range(5):
                request = await submit(service.engine, new())
                assert (await finished(pool, request)).status is Status.COMPLETED

    async def test_what_was_accepted_for_a_client_that_left_meanwhile_is_counted_shown_and_worked_on(
        self, settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(worker, "POLL_INTERVAL_S", NEVER_S)
        monkeypatch.setattr(sweeper, "SWEEP_EVERY_S", NEVER_S)
        async with serving(settings) as service:
            engine = service.engine
            insert = engine._inserts._flush

            async def flush(rows: Sequence[store.NewRequest]) -> Sequence[bool]:
                leaving.cancel()
                return await insert(rows)

            monkeypatch.setattr(engine._inserts, "_flush", flush)
            row = new()
            with engine.hub.end_of(row.request.id) as end:
                leaving = asyncio.create_task(engine.submit(row))
                with pytest.raises(asyncio.CancelledError):
                    await leaving
                async with asyncio.timeout(10):
                    assert (await end).status is Status.COMPLETED
            assert engine.counts.accepted.total() == engine.counts.ended.total() == 1

    async def test_ends_that_cannot_be_written_hold_their_slots_beyond_a_bound(
        self, settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(worker, "MAX_ENDING", 3)
        async with serving(replace(settings, workers=2)) as service:
            engine = service.engine
            finish, there = engine.worker._completion.ends._flush, asyncio.Event()

            async def flush(ends: Sequence[store.Finish]) -> Sequence[bool]:
                await there.wait()
                return await finish(ends)

            monkeypatch.setattr(engine.worker._completion.ends, "_flush", flush)
            requests = [await submit(engine, new()) for _ in range(20)]

            async def is_full() -> bool:
                return engine.slots.busy == 2 and len(engine.worker.running_ids) >= 5

            await until(is_full)
            assert len(engine.worker.running_ids) <= 6
            there.set()
            for request in requests:
                assert (await finished(pool, request)).status is Status.COMPLETED

    async def test_a_lost_hint_delays_and_loses_nothing(self, service: Service, pool: Pool) -> None:
        requests = await inserted(pool, *(new() for _ in range(10)))
        for request in requests:
            assert (await finished(pool, request)).status is Status.COMPLETED

    async def test_a_slot_that_comes_free_is_filled_at_once(
        self, settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(worker, "POLL_INTERVAL_S", NEVER_S)
        monkeypatch.setattr(sweeper, "SWEEP_EVERY_S", NEVER_S)
        async with serving(replace(settings, workers=1)) as service:
            requests = [await submit(service.engine, job(20)) for _ in range(5)]
            for request in requests:
                await finished(pool, request)


class TestOwnRequests:
    """What a replica has accepted for itself begins from memory, and is written down when it takes longer."""

    @pytest.mark.parametrize("client", [None, b"one"], ids=["of nobody", "of one client, who takes every slot"])
    async def test_begin_without_a_claim_and_are_written_once(
        self, settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch, client: bytes | None
    ) -> None:
        monkeypatch.setattr(sweeper, "SWEEP_EVERY_S", NEVER_S)
        monkeypatch.setattr(worker, "POLL_INTERVAL_S", NEVER_S)
        monkeypatch.setattr(claim_writer, "WRITE_AFTER_S", NEVER_S)
        async with serving(settings) as service:
            engine = service.engine
            await finished(pool, await submit(engine, new()))

            async def nothing(*_: Any, **__: Any) -> list[Request]:
                raise AssertionError("nobody has to ask the table")

            monkeypatch.setattr(store, "claim", nothing)
            rows = [new(mode="sync", owner=engine.owner, client=client) for _ in range(20)]
            requests = await asyncio.gather(*(submit(engine, row) for row in rows))
            done = [await finished(pool, request) for request in requests]
        assert {(each.status, each.tries, each.takeovers) for each in done} == {(Status.COMPLETED, 1, 0)}
        assert all(each.started_at and each.created_at <= each.started_at for each in done)

    async def test_that_take_longer_than_a_moment_are_seen_to_be_worked_on(self, service: Service, pool: Pool) -> None:
        request = await submit(service.engine, job(400, mode="sync", owner=service.engine.owner))

        async def written() -> bool:
            return (await state(pool, request)).status is Status.PROCESSING

        await until(written)
        seen = await state(pool, request)
        done = await finished(pool, request)
        assert (done.status, done.tries, done.started_at) == (Status.COMPLETED, 1, seen.started_at)

    async def test_are_one_queue_with_what_is_anyones(self, settings: Settings, pool: Pool) -> None:
        async with serving(replace(settings, workers=1)) as service:
            engine = service.engine
            owners = [None, engine.owner, engine.owner, None, engine.owner, None]
            requests = [await submit(engine, job(60, owner=owner)) for owner in owners]
            done = [await finished(pool, request) for request in requests]
        starts = [each.started_at for each in done if each.started_at]
        assert len(starts) == len(owners)
        assert sorted(starts) == starts

    async def test_that_were_begun_are_never_claimed_a_second_time(
        self, settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sweeper, "SWEEP_EVERY_S", NEVER_S)
        monkeypatch.setattr(worker, "POLL_INTERVAL_S", NEVER_S)
        monkeypatch.setattr(claim_writer, "WRITE_AFTER_S", NEVER_S)
        async with serving(replace(settings, workers=3)) as service:
            engine = service.engine
            await finished(pool, await submit(engine, new()))
            own = await submit(engine, job(500, mode="sync", owner=engine.owner))

            async def working() -> bool:
                return own.id in engine.worker.running_ids

            await until(working)
            assert (await state(pool, own)).status is Status.PENDING
            await finished(pool, await submit(engine, new()))
            assert (await state(pool, own)).status is Status.PENDING
            assert (await finished(pool, own)).tries == 1

    async def test_that_are_cancelled_stop_though_their_rows_never_said_that_they_began(
        self, settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(claim_writer, "WRITE_AFTER_S", NEVER_S)
        async with serving(settings) as service:
            engine = service.engine
            request = await submit(engine, job(60_000, mode="sync", owner=engine.owner))

            async def working() -> bool:
                return request.id in engine.worker.running_ids

            async def idle() -> bool:
                return not engine.worker.running_ids

            await until(working)
            await engine.changes.cancel(request.id)
            await until(idle)
            assert engine.worker.lost_fences == 0
        assert (await state(pool, request)).status is Status.FAILED

    async def test_that_were_begun_are_not_dropped_as_waiting(
        self, settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(claim_writer, "WRITE_AFTER_S", NEVER_S)
        async with serving(replace(settings, workers=1)) as service:
            engine = service.engine
            rows = [job(300, mode="sync", owner=engine.owner) for _ in range(2)]
            first, second = [await submit(engine, row) for row in rows]

            async def working() -> bool:
                return first.id in engine.worker.running_ids

            await until(working)
            await engine.changes.drop(engine.owner, [first.id, second.id], [Status.PENDING])
            assert (await state(pool, second)).status is Status.FAILED
            assert (await finished(pool, first)).status is Status.COMPLETED

    async def test_that_another_replica_took_meanwhile_are_its_own(
        self, settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(claim_writer, "WRITE_AFTER_S", NEVER_S)
        async with serving(settings) as service:
            engine = service.engine
            request = await submit(engine, job(400, mode="sync", owner=engine.owner))

            async def working() -> bool:
                return request.id in engine.worker.running_ids

            async def dropped() -> bool:
                return engine.worker.lost_fences == 1

            await until(working)
            await pool.execute("UPDATE requests SET lease_until = now() WHERE id = $1", request.id)
            [taken] = await store.take_over(pool, OTHER, 1, engine._lease, request.created_at)
            await until(dropped)
        assert taken.id == request.id
        assert (await state(pool, request)) == taken

    async def test_that_a_look_finds_before_the_news_of_them_begin_once(
        self, settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A claim sees a row as soon as it is committed, and its answer may be read first."""
        async with serving(settings) as service:
            engine = service.engine
            make, made = engine.worker._executor.generate, []
            insert = store.insert

            async def counted(request: Request) -> execution.GeneratedReport:
                made.append(request.id)
                return await make(request)

            async def working() -> bool:
                return bool(engine.worker.running_ids)

            async def slowly_inserted(*given: Any) -> store.Insertion:
                fresh = await insert(*given)
                engine.worker.wake()
                await until(working)
                return fresh

            monkeypatch.setattr(engine.worker._executor, "generate", counted)
            monkeypatch.setattr(store, "insert", slowly_inserted)
            request = await submit(engine, job(300, mode="sync", owner=engine.owner))
            done = await finished(pool, request)
            assert (made, done.tries, engine.worker.lost_fences) == ([request.id], 1, 0)

    async def test_that_memory_has_no_room_for_begin_in_their_turn(
        self, settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sweeper, "SWEEP_EVERY_S", NEVER_S)
        monkeypatch.setattr(worker, "POLL_INTERVAL_S", NEVER_S)
        monkeypatch.setattr(own_requests, "MAX_KNOWN", 2)
        async with serving(settings) as service, service.engine.run_worker(OTHER, 1, NullObserver()):
            requests = [await submit(service.engine, job(20, owner=OTHER)) for _ in range(10)]
            done = [await finished(pool, request) for request in requests]
        starts = [each.started_at for each in done if each.started_at]
        assert len(starts) == 10
        assert sorted(starts) == starts

    async def test_that_memory_never_heard_of_follow_each_other_at_once(
        self, settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sweeper, "SWEEP_EVERY_S", NEVER_S)
        monkeypatch.setattr(worker, "POLL_INTERVAL_S", NEVER_S)
        async with serving(settings) as service:
            requests = await inserted(pool, *(new(owner=OTHER) for _ in range(5)))
            async with service.engine.run_worker(OTHER, 1, NullObserver()) as own:
                own.wake()
                for request in requests:
                    assert (await finished(pool, request)).status is Status.COMPLETED

    async def test_do_not_hide_what_comes_for_anyone_while_the_table_is_asked(
        self, settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sweeper, "SWEEP_EVERY_S", NEVER_S)
        monkeypatch.setattr(worker, "POLL_INTERVAL_S", NEVER_S)
        async with serving(replace(settings, workers=1)) as service:
            engine = service.engine
            anyones = new()
            ask, asked = store.has_unowned, asyncio.Event()

            async def asked_before(*given: Any) -> bool:
                found = await ask(*given)
                monkeypatch.setattr(store, "has_unowned", ask)
                await submit(engine, anyones)
                asked.set()
                return found

            await submit(engine, job(200))
            await submit(engine, new(owner=engine.owner))
            monkeypatch.setattr(store, "has_unowned", asked_before)
            engine.worker.wake()
            await asked.wait()
            assert (await finished(pool, anyones.request)).status is Status.COMPLETED

    async def test_begin_though_another_statement_is_at_their_rows(
        self, settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sweeper, "SWEEP_EVERY_S", NEVER_S)
        monkeypatch.setattr(worker, "POLL_INTERVAL_S", NEVER_S)
        async with serving(replace(settings, workers=1)) as service:
            engine = service.engine
            await submit(engine, job(200))
            own = await submit(engine, job(60_000, owner=engine.owner))

            async def working() -> bool:
                return own.id in engine.worker.running_ids

            async with pool.acquire() as connection, connection.transaction():
                await connection.execute("SELECT 1 FROM requests WHERE id = $1 FOR UPDATE", own.id)
                # A look is due, and nobody will hint at anything once it is over.
                engine.worker._table_first = True
                engine.worker._wakeup.clear()
                await until(working)

    async def test_are_known_to_be_worked_on_though_the_next_question_found_no_database(
        self, settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with serving(replace(settings, workers=1)) as service:
            engine = service.engine
            ask, publish = store.has_unowned, engine.worker._publish
            published: list[tuple[UUID, Status]] = []

            async def away(*_: Any) -> bool:
                monkeypatch.setattr(store, "has_unowned", ask)
                raise DatabaseUnavailable("away")

            def noted(requests: list[Request]) -> None:
                published.extend((request.id, request.status) for request in requests)
                publish(requests)

            await submit(engine, job(200))
            own = await submit(engine, job(200, owner=engine.owner))
            monkeypatch.setattr(store, "has_unowned", away)
            monkeypatch.setattr(engine.worker, "_publish", noted)
            engine.worker.wake()
            assert (await finished(pool, own)).tries == 1
            assert store.has_unowned is ask
            assert (own.id, Status.PROCESSING) in published

    async def test_are_known_to_be_worked_on_though_the_answer_to_that_was_lost(
        self, service: Service, pool: Pool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        engine = service.engine
        begin, publish = store.begin, engine.worker._publish
        published: list[tuple[UUID, Status]] = []

        async def begun(*given: Any) -> set[UUID]:
            await begin(*given)
            monkeypatch.setattr(store, "begin", begin)
            raise DatabaseUnavailable("after the commit")

        def noted(requests: list[Request]) -> None:
            published.extend((request.id, request.status) for request in requests)
            publish(requests)

        monkeypatch.setattr(store, "begin", begun)
        monkeypatch.setattr(store, "claim", nothing)
        for part in (engine.worker, engine.worker._claims, engine.worker._completion):
            monkeypatch.setattr(part, "_publish", noted)
        request = await submit(engine, job(600, mode="sync", owner=engine.owner))
        assert (await finished(pool, request)).tries == 1
        assert published == [(request.id, Status.PROCESSING), (request.id, Status.COMPLETED)]

    async def test_that_were_taken_over_are_stopped_though_their_rows_never_said_that_they_began(
        self, settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(claim_writer, "WRITE_AFTER_S", NEVER_S)
        monkeypatch.setattr(store, "claim", nothing)
        async with serving(replace(settings, lease_s=60)) as service:
            engine = service.engine
            request = await submit(engine, job(60_000, mode="sync", owner=engine.owner))

            async def working() -> bool:
                return request.id in engine.worker.running_ids

            async def idle() -> bool:
                return not engine.worker.running_ids

            await until(working)
            await pool.execute("UPDATE requests SET lease_until = now() WHERE id = $1", request.id)
            engine._take_changes(await store.take_over(pool, OTHER, 1, engine._lease, request.created_at))
            await until(idle)
        assert engine.worker.lost_fences == 0


async def nothing(*_: Any, **__: Any) -> list[Request]:
    """What a look at the table finds while nothing waits there."""
    return []


class TestSlots:
    async def test_no_more_work_at_once_than_there_are_slots(self, settings: Settings, pool: Pool) -> None:
        async with serving(replace(settings, workers=2)) as service:
            requests = [await submit(service.engine, job(1_000)) for _ in range(6)]

            async def busy() -> bool:
                return len(service.engine.worker.running_ids) == 2

            await until(busy)
            assert service.engine.slots.busy == 2
            statuses = [row.status for row in await store.get(pool, [request.id for request in requests])]
            assert statuses.count(Status.PROCESSING) <= 2
            done = [await finished(pool, request) for request in requests]
        spans = [(each.started_at, each.completed_at) for each in done if each.started_at and each.completed_at]
        for started, _ in spans:
            assert sum(other <= started < end for other, end in spans) <= 2
        starts = [started for started, _ in spans]
        assert sorted(starts) == starts

    async def test_a_service_time_holds_the_slot_and_counts(self, settings: Settings, pool: Pool) -> None:
        async with serving(replace(settings, workers=1)) as service:
            request = await submit(service.engine, job(300))

            async def working() -> bool:
                return bool(service.engine.worker.running_ids)

            await until(working)
            assert service.engine.slots.busy == 1
            done = await finished(pool, request)
            assert done.result_payload is not None
            assert done.result_payload["timings_ms"]["service"] >= 299

    async def test_the_wait_for_a_slot_is_measured(self, settings: Settings, pool: Pool) -> None:
        async with serving(replace(settings, workers=1)) as service:
            requests = [await submit(service.engine, job(300)) for _ in range(2)]
            first, second = [await finished(pool, request) for request in requests]
        timings = []
        for each in (first, second):
            assert each.result_payload is not None
            assert each.started_at is not None
            timings.append(each.result_payload["timings_ms"])
            # The claim's own time is no waiting for a slot.
            assert 0 <= timings[-1]["queue"] <= (each.started_at - each.created_at).total_seconds() * 1000 + 1
        # The second one waited for all of the first one's service, but for what had passed when it came.
        passed = (second.created_at - first.created_at).total_seconds() * 1000
        assert timings[1]["queue"] >= 299 - passed
        assert all(each["total"] >= each["queue"] + each["service"] - 1 for each in timings)

    async def test_every_slot_is_given_back_whatever_happened(self, service: Service, pool: Pool) -> None:
        rows = [new(), job(1, fails=True), new(input_payload={"report_type": "none"}), job(50)]
        async with all_slots_taken(service):
            requests = [await submit(service.engine, row) for row in rows]
            requests.insert(2, await submit_for_a_ledger_that_goes(service, pool))
        statuses = [(await finished(pool, request)).status for request in requests]
        assert statuses == [Status.COMPLETED, Status.FAILED, Status.FAILED, Status.FAILED, Status.COMPLETED]

        async def free() -> bool:
            return service.engine.slots.busy == 0 and not service.engine.worker.running_ids

        # The claimer itself holds one slot while it looks.
        await until(free)


class TestFailures:
    async def test_a_simulated_failure_fails_the_request_and_is_announced(
        self, service: Service, pool: Pool, receiver: Receiver
    ) -> None:
        request = await submit(service.engine, job(fails=True, callback_url=receiver.url()))
        failed = await finished(pool, request)
        assert failed.status is Status.FAILED
        assert failed.error is not None
        assert (failed.error["type"], failed.error["simulated"]) == ("/problems/report-failed", True)
        assert failed.result_payload is None
        [arrival] = receiver.arrivals
        assert arrival.event["type"] == "report.failed"
        assert arrival.event["data"]["error"] == failed.error

    async def test_a_ledger_that_is_gone_fails_the_request(self, service: Service, pool: Pool) -> None:
        async with all_slots_taken(service):
            request = await submit_for_a_ledger_that_goes(service, pool)
        failed = await finished(pool, request)
        assert failed.error is not None
        assert "ledger was deleted" in failed.error["detail"]

    async def test_a_report_that_takes_too_long_fails_and_is_not_tried_for_ever(
        self, service: Service, pool: Pool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(generate, "TIMEOUT_S", 1e-6)
        failed = await finished(pool, await submit(service.engine, new()))
        assert failed.error is not None
        assert "took longer" in failed.error["detail"]

    async def test_what_a_database_would_only_say_again_of_a_report_fails_it(
        self, service: Service, pool: Pool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        errors: list[Exception] = [
            asyncpg.ConnectionDoesNotExistError("gone"),
            asyncpg.ConfigurationLimitExceededError("temp_file_limit"),
        ]

        made: list[Exception] = []

        async def make(_: Request) -> execution.GeneratedReport:
            # The last one is what the database says from then on.
            made.append(errors[min(len(made), len(errors) - 1)])
            raise made[-1]

        monkeypatch.setattr(service.engine.worker._executor, "generate", make)
        failed = await finished(pool, await submit(service.engine, new()))
        assert failed.error is not None
        assert failed.error["type"] == "/problems/report-failed"
        assert made == errors

    @pytest.mark.parametrize(("cancels", "status"), [(3, Status.COMPLETED), (10**6, Status.FAILED)])
    async def test_a_statement_that_somebody_cancelled_is_run_again_but_not_without_an_end(
        self, service: Service, pool: Pool, monkeypatch: pytest.MonkeyPatch, cancels: int, status: Status
    ) -> None:
        executor, tried = service.engine.worker._executor, 0
        generate = executor.generate

        async def disturbed(request: Request) -> execution.GeneratedReport:
            nonlocal tried
            tried += 1
            if tried <= cancels:
                raise asyncpg.QueryCanceledError("canceling statement due to user request")
            return await generate(request)

        monkeypatch.setattr(executor, "generate", disturbed)
        assert (await finished(pool, await submit(service.engine, new()))).status is status
        assert tried == execution.MAX_CANCELLED_STATEMENTS + 1

    async def test_a_bug_fails_the_request_and_tells_nothing_of_itself(
        self, service: Service, pool: Pool, caplog: pytest.LogCaptureFixture
    ) -> None:
        failed = await finished(pool, await submit(service.engine, new(input_payload={"report_type": "none"})))
        assert failed.error is not None
        assert failed.error["type"] == "/problems/report-failed"
        assert "KeyError" not in str(failed.error)
        assert "KeyError" in caplog.text


class TestCancelling:
    async def test_is_made_known_though_whoever_asked_for_it_left_after_the_commit(
        self, service: Service, pool: Pool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        engine = service.engine
        leave_after(monkeypatch, store, "abandon", lambda: client.cancel())
        request = await submit(engine, job(60_000))
        with engine.hub.end_of(request.id) as end:
            client = asyncio.create_task(engine.changes.cancel(request.id))
            with pytest.raises(asyncio.CancelledError):
                await client
            async with asyncio.timeout(10):
                assert (await end).status is Status.FAILED
        assert engine.counts.ended == {Status.FAILED: 1}

    async def test_for_want_of_a_waiting_client_is_made_known_though_whoever_told_of_it_left(
        self, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        engine = service.engine
        leave_after(monkeypatch, store, "abandon", lambda: client.cancel())
        request = await submit(engine, job(60_000, mode="sync", owner=engine.owner))
        with engine.hub.end_of(request.id) as end:
            client = asyncio.create_task(engine.changes.drop(engine.owner, [request.id], list(Status)))
            with pytest.raises(asyncio.CancelledError):
                await client
            async with asyncio.timeout(10):
                assert (await end).status is Status.FAILED
        assert engine.counts.ended == {Status.FAILED: 1}


def leave_after(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, leave: Callable[[], object]) -> None:
    """Has whoever asks for a change of the store go away just after it is committed."""
    change = getattr(module, name)

    async def changed_then(*given: Any, **named: Any) -> Any:
        rows = await change(*given, **named)
        leave()
        await asyncio.sleep(0)
        return rows

    monkeypatch.setattr(module, name, changed_then)


class TestTakeovers:
    async def test_the_work_of_a_dead_replica_is_done_after_its_lease(
        self, service: Service, pool: Pool, receiver: Receiver
    ) -> None:
        request = await left_by(pool, OTHER, seconds=0.3, callback_url=receiver.url())
        done = await finished(pool, request)
        assert (done.status, done.takeovers, done.tries) == (Status.COMPLETED, 1, 2)
        assert [arrival.attempt for arrival in receiver.arrivals] == [1]

    async def test_a_sync_request_of_a_dead_replica_is_done_too(self, service: Service, pool: Pool) -> None:
        [request] = await inserted(pool, new(mode="sync", owner=OTHER, idempotency_key="left"))
        await pool.execute("UPDATE requests SET lease_until = now() WHERE id = $1", request.id)
        assert (await finished(pool, request)).status is Status.COMPLETED
        answer = await store.stored_answer(pool, "left")
        assert answer is not None
        assert answer.status == 200

    async def test_a_claim_whose_answer_was_lost_is_done_after_its_lease(self, service: Service, pool: Pool) -> None:
        """The row says that we work on it; nobody does."""
        request = await left_by(pool, service.engine.owner, seconds=0.3)
        assert (await finished(pool, request)).status is Status.COMPLETED

    async def test_work_that_takes_longer_than_a_lease_stays_with_its_owner(
        self, settings: Settings, pool: Pool
    ) -> None:
        async with serving(replace(settings, lease_s=0.9)) as one, serving(replace(settings, lease_s=0.9)):
            done = await finished(pool, await submit(one.engine, job(1_800)))
        assert (done.status, done.takeovers, done.tries) == (Status.COMPLETED, 0, 1)

    async def test_a_request_that_five_owners_left_fails(
        self, service: Service, pool: Pool, receiver: Receiver
    ) -> None:
        fourth = await left_by(pool, OTHER, takeovers=3)
        fifth = await left_by(pool, OTHER, takeovers=4, callback_url=receiver.url())
        assert (await finished(pool, fourth)).status is Status.COMPLETED
        given_up = await finished(pool, fifth)
        assert given_up.status is Status.FAILED
        assert given_up.error is not None
        assert given_up.error["type"] == "/problems/gave-up"
        assert receiver.arrivals[0].event["type"] == "report.failed"

    async def test_an_end_that_could_not_be_written_is_made_again(
        self, service: Service, pool: Pool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        finishes = service.engine.worker._completion.ends
        submit_end = finishes.submit
        failures = 1

        async def overloaded(end: store.Finish) -> bool:
            nonlocal failures
            if failures:
                failures -= 1
                raise Overloaded("finish")
            return await submit_end(end)

        monkeypatch.setattr(finishes, "submit", overloaded)
        done = await finished(pool, await submit(service.engine, new()))
        assert (done.status, done.tries) == (Status.COMPLETED, 2)

    async def test_an_end_whose_answer_was_lost_counts_and_is_announced(
        self, service: Service, pool: Pool, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sweeper, "SWEEP_EVERY_S", NEVER_S)
        finishes = service.engine.worker._completion.ends
        write = finishes._flush
        losses = 1

        async def flush(ends: Sequence[store.Finish]) -> Sequence[bool]:
            nonlocal losses
            written = await write(ends)
            if losses:
                losses -= 1
                raise DatabaseUnavailable("after the commit")
            return written

        monkeypatch.setattr(finishes, "_flush", flush)
        done = await finished(pool, await submit(service.engine, new(callback_url=receiver.url())))
        assert (done.status, done.callback_status, done.tries) == (Status.COMPLETED, CallbackStatus.SUCCESS, 1)
        assert service.engine.counts.ended == {Status.COMPLETED: 1}
        assert service.engine.worker.lost_fences == 0
        assert len(receiver.arrivals) == 1

    async def test_a_zombie_publishes_nothing(self, service: Service, pool: Pool) -> None:
        request = await submit(service.engine, job(400))

        async def working() -> bool:
            return request.id in service.engine.worker.running_ids

        await until(working)
        # Somebody else takes it over, as after an outage of ours.
        await pool.execute(
            "UPDATE requests SET status = 'PROCESSING', tries = tries + 1, owner = $2 WHERE id = $1", request.id, OTHER
        )

        async def dropped() -> bool:
            return service.engine.worker.lost_fences == 1

        await until(dropped)
        assert (await state(pool, request)).status is Status.PROCESSING


class TestReplicas:
    async def test_many_requests_are_each_done_once(self, settings: Settings, pool: Pool, receiver: Receiver) -> None:
        async with serving(settings) as one, serving(settings) as other:
            engines = [one.engine, other.engine]
            rows = [new(callback_url=receiver.url()) if n % 4 == 0 else new() for n in range(200)]
            requests = await asyncio.gather(*(submit(engines[n % 2], row) for n, row in enumerate(rows)))
            done = [await finished(pool, request) for request in requests]
            ended = [engine.counts.ended[Status.COMPLETED] for engine in engines]
        assert {(each.status, each.tries, each.takeovers) for each in done} == {(Status.COMPLETED, 1, 0)}
        assert sum(ended) == 200
        assert min(ended) > 0
        assert len(receiver.arrivals) == len({arrival.message_id for arrival in receiver.arrivals}) == 50

    async def test_a_sync_request_is_done_where_its_client_waits(self, settings: Settings, pool: Pool) -> None:
        async with serving(replace(settings, workers=1)) as busy, serving(settings) as idle:
            await submit(busy.engine, job(400, mode="sync", owner=busy.engine.owner))
            mine = await submit(busy.engine, new(mode="sync", owner=busy.engine.owner))
            assert (await finished(pool, mine)).tries == 1
            assert busy.engine.counts.ended[Status.COMPLETED] == 2
            assert idle.engine.counts.ended[Status.COMPLETED] == 0


class TestStopping:
    async def test_work_that_ends_in_time_is_finished(self, settings: Settings, pool: Pool) -> None:
        async with serving(replace(settings, shutdown_grace_s=5)) as service:
            request = await submit(service.engine, job(300))

            async def working() -> bool:
                return request.id in service.engine.worker.running_ids

            await until(working)
        assert (await state(pool, request)).status is Status.COMPLETED

    async def test_work_that_does_not_is_handed_over_at_once_and_does_not_count(
        self, settings: Settings, pool: Pool
    ) -> None:
        slow = replace(settings, shutdown_grace_s=0.1, lease_s=60)
        async with serving(slow) as service:
            request = await submit(service.engine, job(3_000))

            async def working() -> bool:
                return request.id in service.engine.worker.running_ids

            await until(working)
        assert not (await state(pool, request)).ended
        # The same request, told to be quick this time.
        await pool.execute(
            "UPDATE requests SET input_payload = $2 WHERE id = $1", request.id, '{"report_type": "none"}'
        )
        async with serving(slow):
            done = await finished(pool, request)
        assert (done.takeovers, done.tries) == (0, 2)

    async def test_what_waits_for_a_slot_goes_to_whoever_comes_next(self, settings: Settings, pool: Pool) -> None:
        async with serving(replace(settings, workers=1, lease_s=60)) as service:
            await submit(service.engine, job(500))
            waiting = [
                await submit(service.engine, new()),
                await submit(service.engine, new(mode="sync", owner=service.engine.owner)),
            ]
        async with serving(replace(settings, lease_s=60)):
            for request in waiting:
                done = await finished(pool, request)
                assert (done.status, done.takeovers) == (Status.COMPLETED, 0)

    async def test_nothing_of_ours_is_left_owned(self, settings: Settings, pool: Pool) -> None:
        async with serving(replace(settings, shutdown_grace_s=0.1, workers=2)) as service:
            for _ in range(6):
                await submit(service.engine, job(2_000))
        owned = "SELECT count(*) FROM requests WHERE owner IS NOT NULL OR lease_until > now()"
        assert await pool.fetchval(owned) == 0


async def test_cancelling_stops_the_work_and_frees_the_slot(settings: Settings, pool: Pool) -> None:
    async with serving(replace(settings, workers=1)) as service:
        request = await submit(service.engine, job(60_000))

        async def working() -> bool:
            return request.id in service.engine.worker.running_ids

        await until(working)
        cancelled = await service.engine.changes.cancel(request.id)
        assert cancelled is not None
        assert cancelled.status is Status.FAILED
        assert (await finished(pool, await submit(service.engine, new()))).status is Status.COMPLETED
        assert await service.engine.changes.cancel(request.id) is None
        assert await service.engine.changes.cancel(uuid4()) is None
