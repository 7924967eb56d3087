"""How runs end: whatever happens, with a sentence, with nothing left behind, and so that the next one can begin."""

import asyncio
import contextlib
import uuid
from datetime import timedelta
from typing import Any, Final

import asyncpg
import psutil
import pytest

from reportsim.benchmark import measurement
from reportsim.benchmark import runner as module
from reportsim.benchmark.plan import Plan
from reportsim.benchmark.workload import Arrivals
from reportsim.settings import Settings
from reportsim.store import benchmarks, callbacks
from reportsim.store.pool import Pool
from reportsim.web.keys import RUNNER
from tests.api.calls import until
from tests.benchmark.test_runner import ENDLESS, ended, running, started
from tests.conftest import Service, serving
from tests.store.rows import LEASE, OTHER, URL, new
from tests.store.rows import claimed as claimed_rows

RACE: Final = Plan(
    rate=3,
    duration_s=1,
    arrivals=Arrivals.BURST,
    together=True,
    workers=3,
    service_time={"distribution": "fixed", "mean_ms": 20},
)
OPEN_ROWS: Final = """
SELECT count(*) FROM requests WHERE status IN ('PENDING', 'PROCESSING') OR callback_status = 'PENDING'
"""
GENERATOR: Final = "reportsim.benchmark.load.process"


def generators() -> list[psutil.Process]:
    """The generators of this process."""
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if GENERATOR in child.cmdline():
                found.append(child)
    return found


async def leaves_nothing(service: Service, pool: Pool) -> None:
    """Whatever belonged to a run is gone, and another one can be run to its end."""
    engine, runner = service.engine, service.app[RUNNER]

    async def is_over() -> bool:
        return runner.current is None

    await until(is_over)
    assert generators() == []
    assert [receiver for receiver in engine.guard.own if receiver is not engine.addresses.demo] == []
    assert list(engine._workers) == [engine.owner]
    assert [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("benchmark-")] == [
        "benchmark-sweeper"
    ]
    assert await pool.fetchval(OPEN_ROWS) == 0
    assert list(engine.files._folder.glob("*.part")) == []
    assert (await ended(service, str(await runner.start(RACE))))["status"] == "COMPLETED"


def detail_of(run: Any) -> str:
    """The sentence of a run that failed."""
    assert run["status"] == "FAILED", run
    assert run["error"]["type"] == "/problems/benchmark-failed"
    return str(run["error"]["detail"])


async def test_what_a_client_has_heard_is_written_down_before_its_run_ends(
    service: Service, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The generator hears the last callbacks before their attempts are in the log: that must not fail them."""
    record, look = callbacks.record, benchmarks.has_open_requests
    written, asked = asyncio.Event(), 0

    async def slowly(*args: Any) -> list[bool]:
        await written.wait()
        return await record(*args)

    async def counting(*args: Any) -> bool:
        nonlocal asked
        found = await look(*args)
        asked += bool(service.engine.dispatcher.held)
        if asked > 3:
            written.set()
        return found

    monkeypatch.setattr(callbacks, "record", slowly)
    monkeypatch.setattr(benchmarks, "has_open_requests", counting)
    asyncio.get_running_loop().call_later(10, written.set)
    run = await ended(service, str(await service.app[RUNNER].start(RACE)))
    assert run["result"]["async"]["outcomes"]["ok"] == 3
    rows = await pool.fetch(
        "SELECT callback_status, count(l.id) AS logged FROM requests r LEFT JOIN callback_logs l ON l.request_id = r.id"
        " WHERE run_id = $1 AND mode = 'async' GROUP BY r.id",
        uuid.UUID(run["id"]),
    )
    assert {tuple(row) for row in rows} == {("SUCCESS", 1)}


@pytest.mark.parametrize("error", [asyncpg.DeadlockDetectedError, asyncpg.SerializationError])
@pytest.mark.parametrize("name", ["end_requests", "complete", "status_of"])
async def test_a_run_survives_that_its_end_is_the_victim_of_a_deadlock(
    service: Service, pool: Pool, monkeypatch: pytest.MonkeyPatch, name: str, error: type[Exception]
) -> None:
    statement, victims = getattr(benchmarks, name), [error("chosen")]

    async def chosen_once(*args: Any) -> Any:
        if victims:
            raise victims.pop()
        return await statement(*args)

    monkeypatch.setattr(benchmarks, name, chosen_once)
    run = await ended(service, str(await service.app[RUNNER].start(RACE)))
    assert (run["status"], victims) == ("COMPLETED", [])
    await leaves_nothing(service, pool)


@pytest.mark.parametrize("error", [asyncpg.DeadlockDetectedError("chosen"), RuntimeError("surprise"), OSError("away")])
async def test_a_lease_that_could_not_be_renewed_once_is_renewed_again(
    service: Service, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    renew, renewed, errors = benchmarks.renew, asyncio.Event(), [error]

    async def failing_once(*args: Any) -> bool:
        if errors:
            raise errors.pop()
        renewed.set()
        return await renew(*args)

    monkeypatch.setattr(module, "RENEW_EVERY_S", 0.0)
    monkeypatch.setattr(benchmarks, "renew", failing_once)
    id = await started(service, ENDLESS)
    async with asyncio.timeout(20):
        await renewed.wait()
    async with service.client.post(f"/api/benchmark/{id}/cancel") as answer:
        assert (await answer.json())["status"] == "CANCELLED"


async def test_a_generator_that_dies_fails_its_run(service: Service, pool: Pool) -> None:
    id = await started(service, ENDLESS)
    await running(service, id)
    [process] = generators()
    process.kill()
    assert detail_of(await ended(service, id)) == "The generator's process ended early."
    await leaves_nothing(service, pool)


async def test_a_generator_that_says_nothing_fails_its_run(
    service: Service, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(measurement, "SETTLING_S", 2.0)
        id = await started(service, {**ENDLESS, "duration_s": 1})
        await running(service, id, progress=False)
        for process in generators():
            process.suspend()
        assert "has not answered for" in detail_of(await ended(service, id))
    await leaves_nothing(service, pool)


async def test_a_generator_that_cannot_be_started_fails_its_run(
    service: Service, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("sys.executable", "/nowhere/python")
        # Not by HTTP: the response may come when the run has failed already.
        id = await service.app[RUNNER].start(RACE)
        detail = detail_of(await ended(service, str(id)))
    assert detail == "The generator's process could not be started: No such file or directory"
    await leaves_nothing(service, pool)


async def test_requests_that_never_end_fail_their_run(
    service: Service, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def always(*_: Any) -> bool:
        return True

    with monkeypatch.context() as patched:
        patched.setattr(benchmarks, "has_open_requests", always)
        patched.setattr(measurement, "SETTLING_S", 0.2)
        id = await service.app[RUNNER].start(RACE)
        run = await ended(service, str(id))
    assert detail_of(run) in {
        "Requests or callbacks of the run had not ended 0.2 s after their load.",
        "The generator's process has not answered for 0.2 s.",
    }
    await leaves_nothing(service, pool)


async def test_a_run_that_is_cancelled_leaves_nothing(service: Service, pool: Pool) -> None:
    id = await started(service, ENDLESS)
    await running(service, id)
    async with service.client.post(f"/api/benchmark/{id}/cancel") as answer:
        assert (await answer.json())["status"] == "CANCELLED"
    await leaves_nothing(service, pool)


async def test_a_run_that_is_cancelled_before_it_began_leaves_nothing(service: Service, pool: Pool) -> None:
    runner = service.app[RUNNER]
    id = await runner.start(RACE)
    current = runner.current
    assert current is not None
    current.stop()
    current.stop()
    assert await runner.cancel(id)
    await leaves_nothing(service, pool)


async def test_a_client_that_leaves_while_its_run_begins_leaves_a_run(
    service: Service, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is stored is run: it would else be in everybody's way until its lease is over."""
    insert, stored, go = benchmarks.insert, asyncio.Event(), asyncio.Event()

    async def slowly(*args: Any, **options: Any) -> None:
        await insert(*args, **options)
        stored.set()
        await go.wait()

    monkeypatch.setattr(benchmarks, "insert", slowly)
    starting = asyncio.create_task(service.app[RUNNER].start(RACE))
    await stored.wait()
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    go.set()
    [summary] = await benchmarks.newest(pool, 2)
    assert (await ended(service, str(summary.id)))["status"] == "COMPLETED"
    await leaves_nothing(service, pool)


async def test_a_service_that_stops_while_a_run_begins_fails_it(settings: Settings, pool: Pool) -> None:
    async with serving(settings) as service:
        await service.app[RUNNER].start(RACE)
        service.app[RUNNER].stop()
    [summary] = await benchmarks.newest(pool, 2)
    run = await benchmarks.get(pool, summary.id)
    assert run is not None
    assert detail_of(run.as_json()) == "The service was stopped while it ran."
    assert await pool.fetchval(OPEN_ROWS) == 0
    assert generators() == []


async def test_a_run_outlives_its_lease_where_its_replica_lives(service: Service, pool: Pool) -> None:
    """After an outage as long as a lease, a replica must not take its own run for dead."""
    id = await started(service, ENDLESS)
    await running(service, id)
    await pool.execute("UPDATE benchmarks SET lease_until = now() - interval '1 s'")
    await service.app[RUNNER]._bury()
    assert (await benchmarks.status_of(pool, uuid.UUID(id))) == "RUNNING"
    async with service.client.post(f"/api/benchmark/{id}/cancel") as answer:
        assert answer.status == 200


async def test_other_replicas_leave_the_callbacks_of_a_run_alone(pool: Pool) -> None:
    """They do not know its receiver, and would refuse it for good."""
    run = uuid.uuid4()
    rows = await claimed_rows(pool, new(callback_url=URL, run_id=run), new(callback_url=URL))
    await pool.execute(
        "UPDATE requests SET status = 'COMPLETED', completed_at = now(), result_payload = '{}',"
        " owner = NULL, lease_until = NULL, callback_due_at = now() - interval '1 minute'"
    )
    found = await callbacks.claim_due(pool, OTHER, LEASE, 10, timedelta(0))
    assert [row.run_id for row in found] == [None]
    origin = rows[0].callback_origin
    assert origin is not None
    found = await callbacks.claim_due(pool, OTHER, LEASE, 10, timedelta(0), receivers=[origin])
    assert [row.run_id for row in found] == [run]
