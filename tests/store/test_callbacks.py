"""The callbacks store: one claim per attempt, one log row per end, and nothing from whoever lost the fence."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from reportsim.core.identifiers import uuid7
from reportsim.core.model import CallbackStatus, Request
from reportsim.store import callbacks as store
from reportsim.store import requests
from reportsim.store.pool import Connection, Pool
from tests.store.rows import LEASE, ME, OTHER, URL, attempt_at, ended, expire, field, inserted, new, new_id, now, read

FAILED, SUCCESS = CallbackStatus.FAILED, CallbackStatus.SUCCESS
AT_ONCE = timedelta(0)
WAIT = timedelta(seconds=2)


def claim_of(request: Request, **fields: int) -> store.Claim:
    values = {
        "series": request.callback_series,
        "attempts": request.callback_attempts,
        "fence": request.callback_fence,
        **fields,
    }
    return store.Claim(id=request.id, **values)


async def due(pool: Pool, count: int = 1) -> list[Request]:
    """Ended requests whose first callback was released, as after a shutdown."""
    found = await ended(pool, *(new(callback_url=URL) for _ in range(count)))
    await requests.release(pool, ME, [request.id for request in found])
    return await read(pool, *found)


async def fail(pool: Pool, request: Request, wait: timedelta = WAIT) -> Request:
    """Records a failed attempt of a claimed delivery, and reads the request again."""
    entry = attempt_at(request, status=CallbackStatus.PENDING, wait=wait)
    assert await store.record(pool, ME, [entry]) == [True]
    return (await read(pool, request))[0]


class TestClaim:
    async def test_raises_the_fence_and_takes_the_lease(self, pool: Pool) -> None:
        [request] = await due(pool)
        [taken] = await store.claim(pool, OTHER, LEASE, [claim_of(request)])
        assert taken is not None
        assert taken.callback_fence == request.callback_fence + 1
        assert await field(pool, taken, "callback_owner") == OTHER
        assert await field(pool, taken, "callback_due_at > now() + interval '25 s'")

    async def test_is_refused_to_whoever_read_another_state(self, pool: Pool) -> None:
        [request] = await due(pool)
        stale = [
            claim_of(request, series=request.callback_series + 1),
            claim_of(request, attempts=request.callback_attempts + 1),
            claim_of(request, fence=request.callback_fence - 1),
        ]
        for claim in stale:
            assert await store.claim(pool, ME, LEASE, [claim]) == [None]
        assert await read(pool, request) == [request]

    async def test_of_many_claimers_one_wins(self, pool: Pool) -> None:
        [request] = await due(pool)
        taken = await asyncio.gather(*(store.claim(pool, ME, LEASE, [claim_of(request)]) for _ in range(8)))
        assert [found for [found] in taken if found] == [await read_one(pool, request)]

    async def test_the_clock_has_no_say(self, pool: Pool) -> None:
        """A timer that ends a millisecond early loses nothing."""
        [request] = await due(pool)
        [taken] = await store.claim(pool, ME, LEASE, [claim_of(request)])
        assert taken is not None
        waiting = await fail(pool, taken, timedelta(hours=1))
        assert (await store.claim(pool, ME, LEASE, [claim_of(waiting)]))[0] is not None

    async def test_answers_in_the_order_of_the_claims(self, pool: Pool) -> None:
        first, second, third = await due(pool, 3)
        taken = await store.claim(pool, ME, LEASE, [claim_of(third), claim_of(second, fence=99), claim_of(first)])
        assert [found and found.id for found in taken] == [third.id, None, first.id]

    async def test_nothing_is_left_to_claim_after_the_end(self, pool: Pool) -> None:
        [request] = await ended(pool, new(callback_url=URL))
        await store.record(pool, ME, [attempt_at(request)])
        [request] = await read(pool, request)
        assert await store.claim(pool, ME, LEASE, [claim_of(request)]) == [None]


async def read_one(pool: Pool, request: Request) -> Request:
    return (await read(pool, request))[0]


class TestRecord:
    async def test_logs_the_attempt_and_moves_the_request_on(self, pool: Pool) -> None:
        [request] = await ended(pool, new(callback_url=URL))
        failed = attempt_at(request, status=CallbackStatus.PENDING, wait=WAIT)
        assert await store.record(pool, ME, [failed]) == [True]
        waiting = await read_one(pool, request)
        assert (waiting.callback_status, waiting.callback_attempts) == (CallbackStatus.PENDING, 1)
        assert await field(pool, request, "callback_owner") is None
        assert await field(pool, request, "callback_due_at BETWEEN now() AND now() + interval '2 s'")
        [taken] = await store.claim(pool, ME, LEASE, [claim_of(waiting)])
        assert taken is not None
        accepted = attempt_at(taken)
        assert await store.record(pool, ME, [accepted]) == [True]
        done = await read_one(pool, request)
        assert (done.callback_status, done.callback_attempts) == (CallbackStatus.SUCCESS, 2)
        assert await field(pool, request, "callback_due_at") is None
        assert await store.logs(pool, request.id) == [failed.log, accepted.log]

    async def test_many_attempts_are_one_statement(self, pool: Pool) -> None:
        found = await ended(pool, *(new(callback_url=URL) for _ in range(50)))
        entries = [attempt_at(request) for request in found]
        assert await store.record(pool, ME, entries) == [True] * 50
        assert await pool.fetchval("SELECT count(*) FROM callback_logs") == 50

    async def test_a_refused_fence_writes_neither_log_nor_state(self, pool: Pool) -> None:
        [zombie, other] = await ended(pool, new(callback_url=URL), new(callback_url=URL))
        await expire(pool, zombie)
        [taken] = await store.claim_due(pool, OTHER, LEASE, 10, AT_ONCE)
        before = await read_one(pool, zombie)
        assert await store.record(pool, ME, [attempt_at(zombie), attempt_at(other)]) == [False, True]
        assert await store.logs(pool, zombie.id) == []
        assert await read_one(pool, zombie) == before
        assert await store.record(pool, OTHER, [attempt_at(taken)]) == [True]

    async def test_a_fence_that_another_owner_raised_after_a_crash_undid_ours_refuses_as_well(self, pool: Pool) -> None:
        [waiting] = await due(pool)
        [ours] = await store.claim(pool, ME, LEASE, [claim_of(waiting)])
        assert ours is not None
        # As a crash of the database does to what was committed lightly.
        await pool.execute("UPDATE requests SET callback_fence = $1, callback_owner = NULL", waiting.callback_fence)
        [theirs] = await store.claim(pool, OTHER, LEASE, [claim_of(waiting)])
        assert theirs is not None
        assert theirs.callback_fence == ours.callback_fence
        assert await store.record(pool, ME, [attempt_at(ours)]) == [False]
        assert await store.record(pool, OTHER, [attempt_at(theirs)]) == [True]

    async def test_of_a_zombie_and_its_successor_in_one_batch_only_the_successor_is_logged(self, pool: Pool) -> None:
        [zombie] = await ended(pool, new(callback_url=URL))
        await expire(pool, zombie)
        [taken] = await store.claim_due(pool, ME, LEASE, 10, AT_ONCE)
        late = attempt_at(zombie, status=CallbackStatus.FAILED, error_message="zombie")
        entry = attempt_at(taken)
        assert await store.record(pool, ME, [late, entry]) == [False, True]
        assert await store.logs(pool, zombie.id) == [entry.log]
        assert (await read_one(pool, zombie)).callback_status is CallbackStatus.SUCCESS

    async def test_the_same_attempt_twice_is_logged_once(self, pool: Pool) -> None:
        [request] = await ended(pool, new(callback_url=URL))
        assert await store.record(pool, ME, [attempt_at(request)]) == [True]
        assert await store.record(pool, ME, [attempt_at(request)]) == [False]
        assert len(await store.logs(pool, request.id)) == 1

    async def test_an_attempt_of_an_older_series_changes_nothing(self, pool: Pool) -> None:
        [request] = await ended(pool, new(callback_url=URL))
        await store.record(pool, ME, [attempt_at(request, status=CallbackStatus.FAILED)])
        [again] = await store.redeliver(pool, ME, LEASE, [request.id])
        assert await store.record(pool, ME, [attempt_at(request, fence=again.callback_fence)]) == [False]
        assert await read_one(pool, request) == again


class TestClaimDue:
    async def test_takes_the_longest_due_first_and_no_more_than_asked_for(self, pool: Pool) -> None:
        found = await due(pool, 4)
        for minutes, request in enumerate(found):
            await pool.execute(
                "UPDATE requests SET callback_due_at = now() - $2::interval WHERE id = $1",
                request.id,
                timedelta(minutes=minutes),
            )
        taken = await store.claim_due(pool, ME, LEASE, 3, AT_ONCE)
        assert {request.id for request in taken} == {request.id for request in found[1:]}
        assert all(request.callback_fence == found[0].callback_fence + 1 for request in taken)
        assert [request.id for request in await store.claim_due(pool, ME, LEASE, 3, AT_ONCE)] == [found[0].id]
        assert await store.claim_due(pool, ME, LEASE, 3, AT_ONCE) == []

    async def test_leaves_what_is_not_due_long_enough_to_those_who_wait_for_it(self, pool: Pool) -> None:
        await due(pool)
        assert await store.claim_due(pool, ME, LEASE, 10, timedelta(minutes=1)) == []
        assert len(await store.claim_due(pool, ME, LEASE, 10, AT_ONCE)) == 1

    async def test_leaves_alone_what_is_being_delivered_here_though_its_lease_ran_out(self, pool: Pool) -> None:
        delivering, free = await due(pool, 2)
        found = await store.claim_due(pool, ME, LEASE, 1, AT_ONCE, held=[delivering.id])
        assert [request.id for request in found] == [free.id]
        assert (await read_one(pool, delivering)).callback_fence == delivering.callback_fence

    async def test_leaves_alone_what_is_held_waiting_or_not_ended(self, pool: Pool) -> None:
        await ended(pool, new(callback_url=URL))
        [waiting] = await ended(pool, new(callback_url=URL))
        await fail(pool, waiting)
        await inserted(pool, new(callback_url=URL))
        assert await store.claim_due(pool, OTHER, LEASE, 10, AT_ONCE) == []

    async def test_two_sweepers_never_share_a_delivery(self, pool: Pool) -> None:
        await due(pool, 100)
        taken = await asyncio.gather(*(store.claim_due(pool, owner, LEASE, 30, AT_ONCE) for owner in [ME, OTHER] * 3))
        ids = [request.id for part in taken for request in part]
        assert len(ids) == len(set(ids))

    async def test_passes_over_deliveries_that_another_transaction_holds(
        self, pool: Pool, connection: Connection
    ) -> None:
        locked, free = await due(pool, 2)
        async with connection.transaction():
            await connection.execute("SELECT 1 FROM requests WHERE id = $1 FOR UPDATE", locked.id)
            async with asyncio.timeout(5):
                assert [found.id for found in await store.claim_due(pool, ME, LEASE, 10, AT_ONCE)] == [free.id]


class TestFairness:
    """A thousand attempts for one destination, longest due, and a few for others."""

    @staticmethod
    async def backlog(pool: Pool, **counts: int) -> None:
        for minutes, (name, count) in enumerate(reversed(counts.items())):
            url = f"https://{name}.example/hook"
            found = await ended(pool, *(new(callback_url=url) for _ in range(count)))
            await pool.execute(
                "UPDATE requests SET callback_due_at = now() - $2::interval WHERE id = ANY($1)",
                [request.id for request in found],
                timedelta(minutes=minutes + 1),
            )

    @staticmethod
    async def taken(pool: Pool, limit: int, rooms: dict[str, int] | None = None, elsewhere: int = 100) -> Counter[str]:
        found = await store.claim_due(pool, ME, LEASE, limit, AT_ONCE, rooms or {}, elsewhere)
        return Counter(str(request.callback_origin).removeprefix("https://").partition(".")[0] for request in found)

    async def test_every_destination_has_its_turn(self, pool: Pool) -> None:
        await self.backlog(pool, dead=1_000, slow=50, live=2)
        assert await self.taken(pool, 32) == {"dead": 15, "slow": 15, "live": 2}
        assert await self.taken(pool, 3) == {"dead": 2, "slow": 1}

    async def test_the_first_turns_go_to_those_that_waited_longest(self, pool: Pool) -> None:
        await self.backlog(pool, dead=10, slow=10, live=10)
        assert await self.taken(pool, 2) == {"dead": 1, "slow": 1}

    async def test_no_destination_gets_more_than_there_is_room_for(self, pool: Pool) -> None:
        await self.backlog(pool, dead=1_000, slow=50, live=50)
        rooms = {"https://dead.example": 0, "https://slow.example": 3, "https://unknown.example": 9}
        assert await self.taken(pool, 300, rooms, 16) == {"slow": 3, "live": 16}

    async def test_what_was_given_back_is_due_at_once(self, pool: Pool) -> None:
        held, theirs = [
            *await ended(pool, new(callback_url=URL)),
            *await ended(pool, new(callback_url=URL), owner=OTHER),
        ]
        await store.give_back(pool, ME, [held.id, theirs.id])
        late = timedelta(seconds=0.5)
        assert [request.id for request in await store.claim_due(pool, OTHER, LEASE, 10, late)] == [held.id]


class TestRedeliver:
    async def test_starts_a_new_series_that_counts_from_one(self, pool: Pool) -> None:
        [request] = await ended(pool, new(callback_url=URL))
        first = attempt_at(request, status=CallbackStatus.FAILED)
        await store.record(pool, ME, [first])
        [again] = await store.redeliver(pool, ME, LEASE, [request.id])
        assert (again.callback_series, again.callback_attempts, again.callback_status) == (2, 0, CallbackStatus.PENDING)
        [taken] = await store.claim(pool, ME, LEASE, [claim_of(again)])
        assert taken is not None
        second = attempt_at(taken)
        assert await store.record(pool, ME, [second]) == [True]
        assert [(log.series, log.attempt_number) for log in await store.logs(pool, request.id)] == [(1, 1), (2, 1)]

    async def test_is_claimed_by_whoever_starts_it(self, pool: Pool) -> None:
        [request] = await ended(pool, new(callback_url=URL))
        await store.record(pool, ME, [attempt_at(request)])
        [again] = await store.redeliver(pool, ME, LEASE, [request.id])
        assert await store.claim_due(pool, OTHER, LEASE, 10, AT_ONCE) == []
        assert await store.record(pool, ME, [attempt_at(again)]) == [True]
        assert [log.series for log in await store.logs(pool, request.id)] == [1, 2]

    async def test_is_due_after_the_lease_of_whoever_died_with_it(self, pool: Pool) -> None:
        [request] = await ended(pool, new(callback_url=URL))
        await store.record(pool, ME, [attempt_at(request)])
        await store.redeliver(pool, OTHER, timedelta(0), [request.id])
        assert [found.id for found in await store.claim_due(pool, ME, LEASE, 10, AT_ONCE)] == [request.id]

    async def test_is_refused_while_a_series_runs_and_where_there_is_none(self, pool: Pool) -> None:
        [running, silent] = await ended(pool, new(callback_url=URL), new())
        [open_] = await inserted(pool, new(callback_url=URL))
        assert await store.redeliver(pool, ME, LEASE, [running.id, silent.id, open_.id]) == []

    async def test_of_many_at_once_one_starts_a_series(self, pool: Pool) -> None:
        [request] = await ended(pool, new(callback_url=URL))
        await store.record(pool, ME, [attempt_at(request)])
        started = await asyncio.gather(*(store.redeliver(pool, ME, LEASE, [request.id]) for _ in range(8)))
        assert sum(map(len, started)) == 1
        assert (await read_one(pool, request)).callback_series == 2


class TestRedeliverMatching:
    @staticmethod
    async def over(pool: Pool, status: CallbackStatus, *rows: requests.NewRequest) -> list[Request]:
        found = await ended(pool, *rows)
        assert all(await store.record(pool, ME, [attempt_at(request, status=status) for request in found]))
        return await read(pool, *found)

    @staticmethod
    async def matched(pool: Pool, limit: int = 100, **fields: Any) -> list[UUID]:
        found = await store.redeliver_matching(pool, ME, LEASE, store.Matching(**fields), limit)
        assert all((request.callback_series, request.callback_attempts) == (2, 0) for request in found)
        return [request.id for request in found]

    async def test_takes_those_whose_series_failed_oldest_first(self, pool: Pool) -> None:
        failed = await self.over(pool, FAILED, *(new(callback_url=URL) for _ in range(5)))
        await self.over(pool, SUCCESS, new(callback_url=URL))
        await ended(pool, new(callback_url=URL), new())
        await inserted(pool, new(callback_url=URL))
        assert await self.matched(pool, 2) == [request.id for request in failed[:2]]
        assert await self.matched(pool) == [request.id for request in failed[2:]]
        assert await self.matched(pool) == []

    async def test_takes_delivered_ones_when_asked_to(self, pool: Pool) -> None:
        await self.over(pool, FAILED, new(callback_url=URL))
        [done] = await self.over(pool, SUCCESS, new(callback_url=URL))
        assert await self.matched(pool, callback_status=SUCCESS) == [done.id]

    async def test_leaves_benchmark_runs_alone(self, pool: Pool) -> None:
        await self.over(pool, FAILED, new(callback_url=URL, run_id=new_id()))
        assert await self.matched(pool) == []

    async def test_takes_those_of_a_time(self, pool: Pool) -> None:
        moments = [now() - timedelta(minutes=minutes) for minutes in (30, 20, 10, 0)]
        rows = [
            new(callback_url=URL, id=uuid7(int(moment.timestamp() * 4096_000), bytes(8)), created_at=moment)
            for moment in moments
        ]
        ids = [request.id for request in await self.over(pool, FAILED, *rows)]
        assert await self.matched(pool, since=moments[1], until=moments[3]) == ids[1:3]
        assert await self.matched(pool, until=moments[0]) == []
        assert await self.matched(pool, since=moments[3]) == ids[3:]
        assert await self.matched(pool, since=datetime.max.replace(tzinfo=UTC)) == []
        assert await self.matched(pool, since=datetime.min.replace(tzinfo=UTC)) == ids[:1]

    async def test_takes_those_of_a_destination(self, pool: Pool) -> None:
        ids = [
            request.id
            for request in await self.over(
                pool, FAILED, *(new(callback_url=f"https://{name}.example/hook") for name in ("a", "b", "a"))
            )
        ]
        assert await self.matched(pool, origin="https://a.example") == [ids[0], ids[2]]
        assert await self.matched(pool, origin="https://b.example:8443") == []

    async def test_takes_those_of_a_mode_and_a_status(self, pool: Pool) -> None:
        [request] = await self.over(pool, FAILED, new(callback_url=URL))
        assert await self.matched(pool, mode="sync") == await self.matched(pool, status="FAILED") == []
        assert await self.matched(pool, mode="async", status="COMPLETED") == [request.id]

    async def test_of_many_at_once_each_series_is_started_once(self, pool: Pool) -> None:
        ids = {request.id for request in await self.over(pool, FAILED, *(new(callback_url=URL) for _ in range(60)))}
        calls = [self.matched(pool, 20) for _ in range(4)]
        single = [store.redeliver(pool, OTHER, LEASE, [id]) for id in ids]
        many = [id for found in await asyncio.gather(*calls) for id in found]
        one = [request.id for found in await asyncio.gather(*single) for request in found]
        assert len(many) + len(one) == len({*many, *one}) == 60
        assert await pool.fetchval("SELECT count(*) FROM requests WHERE callback_series = 2") == 60


class TestSecret:
    async def test_the_first_candidate_stays(self, pool: Pool) -> None:
        assert await store.keep_secret(pool, "whsec_first") == "whsec_first"
        assert await store.keep_secret(pool, "whsec_second") == "whsec_first"

    async def test_starters_at_once_agree(self, pool: Pool) -> None:
        for _ in range(10):
            await pool.execute("DELETE FROM webhook_secrets")
            kept = await asyncio.gather(*(store.keep_secret(pool, f"whsec_{n}") for n in range(4)))
            assert len(set(kept)) == 1
            assert kept[0] in {f"whsec_{n}" for n in range(4)}


async def test_the_log_is_read_oldest_first(pool: Pool) -> None:
    [request] = await ended(pool, new(callback_url=URL))
    numbers: list[tuple[UUID, int]] = []
    for _ in range(12):
        request = await fail(pool, request, AT_ONCE)
        [taken] = await store.claim(pool, ME, LEASE, [claim_of(request)])
        assert taken is not None
        request = taken
        numbers.append((request.id, request.callback_attempts))
    logs = await store.logs(pool, request.id)
    assert [(log.request_id, log.attempt_number) for log in logs] == numbers
