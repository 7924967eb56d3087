"""The requests store: rows go in by many, are claimed by one, and end once."""

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest

from reportsim.core.identifiers import uuid7
from reportsim.core.model import CallbackStatus, Mode, Request, Status
from reportsim.store import callbacks
from reportsim.store import requests as store
from reportsim.store.pool import Connection, Pool
from tests.store.rows import (
    LEASE,
    ME,
    OTHER,
    PAYLOAD,
    URL,
    attempt_at,
    claimed,
    end_of,
    ended,
    expire,
    field,
    inserted,
    new,
    new_id,
    now,
    read,
)

EXPIRED = timedelta(seconds=-1)
LATEST = uuid7(2**60 - 1, bytes(8))


def ids(requests: list[Request]) -> list[UUID]:
    return [request.id for request in requests]


class TestInsert:
    async def test_what_is_read_is_what_was_written(self, pool: Pool) -> None:
        written = new(
            input_payload={**PAYLOAD, "note": "Zürich ☃ \\u0000 'quoted'", "nested": {"list": [1, 2.5, None, True]}},
            callback_url=URL,
            callback_origin=URL,  # its path too, as an inbox of the demo receiver
            callback_demo=True,
            idempotency_key="key-1",
            run_id=new_id(),
            http_request_id="request-1",
            traceparent="00-1-2-01",
            csv_guard=False,
        )
        assert (await store.insert(pool, LEASE, [written])).inserted == [True]
        assert await read(pool, written.request) == [written.request]

    async def test_many_rows_are_one_statement(self, pool: Pool) -> None:
        rows = [new() for _ in range(500)]
        assert (await store.insert(pool, LEASE, rows)).inserted == [True] * 500
        assert len(await store.get(pool, [row.request.id for row in rows])) == 500

    async def test_a_key_twice_in_one_batch_is_refused_for_exactly_the_second(self, pool: Pool) -> None:
        rows = [new(), new(idempotency_key="a"), new(idempotency_key="b"), new(idempotency_key="a"), new()]
        assert (await store.insert(pool, LEASE, rows)).inserted == [True, True, True, False, True]
        stored = await store.stored_answer(pool, "a")
        assert stored is not None
        assert stored.request.id == rows[1].request.id

    async def test_a_key_that_exists_is_refused_for_exactly_that_row(self, pool: Pool) -> None:
        first, *_ = await inserted(pool, new(idempotency_key="a"))
        rows = [new(idempotency_key="b"), new(idempotency_key="a"), new()]
        assert (await store.insert(pool, LEASE, rows)).inserted == [True, False, True]
        stored = await store.stored_answer(pool, "a")
        assert stored is not None
        assert stored.request.id == first.id

    async def test_one_key_in_many_statements_at_once_goes_in_once(self, pool: Pool) -> None:
        rows = [new(idempotency_key="a") for _ in range(20)]
        results = await asyncio.gather(*(store.insert(pool, LEASE, [new(), row, new()]) for row in rows))
        assert sorted(result.inserted[1] for result in results) == [False] * 19 + [True]
        assert all(result.inserted[0] and result.inserted[2] for result in results)

    async def test_of_counted_clients_only_so_much_may_wait_and_their_counts_are_returned(self, pool: Pool) -> None:
        a, b, free = b"a", b"b", b"free"
        done, *_ = await inserted(pool, new(client=a), new(client=a), new(client=b, planned_s=4.0), new(client=free))
        await store.claim(pool, ME, 1, LEASE, now())
        assert (await read(pool, done))[0].status == Status.PROCESSING
        rows = [
            new(client=a, planned_s=3.0),
            new(client=free, planned_s=9.0),
            new(client=b, planned_s=2.0),
            new(client=a),
            new(client=b, planned_s=0.0),
            new(client=a),
            new(),
            new(client=free),
        ]
        found = await store.insert(pool, LEASE, rows, store.Waiting(3, 5.0), frozenset({a, b}))
        assert found.inserted == [True, True, False, True, True, False, True, True]
        assert found.waiting == {a: store.Waiting(1, 0.0), b: store.Waiting(1, 4.0)}
        # No further than the bound: what is beyond that says nothing more.
        found = await store.insert(pool, LEASE, [new(client=a)], store.Waiting(2, 5.0), frozenset({a}))
        assert found == store.Insertion([False], {})

    async def test_a_batch_with_a_bad_row_writes_none_of_it(self, pool: Pool) -> None:
        good, bad = new(), new(input_payload={"text": "\ud800"})
        with pytest.raises((asyncpg.DataError, UnicodeError)):
            await store.insert(pool, LEASE, [good, bad])
        assert await store.get(pool, [good.request.id]) == []

    async def test_a_key_stands_for_its_first_request_and_answer(self, pool: Pool) -> None:
        waiting = new(mode=Mode.SYNC, idempotency_key="sync", fingerprint=b"asked", owner=ME)
        await inserted(pool, new(idempotency_key="async", fingerprint=b"meant"), waiting)
        later, running = await store.stored_answer(pool, "async"), await store.stored_answer(pool, "sync")
        assert later is not None
        assert running is not None
        assert (later.status, later.body, later.fingerprint) == (202, b"{}", b"meant")
        assert (running.status, running.body, running.fingerprint) == (None, None, b"asked")
        assert running.request == waiting.request
        assert await store.stored_answer(pool, "never seen") is None


class TestClaim:
    async def test_takes_the_oldest_first_and_no_more_than_asked_for(self, pool: Pool) -> None:
        rows = [new() for _ in range(5)]
        await inserted(pool, *reversed(rows))
        first = await store.claim(pool, ME, 2, LEASE, now())
        assert ids(first) == [row.request.id for row in rows[:2]]
        assert ids(await store.claim(pool, ME, 10, LEASE, now())) == [row.request.id for row in rows[2:]]
        assert await store.claim(pool, ME, 10, LEASE, now()) == []

    async def test_marks_the_row_and_raises_its_fence(self, pool: Pool) -> None:
        row, at = new(), now()
        await inserted(pool, row)
        [taken] = await store.claim(pool, ME, 1, LEASE, at)
        assert taken == replace(row.request, status=Status.PROCESSING, tries=1, started_at=at)
        assert await field(pool, taken, "owner") == ME
        assert await field(pool, taken, "lease_until > now() + interval '25 s'")

    async def test_two_claimers_never_share_a_row(self, pool: Pool) -> None:
        await inserted(pool, *(new() for _ in range(300)))

        async def drain(owner: UUID) -> list[UUID]:
            mine: list[UUID] = []
            while found := await store.claim(pool, owner, 7, LEASE, now()):
                mine += ids(found)
            return mine

        taken = await asyncio.gather(drain(ME), drain(ME), drain(OTHER), drain(OTHER))
        everything = [id for part in taken for id in part]
        assert len(everything) == len(set(everything))
        # What a claimer skipped, since another one had it locked, is not lost.
        everything += await drain(ME)
        assert len(set(everything)) == 300

    async def test_passes_over_rows_that_another_transaction_holds(self, pool: Pool, connection: Connection) -> None:
        rows = await inserted(pool, new(), new(), new())
        async with connection.transaction():
            await connection.execute("SELECT 1 FROM requests WHERE id = $1 FOR UPDATE", rows[0].id)
            async with asyncio.timeout(5):
                assert ids(await store.claim(pool, ME, 2, LEASE, now())) == ids(rows[1:])
        assert ids(await store.claim(pool, ME, 2, LEASE, now())) == [rows[0].id]

    async def test_an_owned_row_is_its_owners_alone_until_its_lease_ends(self, pool: Pool) -> None:
        [mine, theirs] = await inserted(pool, new(mode=Mode.SYNC, owner=ME), new(mode=Mode.SYNC, owner=OTHER))
        assert ids(await store.claim(pool, ME, 10, LEASE, now())) == [mine.id]
        assert await store.take_over(pool, ME, 10, LEASE, now()) == []
        await expire(pool, theirs)
        at = now()
        [taken] = await store.take_over(pool, ME, 10, LEASE, at)
        assert (taken.id, taken.status, taken.started_at) == (theirs.id, Status.PROCESSING, at)

    async def test_own_and_common_rows_are_one_queue(self, pool: Pool) -> None:
        rows = await inserted(pool, *(new(mode=Mode.SYNC, owner=ME) if n % 2 else new() for n in range(6)))
        assert ids(await store.claim(pool, ME, 3, LEASE, now())) == ids(rows[:3])
        assert ids(await store.claim(pool, ME, 3, LEASE, now())) == ids(rows[3:])

    async def test_own_rows_that_are_worked_on_already_are_left_out(self, pool: Pool) -> None:
        rows = await inserted(pool, *(new(mode=Mode.SYNC, owner=ME) for _ in range(3)))
        assert ids(await store.claim(pool, ME, 2, LEASE, now(), begun=[rows[0].id])) == ids(rows[1:])

    async def test_what_belongs_to_nobody_is_known_to_wait(self, pool: Pool) -> None:
        await inserted(pool, new(mode=Mode.SYNC, owner=ME))
        assert not await store.has_unowned(pool)
        await inserted(pool, new())
        assert await store.has_unowned(pool)
        await store.claim(pool, OTHER, 1, LEASE, now())
        assert not await store.has_unowned(pool)


class TestReserve:
    async def test_takes_the_oldest_that_belong_to_nobody_and_leaves_them_waiting(self, pool: Pool) -> None:
        rows = await inserted(pool, new(), new(mode=Mode.SYNC, owner=OTHER), new(), new())
        before = await read(pool, *rows)
        assert ids(await store.reserve(pool, ME, 2, LEASE, 1.0)) == [rows[0].id, rows[2].id]
        assert await read(pool, *rows) == before
        assert await field(pool, rows[0], "lease_until > now() + interval '25 s'")
        assert ids(await store.claim(pool, OTHER, 10, LEASE, now())) == [rows[1].id, rows[3].id]
        assert ids(await store.claim(pool, ME, 10, LEASE, now())) == [rows[0].id, rows[2].id]

    async def test_stops_before_the_first_that_plans_to_take_long(self, pool: Pool) -> None:
        rows = await inserted(pool, new(), new(planned_s=0.5), new(planned_s=0.6), new())
        assert ids(await store.reserve(pool, ME, 10, LEASE, 0.5)) == ids(rows[:2])
        assert ids(await store.claim(pool, OTHER, 10, LEASE, now())) == ids(rows[2:])

    async def test_leaves_out_what_another_statement_is_at(self, pool: Pool, connection: Connection) -> None:
        rows = await inserted(pool, new(), new())
        async with connection.transaction():
            await connection.execute("SELECT 1 FROM requests WHERE id = $1 FOR UPDATE", rows[0].id)
            async with asyncio.timeout(5):
                assert ids(await store.reserve(pool, ME, 10, LEASE, 1.0)) == [rows[1].id]

    async def test_is_taken_over_after_its_lease(self, pool: Pool) -> None:
        [row] = await inserted(pool, new())
        await store.reserve(pool, ME, 1, LEASE, 1.0)
        await expire(pool, row)
        assert ids(await store.take_over(pool, OTHER, 10, LEASE, now())) == [row.id]
        assert await store.finish(pool, ME, LEASE, [end_of(begun(row))]) == [False]

    async def test_locks_no_more_than_it_takes(self, pool: Pool, connection: Connection) -> None:
        rows = await inserted(pool, new(planned_s=5.0), new(), new())
        async with connection.transaction():
            assert await store.reserve(connection, ME, 10, LEASE, 1.0) == []
            assert ids(await store.claim(pool, OTHER, 3, LEASE, now())) == ids(rows)

    async def test_takes_nothing_behind_a_long_one_that_is_locked(self, pool: Pool, connection: Connection) -> None:
        rows = await inserted(pool, new(planned_s=5.0), new(), new())
        async with connection.transaction():
            await connection.execute("SELECT 1 FROM requests WHERE id = $1 FOR UPDATE", rows[0].id)
            assert await store.reserve(pool, ME, 10, LEASE, 1.0) == []

    async def test_is_returned_as_long_as_it_waits(self, pool: Pool, connection: Connection) -> None:
        rows = await inserted(pool, *(new() for _ in range(5)))
        await inserted(pool, new(mode=Mode.SYNC, owner=ME), new(mode=Mode.SYNC, owner=OTHER))
        await store.reserve(pool, ME, 5, LEASE, 1.0)
        assert await store.begin(pool, ME, LEASE, [begun(rows[0])]) == {rows[0].id}
        assert await store.finish(pool, ME, LEASE, [end_of(begun(rows[1]))]) == [True]
        async with connection.transaction():
            await connection.execute("SELECT 1 FROM requests WHERE id = $1 FOR UPDATE", rows[2].id)
            async with asyncio.timeout(5):
                assert await store.return_reserved(pool, ME, [rows[3].id])
        assert ids(await store.claim(pool, uuid4(), 10, LEASE, now())) == [rows[4].id]
        assert not await store.return_reserved(pool, ME, [rows[3].id])
        assert ids(await store.claim(pool, uuid4(), 10, LEASE, now())) == [rows[2].id]
        assert await store.finish(pool, ME, LEASE, [end_of(begun(rows[3]))]) == [True]


def begun(request: Request) -> Request:
    """A request that waits, as its owner works on it."""
    return replace(request, status=Status.PROCESSING, tries=request.tries + 1, started_at=now())


class TestBegin:
    async def test_writes_down_what_its_owner_works_on(self, pool: Pool) -> None:
        rows = await inserted(pool, *(new(mode=Mode.SYNC, owner=ME) for _ in range(3)))
        works = [begun(row) for row in rows[:2]]
        assert await store.begin(pool, ME, LEASE, works) == {work.id for work in works}
        assert await read(pool, *rows) == [*works, rows[2]]
        assert await field(pool, works[0], "lease_until > now() + interval '25 s'")
        assert await store.finish(pool, ME, LEASE, [end_of(work) for work in works]) == [True, True]

    async def test_leaves_out_what_another_statement_is_at(self, pool: Pool, connection: Connection) -> None:
        works = [begun(row) for row in await inserted(pool, *(new(mode=Mode.SYNC, owner=ME) for _ in range(2)))]
        async with connection.transaction():
            await connection.execute("SELECT 1 FROM requests WHERE id = $1 FOR UPDATE", works[0].id)
            async with asyncio.timeout(5):
                assert await store.begin(pool, ME, LEASE, works) == {works[1].id}
        assert await store.begin(pool, ME, LEASE, works[:1]) == {works[0].id}
        assert await read(pool, *works) == works

    async def test_changes_nothing_of_what_is_not_its_own_or_waits_no_more(self, pool: Pool) -> None:
        common, theirs, failed, done = rows = await inserted(
            pool,
            new(),
            new(mode=Mode.SYNC, owner=OTHER),
            new(mode=Mode.SYNC, owner=ME),
            new(mode=Mode.SYNC, owner=ME),
        )
        await store.abandon(pool, [failed.id], states=[Status.PENDING], error={}, at=now())
        assert await store.finish(pool, ME, LEASE, [end_of(begun(done))]) == [True]
        before = await read(pool, *rows)
        works = [begun(row) for row in (common, theirs, failed, done)]
        assert await store.begin(pool, ME, LEASE, works) == set()
        assert await read(pool, *rows) == before


class TestFinish:
    async def test_ends_what_its_owner_began_without_writing_that_down(self, pool: Pool) -> None:
        [request] = await inserted(pool, new(mode=Mode.SYNC, owner=ME))
        work = begun(request)
        assert await store.finish(pool, ME, LEASE, [end_of(work)]) == [True]
        [found] = await read(pool, request)
        assert (found.status, found.tries, found.started_at) == (Status.COMPLETED, 1, work.started_at)

    async def test_refuses_what_was_begun_unwritten_and_taken_over_or_failed_since(self, pool: Pool) -> None:
        taken, failed = rows = await inserted(pool, *(new(mode=Mode.SYNC, owner=ME) for _ in range(2)))
        works = [begun(row) for row in rows]
        await expire(pool, taken)
        [heir] = await store.take_over(pool, OTHER, 10, LEASE, now())
        [gone] = await store.abandon(pool, [failed.id], states=[Status.PENDING], error={}, at=now())
        assert gone.tries > works[1].tries
        assert await store.finish(pool, ME, LEASE, [end_of(work) for work in works]) == [False, False]
        assert await store.finish(pool, OTHER, LEASE, [end_of(heir)]) == [True]

    async def test_writes_the_end_and_takes_the_first_callback(self, pool: Pool) -> None:
        [called, silent] = await claimed(pool, new(callback_url=URL), new())
        at = now()
        ends = [end_of(called, completed_at=at), end_of(silent, completed_at=at, answer_status=200, answer_body=b"x")]
        assert await store.finish(pool, ME, LEASE, ends) == [True, True]
        found = await read(pool, called, silent)
        assert [request.status for request in found] == [Status.COMPLETED] * 2
        assert [request.completed_at for request in found] == [at, at]
        assert [request.result_payload for request in found] == [{"rows": 1}] * 2
        assert await field(pool, called, "owner") is None
        assert await field(pool, called, "callback_owner") == ME
        assert await field(pool, called, "callback_due_at > now() + interval '25 s'")
        assert found[0].callback_fence == called.callback_fence + 1
        assert await field(pool, silent, "callback_owner") is None
        assert await field(pool, silent, "callback_due_at") is None

    async def test_keeps_the_answer_of_the_insert_unless_there_is_a_new_one(self, pool: Pool) -> None:
        [later, waited] = await claimed(
            pool, new(idempotency_key="later"), new(mode=Mode.SYNC, owner=ME, idempotency_key="waited")
        )
        await store.finish(pool, ME, LEASE, [end_of(later), end_of(waited, answer_status=200, answer_body=b"done")])
        answers = [await store.stored_answer(pool, key) for key in ("later", "waited")]
        assert [(answer.status, answer.body) for answer in answers if answer] == [(202, b"{}"), (200, b"done")]

    async def test_a_failure_keeps_its_problem(self, pool: Pool) -> None:
        [request] = await claimed(pool, new())
        end = end_of(request, status=Status.FAILED, result_payload=None, error=json.dumps({"detail": "ä"}))
        assert await store.finish(pool, ME, LEASE, [end]) == [True]
        [found] = await read(pool, request)
        assert (found.status, found.error, found.result_payload) == (Status.FAILED, {"detail": "ä"}, None)

    async def test_a_zombie_changes_nothing(self, pool: Pool) -> None:
        [zombie, other] = await claimed(pool, new(callback_url=URL), new())
        await expire(pool, zombie)
        [taken] = await store.take_over(pool, OTHER, 1, LEASE, now())
        before = await pool.fetchrow("SELECT * FROM requests WHERE id = $1", zombie.id)
        late = end_of(zombie, result_payload='{"zombie": true}', answer_status=500, answer_body=b"zombie")
        assert await store.finish(pool, ME, LEASE, [late, end_of(other)]) == [False, True]
        assert await pool.fetchrow("SELECT * FROM requests WHERE id = $1", zombie.id) == before
        assert await store.finish(pool, OTHER, LEASE, [end_of(taken)]) == [True]

    async def test_of_a_zombie_and_its_successor_in_one_batch_only_the_successor_ends_it(self, pool: Pool) -> None:
        [zombie] = await claimed(pool, new())
        await expire(pool, zombie)
        [successor] = await store.take_over(pool, ME, 1, LEASE, now())
        ends = [end_of(zombie, result_payload='{"by": "zombie"}'), end_of(successor, result_payload='{"by": "heir"}')]
        assert await store.finish(pool, ME, LEASE, ends) == [False, True]
        assert (await read(pool, zombie))[0].result_payload == {"by": "heir"}

    async def test_an_end_is_final(self, pool: Pool) -> None:
        [request] = await ended(pool, new())
        late = end_of(request, status=Status.FAILED, result_payload=None, error="{}")
        assert await store.finish(pool, ME, LEASE, [late]) == [False]
        assert await store.claim(pool, ME, 10, LEASE, now()) == []
        await expire(pool, request)
        assert await store.take_over(pool, ME, 10, LEASE, now()) == []
        assert await read(pool, request) == [request]


class TestTakeOver:
    async def test_takes_only_what_has_run_out_and_counts_it(self, pool: Pool) -> None:
        [late, _] = await claimed(pool, new(), new())
        assert await store.take_over(pool, OTHER, 10, LEASE, now()) == []
        await expire(pool, late)
        assert await store.take_over(pool, OTHER, 10, LEASE, now()) == [
            replace(late, tries=late.tries + 1, takeovers=1),
        ]
        assert await field(pool, late, "owner") == OTHER
        assert await store.take_over(pool, OTHER, 10, LEASE, now()) == []

    async def test_two_at_once_never_share_a_row(self, pool: Pool) -> None:
        await claimed(pool, *(new() for _ in range(100)), lease=EXPIRED)
        found = await asyncio.gather(*(store.take_over(pool, OTHER, 100, LEASE, now()) for _ in range(4)))
        everything = [id for part in found for id in ids(part)]
        assert len(everything) == len(set(everything)) == 100

    async def test_a_release_does_not_count(self, pool: Pool) -> None:
        [request] = await claimed(pool, new())
        await store.release(pool, ME, [])
        [taken] = await store.take_over(pool, OTHER, 10, LEASE, now())
        assert (taken.id, taken.takeovers, taken.tries) == (request.id, 0, request.tries + 1)


class TestRenew:
    async def test_lengthens_what_this_owner_holds(self, pool: Pool, connection: Connection) -> None:
        working, theirs = await claimed(pool, new(), owner=ME, lease=EXPIRED) + await claimed(
            pool, new(), owner=OTHER, lease=EXPIRED
        )
        [waiting] = await inserted(pool, new(mode=Mode.SYNC, owner=ME))
        await expire(pool, waiting)
        await store.renew(connection, ME, LEASE, [working.id], [])
        assert await field(pool, working, "lease_until > now() + interval '25 s'")
        assert await field(pool, waiting, "lease_until > now() + interval '25 s'")
        assert await field(pool, theirs, "lease_until < now()")
        assert (await read(pool, working))[0].takeovers == 0

    async def test_lets_go_of_what_was_claimed_but_is_not_worked_on(self, pool: Pool, connection: Connection) -> None:
        """A claim whose answer was lost: nobody works on the row, so its lease must run out."""
        [lost] = await claimed(pool, new(), lease=EXPIRED)
        await store.renew(connection, ME, LEASE, [], [])
        assert ids(await store.take_over(pool, ME, 10, LEASE, now())) == [lost.id]

    async def test_lengthens_the_named_deliveries_that_this_owner_still_holds(
        self, pool: Pool, connection: Connection
    ) -> None:
        held, unnamed, lost, done = await ended(pool, *(new(callback_url=URL) for _ in range(4)))
        await expire(pool, held, unnamed, lost, done)
        await pool.execute("UPDATE requests SET callback_owner = $1 WHERE id = $2", OTHER, lost.id)
        await pool.execute("UPDATE requests SET callback_status = 'SUCCESS' WHERE id = $1", done.id)
        await store.renew(connection, ME, LEASE, [], [held.id, lost.id, done.id])
        due = [await field(pool, request, "callback_due_at > now()") for request in (held, unnamed, lost, done)]
        assert due == [True, False, False, False]

    async def test_never_waits_for_a_row_that_is_being_changed(self, pool: Pool, connection: Connection) -> None:
        """Waiting while it holds other rows is how it would deadlock with a batch of ends."""
        locked, free = await claimed(pool, new(), new(), lease=EXPIRED)
        async with pool.acquire() as other, other.transaction():
            await other.execute("SELECT 1 FROM requests WHERE id = $1 FOR UPDATE", locked.id)
            async with asyncio.timeout(5):
                await store.renew(connection, ME, LEASE, [locked.id, free.id], [])
        assert await field(pool, free, "lease_until > now()")

    async def test_does_not_take_back_what_was_released(self, pool: Pool, connection: Connection) -> None:
        [request] = await claimed(pool, new())
        await store.release(pool, ME, [])
        await store.renew(connection, ME, LEASE, [request.id], [])
        assert await field(pool, request, "lease_until = '-infinity'")


class TestRelease:
    async def test_gives_everything_back_at_once(self, pool: Pool) -> None:
        [delivering, theirs] = await ended(pool, new(callback_url=URL), new(callback_url=URL))
        await pool.execute("UPDATE requests SET callback_owner = $1 WHERE id = $2", OTHER, theirs.id)
        [working] = await claimed(pool, new())
        [others] = await claimed(pool, new(), owner=OTHER)
        [waiting] = await inserted(pool, new(mode=Mode.SYNC, owner=ME))
        await store.release(pool, ME, [delivering.id, theirs.id])
        assert ids(await store.take_over(pool, OTHER, 10, LEASE, now())) == [working.id]
        assert ids(await store.claim(pool, OTHER, 10, LEASE, now())) == [waiting.id]
        assert await field(pool, others, "owner") == OTHER
        assert await field(pool, delivering, "callback_due_at <= now() AND callback_owner IS NULL")
        assert await field(pool, theirs, "callback_due_at > now()")


class TestAbandon:
    ERROR = {"type": "/problems/cancelled", "detail": "ä"}  # noqa: RUF012

    async def test_fails_what_has_not_ended_and_nothing_else(self, pool: Pool) -> None:
        [done] = await ended(pool, new())
        [working] = await claimed(pool, new(callback_url=URL))
        [waiting] = await inserted(pool, new())
        at = now()
        failed = await store.abandon(
            pool,
            [done.id, working.id, waiting.id, new_id()],
            states=[Status.PENDING, Status.PROCESSING],
            error=self.ERROR,
            at=at,
        )
        assert {request.id for request in failed} == {working.id, waiting.id}
        assert {(request.status, request.completed_at) for request in failed} == {(Status.FAILED, at)}
        assert all(request.error == self.ERROR for request in failed)
        assert await read(pool, done) == [done]
        assert await field(pool, working, "callback_due_at <= now()")
        assert await store.finish(pool, ME, LEASE, [end_of(working)]) == [False]

    async def test_may_be_limited_to_states_and_an_owner(self, pool: Pool) -> None:
        [working] = await claimed(pool, new(mode=Mode.SYNC, owner=ME))
        [mine, theirs] = await inserted(pool, new(mode=Mode.SYNC, owner=ME), new(mode=Mode.SYNC, owner=OTHER))
        failed = await store.abandon(
            pool, ids([working, mine, theirs]), states=[Status.PENDING], error=self.ERROR, at=now(), owner=ME
        )
        assert ids(failed) == [mine.id]

    async def test_frees_the_key_where_asked_to(self, pool: Pool) -> None:
        kept, freed = await inserted(
            pool,
            new(mode=Mode.SYNC, owner=ME, idempotency_key="kept"),
            new(mode=Mode.SYNC, owner=ME, idempotency_key="freed"),
        )
        for request, free in ((kept, False), (freed, True)):
            await store.abandon(
                pool,
                [request.id],
                states=[Status.PENDING],
                error=self.ERROR,
                at=now(),
                answer=(409, b"gone"),
                free_key=free,
            )
        answer = await store.stored_answer(pool, "kept")
        assert answer is not None
        assert (answer.status, answer.body) == (409, b"gone")
        assert await store.stored_answer(pool, "freed") is None
        again = await store.insert(pool, LEASE, [new(idempotency_key="freed"), new(idempotency_key="kept")])
        assert again.inserted == [True, False]


class TestPage:
    async def test_pages_show_everything_once_newest_first(self, pool: Pool) -> None:
        rows = await inserted(pool, *(new() for _ in range(25)))
        seen: list[UUID] = []
        before: UUID | None = None
        while found := await store.page(pool, store.Filters(), before=before, limit=10):
            assert len(found) <= 10
            seen += ids(found)
            before = found[-1].id
        assert seen == ids(rows)[::-1]

    async def test_a_page_of_large_rows_reads_no_more_of_them_than_its_bound(self, pool: Pool) -> None:
        """Whatever is answered of them: a page of many is never whole in memory."""
        size = 100_000
        rows = await inserted(pool, *(new(input_payload={**PAYLOAD, "ledger": "x" * size}) for _ in range(30)))
        seen: list[UUID] = []
        before: UUID | None = None
        while found := await store.page(pool, store.Filters(), before=before, limit=200):
            assert len(found) * size <= store.PAGE_BYTES + 2 * size
            seen += ids(found)
            before = found[-1].id
        assert seen == ids(rows)[::-1]

    async def test_filters_combine(self, pool: Pool) -> None:
        await ended(pool, new(), new(callback_url=URL), new(mode=Mode.SYNC, owner=ME))
        await inserted(pool, new(), new(callback_url=URL), new(mode=Mode.SYNC, owner=ME))

        for filters, count in (
            (store.Filters(), 6),
            (store.Filters(status="COMPLETED"), 3),
            (store.Filters(mode="sync"), 2),
            (store.Filters(callback_status="PENDING"), 2),
            (store.Filters(status="COMPLETED", callback_status="PENDING", mode="async"), 1),
            (store.Filters(status="PROCESSING"), 0),
        ):
            assert len(await store.page(pool, filters, before=None, limit=100)) == count

    async def test_rows_of_a_run_show_only_when_it_is_named(self, pool: Pool) -> None:
        run = new_id()
        plain, first, second, _ = await inserted(pool, new(), new(run_id=run), new(run_id=run), new(run_id=new_id()))
        assert ids(await store.page(pool, store.Filters(), before=None, limit=10)) == [plain.id]
        of_run = store.Filters(run=run)
        assert ids(await store.page(pool, of_run, before=None, limit=10)) == [second.id, first.id]
        assert ids(await store.page(pool, of_run, before=second.id, limit=10)) == [first.id]


class TestPrune:
    AGE = timedelta(hours=24)

    async def old(self, pool: Pool, *requests: Request) -> None:
        await pool.execute(
            "UPDATE requests SET completed_at = completed_at - interval '25 h' WHERE id = ANY($1::uuid[])",
            ids(list(requests)),
        )

    async def test_deletes_what_ended_long_ago_with_its_log(self, pool: Pool) -> None:
        [called, silent, recent, busy] = await ended(pool, new(callback_url=URL), new(), new(), new(callback_url=URL))
        await self.old(pool, called, silent, busy)
        assert await callbacks.record(pool, ME, [attempt_at(called)]) == [True]
        [open_] = await inserted(pool, new())
        assert set(await store.prune(pool, LATEST, self.AGE, 100)) == {called.id, silent.id}
        assert await callbacks.logs(pool, called.id) == []
        assert {request.id for request in await store.page(pool, store.Filters(), before=None, limit=10)} == {
            recent.id,
            busy.id,
            open_.id,
        }
        assert (await read(pool, busy))[0].callback_status is CallbackStatus.PENDING

    async def test_goes_by_small_batches_oldest_first(self, pool: Pool) -> None:
        rows = await ended(pool, *(new() for _ in range(5)))
        await self.old(pool, *rows)
        assert set(await store.prune(pool, LATEST, self.AGE, 2)) == set(ids(rows[:2]))
        assert len(await store.prune(pool, LATEST, self.AGE, 100)) == 3
        assert await store.prune(pool, LATEST, self.AGE, 100) == []

    async def test_looks_only_at_ids_before_the_bound(self, pool: Pool) -> None:
        first, second = await ended(pool, new(), new())
        await self.old(pool, first, second)
        assert await store.prune(pool, second.id, self.AGE, 100) == [first.id]


async def test_reading_many_leaves_out_what_is_unknown(pool: Pool) -> None:
    [request] = await inserted(pool, new())
    assert await store.get(pool, [new_id(), request.id, new_id()]) == [request]
    assert await store.get_one(pool, request.id) == request
    assert await store.get_one(pool, new_id()) is None
    assert await store.get(pool, []) == []
