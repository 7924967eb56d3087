"""Deliveries: at least once with one id, numbered without gaps, whoever dies, waits or does not answer."""

import asyncio
import errno
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from reportsim.core.model import CallbackLog, CallbackStatus, Request, Status
from reportsim.engine import sweeper
from reportsim.engine.delivery import destination_queues, dispatcher, name_lookup, ssrf_guard
from reportsim.engine.delivery.queue_group import LIMITS, DestinationHealth, Limits
from reportsim.settings import Settings
from reportsim.store import callbacks as store
from reportsim.store.batcher import Overloaded
from reportsim.store.errors import DatabaseUnavailable
from reportsim.store.pool import Pool
from tests.conftest import Service, serving
from tests.engine.jobs import attempts, finished, job, state, submit, until
from tests.engine.receiver import Arrival, Receiver
from tests.store.rows import LEASE, OTHER, ended, expire, new

NEVER_S = 3600.0


async def waiting(pool: Pool, request: Request, attempt: int) -> Request:
    """Waits until a failed attempt is written and the next one waits for its time."""

    async def look() -> Request | None:
        found = await state(pool, request)
        return found if found.callback_attempts == attempt else None

    return await until(look)


class TestWaits:
    async def test_stand_in_the_table(self, settings: Settings, pool: Pool, receiver: Receiver) -> None:
        receiver.status = lambda _: 503
        async with serving(replace(settings, callback_waits=(60.0,))) as service:
            request = await submit(service.engine, new(callback_url=receiver.url()))
            found = await waiting(pool, request, 1)
            assert found.callback_status is CallbackStatus.PENDING
            due = "SELECT callback_due_at - now() BETWEEN '50 s' AND '60 s' AND callback_owner IS NULL FROM requests"
            assert await pool.fetchval(due) is True

    async def test_that_are_long_stand_in_the_table_alone(
        self, settings: Settings, pool: Pool, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(dispatcher, "SHORT_S", 0.2)
        receiver.status = lambda arrival: 200 if arrival.attempt == 3 else 503
        async with serving(replace(settings, callback_waits=(0.1, 0.3))) as service:
            request = await submit(service.engine, new(callback_url=receiver.url()))
            await waiting(pool, request, 2)
            assert service.engine.dispatcher._timers == {}
            assert (await finished(pool, request)).callback_status is CallbackStatus.SUCCESS

    async def test_that_begin_anew_end_once(self, service: Service) -> None:
        delivering, request = service.engine.dispatcher, new(callback_url="http://127.0.0.1:1/").request
        delivering._wait(request, 50)
        first = delivering._timers[request.id]
        delivering._wait(request, 50)
        assert first.cancelled()
        assert not delivering._timers[request.id].cancelled()

    async def test_survive_a_restart_with_the_next_number(
        self, settings: Settings, pool: Pool, receiver: Receiver
    ) -> None:
        receiver.status = lambda arrival: 200 if arrival.attempt == 3 else 503
        patient = replace(settings, callback_waits=(0.7,), public_url="https://reports.example.org")
        async with serving(patient) as service:
            request = await submit(service.engine, new(callback_url=receiver.url()))
            await waiting(pool, request, 1)
        assert len(receiver.arrivals) == 1
        async with serving(patient):
            await waiting(pool, request, 2)
        assert len(receiver.arrivals) == 2
        async with serving(patient):
            done = await finished(pool, request)
        assert (done.callback_status, done.callback_attempts) == (CallbackStatus.SUCCESS, 3)
        assert await attempts(pool, request) == [(1, 1), (1, 2), (1, 3)]
        assert [arrival.attempt for arrival in receiver.arrivals] == [1, 2, 3]
        assert len({(arrival.message_id, arrival.body) for arrival in receiver.arrivals}) == 1

    async def test_end_by_themselves_without_a_sweep(
        self, settings: Settings, pool: Pool, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sweeper, "SWEEP_EVERY_S", NEVER_S)
        receiver.status = lambda arrival: 200 if arrival.attempt == 3 else 503
        async with serving(settings) as service:
            request = await submit(service.engine, new(callback_url=receiver.url()))
            assert (await finished(pool, request)).callback_attempts == 3

    async def test_are_ended_by_another_replica_when_theirs_dies(
        self, settings: Settings, pool: Pool, receiver: Receiver
    ) -> None:
        """One that waited is gone without a word: its timer never fires."""
        receiver.status = lambda arrival: 200 if arrival.attempt == 2 else 503
        async with serving(replace(settings, callback_waits=(0.3,))) as service, serving(settings):
            request = await submit(service.engine, new(callback_url=receiver.url()))
            await waiting(pool, request, 1)
            service.engine.dispatcher._stop_waiting()
            done = await finished(pool, request)
        assert (done.callback_status, done.callback_attempts) == (CallbackStatus.SUCCESS, 2)


class TestOwners:
    async def test_a_delivery_of_a_dead_owner_is_made_after_its_lease(
        self, settings: Settings, pool: Pool, receiver: Receiver
    ) -> None:
        # Ended before the service starts, which would else take part in it.
        [request] = await ended(pool, new(callback_url=receiver.url()), owner=OTHER)
        async with serving(settings):
            await asyncio.sleep(0.3)  # sweeps look at it
            assert receiver.arrivals == []
            await expire(pool, request)
            done = await finished(pool, request)
        assert done.callback_status is CallbackStatus.SUCCESS
        assert await attempts(pool, request) == [(1, 1)]
        assert [arrival.attempt for arrival in receiver.arrivals] == [1]

    async def test_a_delivery_on_the_wire_stays_with_its_owner_beyond_the_lease(
        self, settings: Settings, pool: Pool, receiver: Receiver
    ) -> None:
        quick = replace(settings, lease_s=0.9, callback_timeout=10)
        receiver.holds = {"slow"}
        async with serving(quick) as service, serving(quick):
            request = await submit(service.engine, new(callback_url=receiver.url("slow")))
            await receiver.count(1)
            # Long enough for leases to run out and sweeps to look, were it not renewed.
            await asyncio.sleep(1.6)
            receiver.release()
            await finished(pool, request)
        assert len(receiver.arrivals) == 1

    async def test_a_delivery_whose_lease_ran_out_in_an_outage_is_still_recorded(
        self, settings: Settings, pool: Pool, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sweeper, "SWEEP_EVERY_S", NEVER_S)
        receiver.holds = {"slow"}
        async with serving(replace(settings, lease_s=60, callback_timeout=10)) as service:
            request = await submit(service.engine, new(callback_url=receiver.url("slow")))
            await receiver.count(1)
            await expire(pool, request)
            assert await service.engine.dispatcher.sweep(timedelta(0)) == 0
            receiver.release()
            done = await finished(pool, request)
        assert (done.callback_status, done.callback_attempts) == (CallbackStatus.SUCCESS, 1)
        assert await attempts(pool, request) == [(1, 1)]
        assert len(receiver.arrivals) == 1

    async def test_a_sweep_that_finds_no_room_is_not_repeated_at_once(
        self, settings: Settings, pool: Pool, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What was claimed and cannot be kept must not count as progress."""
        monkeypatch.setattr(sweeper, "SWEEP_EVERY_S", NEVER_S)
        rows = await ended(pool, *(new(callback_url=receiver.url()) for _ in range(3)), owner=OTHER)
        async with serving(settings) as service:
            delivering = service.engine.dispatcher
            monkeypatch.setattr(delivering, "offer", lambda _: False)
            await expire(pool, *rows)
            assert await delivering.sweep(timedelta(0)) == 0
        assert await pool.fetchval("SELECT bool_and(callback_fence = 2) FROM requests")

    async def test_a_delivery_in_line_stays_with_its_owner_beyond_the_lease(
        self, settings: Settings, pool: Pool, receiver: Receiver
    ) -> None:
        quick = replace(settings, lease_s=0.9, callback_timeout=10)
        receiver.holds = {"slow"}
        async with serving(quick) as service:
            first = await submit(service.engine, new(callback_url=receiver.url("slow")))
            await receiver.count(1)
            second = await submit(service.engine, new(callback_url=receiver.url("quick")))
            await asyncio.sleep(1.6)
            receiver.release()
            for request in (first, second):
                assert await attempts(pool, await finished(pool, request)) == [(1, 1)]
        assert len(receiver.arrivals) == 2

    async def test_an_attempt_that_a_shutdown_cut_is_repeated_under_its_number(
        self, settings: Settings, pool: Pool, receiver: Receiver
    ) -> None:
        impatient = replace(settings, shutdown_grace_s=0.1, callback_timeout=30, lease_s=60)
        receiver.holds = {"hook"}
        async with serving(impatient) as service:
            request = await submit(service.engine, new(callback_url=receiver.url()))
            await receiver.count(1)
        assert (await state(pool, request)).callback_attempts == 0
        receiver.release()
        async with serving(impatient):
            await finished(pool, request)
        assert [arrival.attempt for arrival in receiver.arrivals] == [1, 1]
        assert len({arrival.message_id for arrival in receiver.arrivals}) == 1
        assert await attempts(pool, request) == [(1, 1)]

    async def test_an_attempt_that_ends_while_the_service_stops_is_recorded(
        self, settings: Settings, pool: Pool, receiver: Receiver
    ) -> None:
        """No timer is left behind by what its record says about the next attempt."""
        receiver.holds = {"hook"}
        receiver.status = lambda _: 503
        async with serving(replace(settings, shutdown_grace_s=5, callback_waits=(5,))) as service:
            delivering = service.engine.dispatcher
            request = await submit(service.engine, new(callback_url=receiver.url()))
            await receiver.count(1)
            asyncio.get_running_loop().call_later(0.1, receiver.release)
        assert await attempts(pool, request) == [(1, 1)]
        assert (await state(pool, request)).callback_attempts == 1
        assert delivering._timers == {}

    async def test_an_attempt_whose_end_could_not_be_written_is_made_again(
        self, service: Service, pool: Pool, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        records = service.engine.dispatcher._recorder.records
        put_record = records.put
        failures = 1

        def overloaded(ended: Any) -> Any:
            nonlocal failures
            if failures:
                failures -= 1
                raise Overloaded("record-attempt")
            return put_record(ended)

        monkeypatch.setattr(records, "put", overloaded)
        request = await submit(service.engine, new(callback_url=receiver.url()))
        done = await finished(pool, request)
        assert done.callback_status is CallbackStatus.SUCCESS
        assert await attempts(pool, request) == [(1, 1)]

    async def test_what_finds_no_room_is_delivered_later(
        self, settings: Settings, pool: Pool, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(destination_queues, "LIMITS", dict.fromkeys(DestinationHealth, Limits(1, 1, 2, 1)))
        async with serving(settings) as service:
            requests = [await submit(service.engine, new(callback_url=receiver.url())) for _ in range(8)]
            for request in requests:
                assert (await finished(pool, request)).callback_status is CallbackStatus.SUCCESS
        assert len({arrival.message_id for arrival in receiver.arrivals}) == 8

    async def test_what_finds_no_room_is_delivered_as_soon_as_there_is(
        self, settings: Settings, pool: Pool, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sweeper, "SWEEP_EVERY_S", 3_600.0)
        monkeypatch.setattr(dispatcher, "SWEEP_BATCH", 2)
        monkeypatch.setattr(destination_queues, "LIMITS", dict.fromkeys(DestinationHealth, Limits(1, 1, 4, 1)))
        async with serving(settings) as service:
            receiver.hold("hook")
            requests = [await submit(service.engine, new(callback_url=receiver.url())) for _ in range(12)]
            await until(lambda: pool.fetchval("SELECT count(*) = 12 FROM requests WHERE status = 'COMPLETED'"))
            receiver.release()
            for request in requests:
                assert (await finished(pool, request)).callback_status is CallbackStatus.SUCCESS
        assert len({arrival.message_id for arrival in receiver.arrivals}) == 12


def each_as_its_own(count: int) -> Iterator[str]:
    """Loopback addresses, every one of which is a destination of its own."""
    return (f"127.0.{1 + number // 250}.{1 + number % 250}" for number in range(count))


class TestDestinations:
    async def test_a_receiver_that_hangs_does_not_delay_another(
        self, settings: Settings, pool: Pool, receiver: Receiver
    ) -> None:
        receiver.holds = {"slow"}
        async with serving(replace(settings, callback_timeout=30)) as service:
            slow = [await submit(service.engine, new(callback_url=receiver.url("slow"))) for _ in range(30)]
            await receiver.count(1, "slow")
            other = await submit(service.engine, new(callback_url=receiver.url("quick", host="127.0.0.2")))
            await finished(pool, other)
            assert len(receiver.at("slow")) == 1
            receiver.release()
            for request in slow:
                assert await attempts(pool, await finished(pool, request)) == [(1, 1)]

    async def test_hundreds_that_hang_do_not_delay_another(
        self, settings: Settings, pool: Pool, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Not one that is known to answer, nor, once they are known to hang, one that is new."""
        monkeypatch.setattr(dispatcher, "PROMPT_MS", 60_000)
        receiver.status = lambda arrival: 0 if arrival.path == "slow" else 204
        dead = list(each_as_its_own(200))
        places, fewer = LIMITS[DestinationHealth.NEW].together, LIMITS[DestinationHealth.SILENT].together

        async def call_the_dead(service: Service) -> None:
            receiver.hold("slow")
            for host in dead:
                await submit(service.engine, new(callback_url=receiver.url("slow", host=host)))

        async def take(service: Service, host: str) -> None:
            await finished(pool, await submit(service.engine, new(callback_url=receiver.url("quick", host=host))))

        async with serving(replace(settings, callback_timeout=60, callback_attempts=1)) as service:
            await take(service, "127.0.0.2")
            await call_the_dead(service)
            await receiver.count(places, "slow")
            for _ in range(5):
                await take(service, "127.0.0.2")
            assert len(receiver.at("slow")) == places
            # They are found out, and called again.
            receiver.release()
            await until(lambda: pool.fetchval("SELECT count(*) = $1 FROM callback_logs WHERE NOT success", len(dead)))
            await call_the_dead(service)
            await receiver.count(len(dead) + fewer, "slow")
            for number in range(5):
                await take(service, f"127.0.0.{3 + number}")
            assert len(receiver.at("slow")) == len(dead) + fewer
            receiver.release()

    async def test_hundreds_of_new_ones_that_hang_do_not_delay_another_new_one(
        self, settings: Settings, pool: Pool, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """More than there are places; those that have said nothing after a moment give theirs up."""
        monkeypatch.setattr(dispatcher, "PROMPT_MS", 50)
        receiver.hold("slow")
        async with serving(replace(settings, callback_timeout=60, callback_attempts=1)) as service:
            for host in each_as_its_own(2 * LIMITS[DestinationHealth.NEW].together + 50):
                await submit(service.engine, new(callback_url=receiver.url("slow", host=host)))
            for number in range(3):
                url = receiver.url("quick", host=f"127.0.0.{3 + number}")
                done = await finished(pool, await submit(service.engine, new(callback_url=url)))
                assert done.callback_status is CallbackStatus.SUCCESS
            assert not await pool.fetchval("SELECT count(*) FROM callback_logs WHERE NOT success")
            receiver.release()

    async def test_are_not_called_faster_than_their_pace(
        self, settings: Settings, pool: Pool, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One after another, what it has to wait for holds up no other destination, and nothing is lost."""
        times: list[float] = []

        def note(arrival: Arrival) -> int:
            if arrival.path == "paced":
                times.append(asyncio.get_running_loop().time())
            return 204

        receiver.status = note
        async with serving(replace(settings, callback_rate=10)) as service:
            paced = [await submit(service.engine, new(callback_url=receiver.url("paced"))) for _ in range(35)]
            other = await submit(service.engine, new(callback_url=receiver.url("other", host="127.0.0.2")))
            await finished(pool, other)
            for request in paced:
                assert await attempts(pool, await finished(pool, request)) == [(1, 1)]
        # Twenty may come at once, and the other fifteen take a second and a half at least.
        assert len(times) == 35
        assert times[-1] - times[0] > 1.4

    async def test_that_hung_are_not_new_after_a_restart(
        self, settings: Settings, pool: Pool, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one_try = replace(settings, callback_timeout=60, callback_attempts=1)
        receiver.status = lambda arrival: 0 if arrival.path == "slow" else 204
        dead, fewer = (
            list(each_as_its_own(LIMITS[DestinationHealth.SILENT].together + 20)),
            LIMITS[DestinationHealth.SILENT].together,
        )
        async with serving(one_try) as service:
            for host in dead:
                await submit(service.engine, new(callback_url=receiver.url("slow", host=host)))
            await finished(pool, await submit(service.engine, new(callback_url=receiver.url("quick"))))
            await until(lambda: pool.fetchval("SELECT count(*) = $1 FROM callback_logs WHERE NOT success", len(dead)))
        receiver.hold("slow", "busy")
        async with serving(one_try) as service:
            for host in dead:
                await submit(service.engine, new(callback_url=receiver.url("slow", host=host)))
            await receiver.count(len(dead) + fewer, "slow")
            share = LIMITS[DestinationHealth.PROMPT].each
            for _ in range(share + 2):
                await submit(service.engine, new(callback_url=receiver.url("busy")))
            await receiver.count(share, "busy")
            assert len(receiver.at("slow")) == len(dead) + fewer
            receiver.release()

    async def test_a_receiver_gets_its_share_once_it_has_answered(
        self, settings: Settings, pool: Pool, receiver: Receiver
    ) -> None:
        async with serving(replace(settings, callback_timeout=30)) as service:
            await finished(pool, await submit(service.engine, new(callback_url=receiver.url("first"))))
            receiver.holds = {"slow"}
            for _ in range(20):
                await submit(service.engine, new(callback_url=receiver.url("slow")))
            share = LIMITS[DestinationHealth.PROMPT].each
            await receiver.count(share, "slow")
            await asyncio.sleep(0.3)
            assert len(receiver.at("slow")) == share
            receiver.release()

    async def test_what_waits_in_the_table_for_a_dead_one_does_not_delay_another_after_a_restart(
        self, settings: Settings, pool: Pool, receiver: Receiver
    ) -> None:
        """The oldest by far are a thousand for one that hangs."""
        receiver.holds = {"slow"}
        old = await ended(pool, *(new(callback_url=receiver.url("slow")) for _ in range(1_000)), owner=OTHER)
        late = await ended(pool, new(callback_url=receiver.url("quick", host="127.0.0.2")), owner=OTHER)
        due = "UPDATE requests SET callback_owner = NULL, callback_due_at = now() - $2::interval WHERE id = ANY($1)"
        await pool.execute(due, [request.id for request in old], timedelta(hours=1))
        await pool.execute(due, [request.id for request in late], timedelta(seconds=1))
        async with serving(replace(settings, callback_timeout=30, shutdown_grace_s=0.1)) as service:
            assert (await finished(pool, late[0], timeout=5)).callback_status is CallbackStatus.SUCCESS
            assert len(receiver.at("slow")) == 1
            assert len(service.engine.dispatcher.held) <= LIMITS[DestinationHealth.NEW].held

    async def test_what_waits_in_the_table_for_a_live_one_is_delivered_at_once_after_a_restart(
        self, settings: Settings, pool: Pool, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sweeper, "SWEEP_EVERY_S", 1.0)
        rows = await ended(pool, *(new(callback_url=receiver.url()) for _ in range(1_000)), owner=OTHER)
        await pool.execute("UPDATE requests SET callback_owner = NULL, callback_due_at = now() - interval '1 s'")
        async with serving(replace(settings, callback_rate=0)):
            await receiver.count(len(rows), timeout=15)
        assert len({arrival.message_id for arrival in receiver.arrivals}) == len(rows)

    async def test_a_receiver_that_falls_silent_gives_what_it_holds_back_to_the_table(
        self, settings: Settings, pool: Pool, receiver: Receiver
    ) -> None:
        one_try = replace(settings, callback_timeout=0.5, callback_attempts=1, lease_s=60, shutdown_grace_s=0.1)
        async with serving(one_try) as service:
            await finished(pool, await submit(service.engine, new(callback_url=receiver.url("first"))))
            receiver.holds = {"slow"}
            for _ in range(200):
                await submit(service.engine, new(callback_url=receiver.url("slow")))
            delivering = service.engine.dispatcher

            async def few() -> bool:
                failed = await pool.fetchval("SELECT count(*) FROM requests WHERE callback_status = 'FAILED'")
                return bool(failed >= 8) and len(delivering.held) <= 20

            await until(few)
            free = "SELECT count(*) FROM requests WHERE callback_status = 'PENDING' AND callback_owner IS NULL"

            async def given_back() -> bool:
                return bool(await pool.fetchval(free) > 100)

            await until(given_back)


async def test_a_delivery_tells_of_its_log_row_and_its_state(service: Service, pool: Pool, receiver: Receiver) -> None:
    with service.engine.hub.subscribe() as subscriber:
        request = await submit(service.engine, job(fails=True, callback_url=receiver.url()))
        await finished(pool, request)
        seen = b""
        async with asyncio.timeout(10):
            while b'"callback_status":"SUCCESS"' not in seen:
                seen += await subscriber.read(1) or b""
    assert seen.count(b"event: callback\n") == 1
    assert b'"status":"FAILED"' in seen


async def test_a_redelivery_goes_out_at_once_in_a_series_of_its_own(
    settings: Settings, pool: Pool, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeper, "SWEEP_EVERY_S", NEVER_S)
    async with serving(settings) as service:
        request = await submit(service.engine, new(callback_url=receiver.url()))
        await finished(pool, request)
        started: Any = await service.engine.changes.redeliver(request.id)
        assert started.callback_series == 2
        assert (await finished(pool, request)).callback_status is CallbackStatus.SUCCESS
        assert await attempts(pool, request) == [(1, 1), (2, 1)]
        first, second = receiver.arrivals
        assert first.message_id == second.message_id == f"msg_{request.id.hex}_1"
        assert (first.attempt, second.attempt) == (1, 1)
        assert first.body == second.body


async def test_a_redelivery_changes_nothing_of_what_its_starter_was_given(
    service: Service, pool: Pool, receiver: Receiver
) -> None:
    request = await finished(pool, await submit(service.engine, new(callback_url=receiver.url())))
    started = await service.engine.changes.redeliver(request.id)
    assert started is not None
    assert (await finished(pool, request)).callback_attempts == 1
    assert (started.callback_status, started.callback_attempts) == (CallbackStatus.PENDING, 0)


async def test_a_redelivery_goes_out_at_once_though_whoever_asked_for_it_left_after_the_commit(
    service: Service, pool: Pool, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = await submit(service.engine, new(callback_url=receiver.url()))
    await finished(pool, request)
    monkeypatch.setattr(sweeper, "SWEEP_EVERY_S", 3_600.0)
    redeliver = store.redeliver

    async def leave_then(*given: Any) -> list[Request]:
        started = await redeliver(*given)
        client.cancel()
        await asyncio.sleep(0)
        return started

    monkeypatch.setattr(store, "redeliver", leave_then)
    client = asyncio.create_task(service.engine.changes.redeliver(request.id))
    with pytest.raises(asyncio.CancelledError):
        await client
    await finished(pool, request)
    assert len(receiver.arrivals) == 2


async def test_a_redelivery_whose_starter_died_is_made_after_its_lease(
    service: Service, pool: Pool, receiver: Receiver
) -> None:
    requests = [await submit(service.engine, new(callback_url=receiver.url())) for _ in range(5)]
    for request in requests:
        await finished(pool, request)
    one, *many = requests
    assert await store.redeliver(pool, OTHER, LEASE, [one.id])
    matching = store.Matching(callback_status=CallbackStatus.SUCCESS)
    assert len(await store.redeliver_matching(pool, OTHER, LEASE, matching, 100)) == len(many)
    assert (await state(pool, one)).callback_status is CallbackStatus.PENDING
    await expire(pool, *requests)
    for request in requests:
        assert (await finished(pool, request)).callback_series == 2
        assert await attempts(pool, request) == [(1, 1), (2, 1)]
    assert len(receiver.arrivals) == 10


async def test_a_redelivery_of_many_goes_out_at_once(
    settings: Settings, pool: Pool, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeper, "SWEEP_EVERY_S", NEVER_S)
    receiver.status = lambda _: 500
    async with serving(replace(settings, callback_attempts=1)) as service:
        requests = [await submit(service.engine, new(callback_url=receiver.url())) for _ in range(30)]
        for request in requests:
            await finished(pool, request)
        receiver.status = lambda _: 200
        calls = [service.engine.changes.redeliver_matching(store.Matching(), 20) for _ in range(4)]
        started = [request.id for found in await asyncio.gather(*calls) for request in found]
        assert sorted(started) == [request.id for request in requests]
        for request in requests:
            assert (await finished(pool, request)).callback_status is CallbackStatus.SUCCESS
            assert await attempts(pool, request) == [(1, 1), (2, 1)]


async def test_a_cancelled_request_is_announced_at_once(
    settings: Settings, pool: Pool, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeper, "SWEEP_EVERY_S", NEVER_S)
    async with serving(settings) as service:
        request = await submit(service.engine, job(60_000, callback_url=receiver.url()))
        await service.engine.changes.cancel(request.id)
        failed = await finished(pool, request)
    assert (failed.status, failed.callback_status) == (Status.FAILED, CallbackStatus.SUCCESS)
    assert [arrival.event["type"] for arrival in receiver.arrivals] == ["report.failed"]


async def test_an_attempt_whose_record_was_written_though_the_answer_was_lost_goes_on(
    settings: Settings, pool: Pool, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next attempt comes by its timer, and whoever watches hears of the first one."""
    monkeypatch.setattr(sweeper, "SWEEP_EVERY_S", NEVER_S)
    receiver.status = lambda arrival: 200 if arrival.attempt == 2 else 503
    record, lost = store.record, 0

    async def lose_the_answer(*given: Any) -> list[bool]:
        nonlocal lost
        answer = await record(*given)
        if lost < 2:
            lost += 1
            raise DatabaseUnavailable("the connection to the database was lost")
        return answer

    monkeypatch.setattr(store, "record", lose_the_answer)
    async with serving(replace(settings, callback_waits=(0.1,))) as service:
        logged: list[CallbackLog] = []
        monkeypatch.setattr(service.engine.dispatcher._recorder, "_publish_log", lambda log, _: logged.append(log))
        request = await submit(service.engine, new(callback_url=receiver.url()))
        done = await finished(pool, request)
    assert (done.callback_status, done.callback_attempts, lost) == (CallbackStatus.SUCCESS, 2, 2)
    assert await attempts(pool, request) == [(1, 1), (1, 2)]
    assert [(log.attempt_number, log.success) for log in logged] == [(1, False), (2, True)]


async def test_a_redelivery_is_the_same_message_wherever_the_service_listens_by_then(
    settings: Settings, pool: Pool, receiver: Receiver
) -> None:
    """Also its links, which other replicas and later addresses would write in another way."""
    async with serving(replace(settings, public_url="https://one.example.org")) as service:
        request = await submit(service.engine, new(callback_url=receiver.url()))
        await finished(pool, request)
    for url in ("https://two.example.org", None):
        async with serving(replace(settings, public_url=url)) as service:
            assert await service.engine.changes.redeliver(request.id)
            await finished(pool, request)
    assert await attempts(pool, request) == [(1, 1), (2, 1), (3, 1)]
    [(message_id, body)] = {(arrival.message_id, arrival.body) for arrival in receiver.arrivals}
    assert message_id == f"msg_{request.id.hex}_1"
    assert b"https://one.example.org/api/requests/" in body


class TestShortage:
    """What this service has no room to try is put off, and is no attempt."""

    @pytest.fixture(autouse=True)
    def soon(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(dispatcher, "DEFER_S", 0.05)

    async def test_of_lookups(
        self, settings: Settings, pool: Pool, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ssrf_guard, "MOST_LOOKUPS", 2)
        monkeypatch.setattr(ssrf_guard, "LOOKUP_WAIT_S", 0.01)
        hanging, released, look_up, put_off = (
            threading.Semaphore(0),
            threading.Event(),
            name_lookup.look_up,
            asyncio.Event(),
        )

        def find(host: str, *more: Any) -> Any:
            if host.startswith("slow"):
                hanging.release()
                released.wait(60)
            return look_up("127.0.0.1", *more)

        async def give_back(*given: Any) -> None:
            await returning(*given)
            put_off.set()

        returning = store.give_back
        monkeypatch.setattr(ssrf_guard, "look_up", find)
        monkeypatch.setattr(store, "give_back", give_back)
        async with serving(replace(settings, callback_timeout=60, callback_attempts=1)) as service:
            try:
                for number in range(2):
                    await submit(service.engine, new(callback_url=f"http://slow{number}.example:{receiver.port}/"))
                    await asyncio.to_thread(hanging.acquire)
                request = await submit(service.engine, new(callback_url=f"http://good.example:{receiver.port}/"))
                async with asyncio.timeout(15):
                    await put_off.wait()
                assert await attempts(pool, request) == []
            finally:
                released.set()
            done = await finished(pool, request)
        assert (done.callback_status, done.callback_attempts) == (CallbackStatus.SUCCESS, 1)
        assert await attempts(pool, request) == [(1, 1)]

    @pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
    async def test_of_sockets(
        self, settings: Settings, pool: Pool, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        failures = 3

        class Short(ssrf_guard.DialedSocket):
            def __init__(self, *given: Any) -> None:
                nonlocal failures
                if failures:
                    failures -= 1
                    raise OSError(number, "there are none left")
                super().__init__(*given)

        monkeypatch.setattr(ssrf_guard, "DialedSocket", Short)
        async with serving(replace(settings, callback_attempts=1)) as service:
            done = await finished(pool, await submit(service.engine, new(callback_url=receiver.url())))
        assert (done.callback_status, done.callback_attempts, failures) == (CallbackStatus.SUCCESS, 1, 0)
        assert await attempts(pool, done) == [(1, 1)]
