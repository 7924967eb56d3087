"""How fast a backlog of requests that need no work is ended, against Python's queues on the same PostgreSQL.

Every queue has a database of its own on one server, and is run at the settings that its own documentation or benchmark
recommends; pgqueuer also at those that were found to be its fastest. Rounds are taken in turn, on the same loop; each
queue ends its jobs as durably as it does by default. `.venv/peers/bin/python -m benchmarks.peers.queues [JOBS]`.
"""

import asyncio
import functools
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import asyncpg
import procrastinate
import psycopg_pool
import saq
import saq.queue.postgres
from pgqueuer import PgQueuer
from pgqueuer.types import QueueExecutionMode

from reportsim.app import build_app
from reportsim.cli.serve.event_loop import loop_factory, spare_the_collector
from reportsim.core.model import Mode, Request, Status
from reportsim.engine.worker.execution import GeneratedReport
from reportsim.reports.generate import Report
from reportsim.settings import Settings
from reportsim.store import ledgers
from reportsim.store import requests as store
from reportsim.store.embedded_postgres import server as embedded
from reportsim.store.migrate import migrate
from reportsim.store.pool import connect
from reportsim.web.keys import ENGINE

ROUNDS: Final = 3
JOBS: Final = 20_000
# The slow ones would take minutes a round; a longer backlog does not make them faster.
FEWER: Final = 3_000
SLOTS: Final = 200
LONGEST_S: Final = 300.0
ENTRYPOINT: Final = "nothing"

Drain = Callable[[str, int], Awaitable[float]]


async def no_report(request: Request) -> GeneratedReport:
    """A report that needs no work."""
    return GeneratedReport(Report(rows=0, currency="EUR", exponent=2, totals={}, checks=[]), "0" * 64, 0)


async def ours(dsn: str, jobs: int) -> float:
    """The engine as the service runs it, with leases, fences, events and the result of every request kept."""
    connection = await connect(dsn)
    await migrate(connection)
    ledger = await ledgers.generate(connection, "tiny", lines=40, seed=42)
    with tempfile.TemporaryDirectory() as folder:
        app = build_app(Settings(database_url=dsn, data_dir=Path(folder), workers=SLOTS))
        engine = app[ENGINE]
        engine.worker.draining = True
        engine.worker._executor.generate = no_report

        def new() -> store.NewRequest:
            row = Request(
                id=engine.new_id(),
                mode=Mode.ASYNC,
                status=Status.PENDING,
                input_payload={"report_type": "trial_balance", "ledger": "tiny"},
                endpoint="/api/async",
                ledger_id=ledger.ledger_id,
                ledger_version=1,
                report_version=1,
                created_at=datetime.now(UTC),
            )
            return store.NewRequest(request=row, owner=None)

        async with engine.pool, engine.running():
            for first in range(0, jobs, 500):
                batch = [new() for _ in range(first, min(first + 500, jobs))]
                await store.insert(engine.pool, engine._lease, batch)
            engine.worker.draining = False
            began = time.perf_counter()
            engine.worker.wake()
            while engine.counts.ended["COMPLETED"] < jobs:  # noqa: ASYNC110 - its tallies are no events
                await asyncio.sleep(0.005)
            took = time.perf_counter() - began
    await connection.close()
    return jobs / took


async def pgqueuer(dsn: str, jobs: int, *, managers: int, batch: int) -> float:
    """Some managers that fetch some at a time, with its durable tables."""
    async with asyncpg.create_pool(dsn, min_size=8, max_size=8) as pool:
        queues = [PgQueuer.from_asyncpg_pool(pool) for _ in range(managers)]
        await queues[0].qm.queries.install()
        done, ended = 0, asyncio.Event()

        async def nothing(_: Any) -> None:
            nonlocal done
            done += 1
            if done == jobs:
                ended.set()

        for queue in queues:
            queue.entrypoint(ENTRYPOINT)(nothing)
        for first in range(0, jobs, 500):
            number = min(500, jobs - first)
            await queues[0].qm.queries.enqueue([ENTRYPOINT] * number, [b"{}"] * number, [0] * number)
        began = time.perf_counter()
        drains = [queue.qm.run(batch_size=batch, mode=QueueExecutionMode.drain) for queue in queues]
        runs = [asyncio.create_task(drain) for drain in drains]
        await ended.wait()
        took = time.perf_counter() - began
        await asyncio.gather(*runs)
    return jobs / took


async def procrastinate_(dsn: str, jobs: int) -> float:
    """Thirty at a time, as its documentation suggests for tasks that wait."""
    connector = procrastinate.PsycopgConnector(conninfo=dsn, min_size=4, max_size=30)
    app = procrastinate.App(connector=connector)
    done = 0

    @app.task(name=ENTRYPOINT)
    async def nothing() -> None:
        nonlocal done
        done += 1

    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        await nothing.batch_defer_async(*({} for _ in range(jobs)))
        began = time.perf_counter()
        await app.run_worker_async(concurrency=30, wait=False, install_signal_handlers=False)
        took = time.perf_counter() - began
    assert done == jobs
    return jobs / took


async def saq_(dsn: str, jobs: int) -> float:
    """A hundred at a time."""
    pool = psycopg_pool.AsyncConnectionPool(dsn, min_size=4, max_size=20, open=False, kwargs={"autocommit": True})
    await pool.open()
    queue = saq.queue.postgres.PostgresQueue(pool=pool)
    await queue.connect()
    done, ended = 0, asyncio.Event()

    async def nothing(_: Any) -> None:
        nonlocal done
        done += 1
        if done == jobs:
            ended.set()

    for first in range(0, jobs, 100):
        await asyncio.gather(*(queue.enqueue("nothing") for _ in range(first, min(first + 100, jobs))))
    worker: saq.Worker[Any] = saq.Worker(queue, [("nothing", nothing)], concurrency=100)
    began = time.perf_counter()
    run = asyncio.create_task(worker.start())
    await ended.wait()
    took = time.perf_counter() - began
    await worker.stop()
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    await queue.disconnect()
    await pool.close()
    return jobs / took


QUEUES: Final[dict[str, tuple[Drain, int]]] = {
    "reportsim, 200 slots": (ours, JOBS),
    "pgqueuer, 5 of 10 (its benchmark's)": (functools.partial(pgqueuer, managers=5, batch=10), JOBS),
    "pgqueuer, 2 of 100 (its fastest)": (functools.partial(pgqueuer, managers=2, batch=100), JOBS),
    "procrastinate, 30 at once": (procrastinate_, FEWER),
    "SAQ on PostgreSQL, 100 at once": (saq_, FEWER),
}


async def measure(server: str, most: int) -> dict[str, list[float]]:
    """Jobs per second of every queue, round by round, with at most so many jobs."""
    rates: dict[str, list[float]] = {name: [] for name in QUEUES}
    admin = await connect(server)
    for number in range(ROUNDS):
        for name, (drain, jobs) in QUEUES.items():
            database = f"peer_{number}_{list(QUEUES).index(name)}"
            await admin.execute(f"CREATE DATABASE {database}")
            head, _, query = server.partition("?")
            address = f"{head.rpartition('/')[0]}/{database}?{query}"
            async with asyncio.timeout(LONGEST_S):
                rates[name].append(await drain(address, min(jobs, most)))
            await admin.execute(f"DROP DATABASE {database} WITH (FORCE)")
            await admin.execute("CHECKPOINT")
    await admin.close()
    return rates


def main() -> None:
    """Prints the table."""
    most = int(sys.argv[1]) if len(sys.argv) > 1 else JOBS
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="reportsim-bench-") as folder, embedded.start(Path(folder)) as server:
        spare_the_collector()
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            rates = runner.run(measure(server.dsn, most))
    first = statistics.median(rates["reportsim, 200 slots"])
    jobs, fewer = min(JOBS, most), min(FEWER, most)
    print(f"drain of {jobs:,} requests without work (of the slow ones: {fewer:,}), median of {ROUNDS}")
    for name, found in rates.items():
        rate = statistics.median(found)
        print(f"{name:<38} {rate:8,.0f}/s  [{min(found):,.0f} .. {max(found):,.0f}]  {first / rate:6.1f} times slower")


if __name__ == "__main__":
    main()
