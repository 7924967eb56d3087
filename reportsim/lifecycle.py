"""Starts and stops the application: the pools, then the engine as soon as the database is available."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import web

from reportsim.store import ledgers
from reportsim.store.connection import finish_cancels
from reportsim.store.errors import OUTAGES, DatabaseMisconfigured
from reportsim.store.migrate import migrate
from reportsim.store.pool import Pool, connect
from reportsim.tasks import start, wait_for_end
from reportsim.web.keys import DRAINING, ENGINE, FAILED, MEMBER, READY, RUNNER, SETTINGS
from reportsim.web.limits.rate_limit import RATE_LIMITS

log = logging.getLogger(__name__)

START_TIMEOUT_S: Final = 1.0
POOL_CLOSE_TIMEOUT_S: Final = 1.0
DEMO_SEED: Final = 42
TINY_LINES: Final = 40


async def pools_context(app: web.Application) -> AsyncIterator[None]:
    """Opens the pool; its connections are made on first use."""
    engine = app[ENGINE]
    async with open_pool(engine.pool):
        yield


@contextlib.asynccontextmanager
async def open_pool(pool: Pool) -> AsyncIterator[None]:
    """Opens a pool and closes it within a time-out, also while its connections are in use."""
    await pool
    try:
        yield
    finally:
        try:
            async with asyncio.timeout(POOL_CLOSE_TIMEOUT_S):
                await pool.close()
        except TimeoutError:
            pool.terminate()
        await finish_cancels(POOL_CLOSE_TIMEOUT_S)


async def engine_context(app: web.Application) -> AsyncIterator[None]:
    """Runs the engine as soon as the database is available, and stops it before the pool is closed."""
    stop = asyncio.Event()
    task = start(run_engine(app, stop), name="engine", handled=(Exception,))
    task.add_done_callback(lambda task: report_engine_failure(app, task))
    ready = start(app[READY].wait(), name="ready")
    try:
        # Waits for the first attempt, so that a service whose database is available starts ready.
        await asyncio.wait([task, ready], timeout=START_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
        yield
    finally:
        ready.cancel()
        stop.set()
        if not app[READY].is_set():
            task.cancel()
        await wait_for_end(task)


def report_engine_failure(app: web.Application, task: "asyncio.Task[None]") -> None:
    """Logs an error that ended the engine, and signals the server to stop."""
    if not task.cancelled() and (error := task.exception()):
        if app[READY].is_set():
            log.critical("the engine has ended: %s", error)
        app[FAILED].set()


async def run_engine(app: web.Application, stop: asyncio.Event) -> None:
    """Prepares the database, then runs the engine until it is stopped."""
    await prepare_database(app)
    member = app.get(MEMBER)
    if (networks := app[SETTINGS].callback_allow.networks) and (member is None or member.is_first):
        log.warning("callbacks may also go to %s", ", ".join(map(str, networks)))
    async with app[ENGINE].running() as engine, app[RUNNER].running():
        # What replicas tell each other of a client has to name it alike.
        app[RATE_LIMITS].set_key(engine.hash_client("rate limits"))
        app[READY].set()
        await stop.wait()


async def prepare_database(app: web.Application) -> None:
    """Waits for the database, migrates it, and creates the demo ledgers at the first start."""
    settings = app[SETTINGS]
    dsn = settings.database_url or ""
    wait = 0.2
    while True:
        try:
            connection = await connect(dsn)
            try:
                for name in await migrate(connection):
                    log.info("applied migration %s", name)
                for name, lines in (("demo", settings.demo_lines), ("tiny", TINY_LINES)):
                    if await ledgers.generate_first(connection, name, lines=lines, seed=DEMO_SEED):
                        log.info("created the ledger %s: %d lines", name, lines)
            finally:
                await connection.close()
        except DatabaseMisconfigured:
            raise
        except OUTAGES as error:
            log.warning("waiting for the database: %s", str(error) or type(error).__name__)
            await asyncio.sleep(wait)
            wait = min(wait * 2, 5.0)
        else:
            return


async def drain(app: web.Application) -> None:
    """Stops taking work, and closes the event streams, which would keep the server from stopping."""
    app[DRAINING].set()
    app[RUNNER].stop()
    app[ENGINE].stop_taking()
    app[ENGINE].hub.close()
