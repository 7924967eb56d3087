"""How the application comes up and goes down: pools, then the engine, as soon as the database is there."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import web

from reportsim.store import ledgers
from reportsim.store.errors import OUTAGES, DatabaseMisconfigured
from reportsim.store.migrate import migrate
from reportsim.store.pool import Pool, connect
from reportsim.tasks import start
from reportsim.web.keys import DRAINING, ENGINE, FAILED, READY, RUNNER, SETTINGS

log = logging.getLogger(__name__)

START_TIMEOUT_S: Final = 1.0
POOL_CLOSE_TIMEOUT_S: Final = 1.0
DEMO_SEED: Final = 42
TINY_LINES: Final = 40


async def pools_context(app: web.Application) -> AsyncIterator[None]:
    """Opens the pools, which connect when first used."""
    engine = app[ENGINE]
    async with open_pool(engine.pool):
        yield


@contextlib.asynccontextmanager
async def open_pool(pool: Pool) -> AsyncIterator[None]:
    """A pool that is closed in good time, whatever its connections are doing."""
    await pool
    try:
        yield
    finally:
        try:
            async with asyncio.timeout(POOL_CLOSE_TIMEOUT_S):
                await pool.close()
        except TimeoutError:
            pool.terminate()


async def engine_context(app: web.Application) -> AsyncIterator[None]:
    """Brings the engine up as soon as the database is there, and down before the pool closes."""
    stop = asyncio.Event()
    life = start(run_engine(app, stop), name="engine", handled=(Exception,))
    life.add_done_callback(lambda life: report_engine_failure(app, life))
    ready = start(app[READY].wait(), name="ready")
    try:
        # The first try is waited for, so that a service with a database starts ready.
        await asyncio.wait([life, ready], timeout=START_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        if life.done():
            await life
        yield
    finally:
        ready.cancel()
        stop.set()
        if not app[READY].is_set():
            life.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await life


def report_engine_failure(app: web.Application, life: "asyncio.Task[None]") -> None:
    """Logs at once what ended the engine, and tells whoever serves the application to stop."""
    if not life.cancelled() and (error := life.exception()):
        if app[READY].is_set():
            log.critical("the engine has ended: %s", error)
        app[FAILED].set()


async def run_engine(app: web.Application, stop: asyncio.Event) -> None:
    """The engine's life: prepare the database, work, stop."""
    await prepare_database(app)
    async with app[ENGINE].running(), app[RUNNER].running():
        app[READY].set()
        await stop.wait()


async def prepare_database(app: web.Application) -> None:
    """Waits for the database, migrates it, and makes the demo ledgers at the first start."""
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
                        log.info("made the ledger %s: %d lines", name, lines)
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
    """Ends what would keep the server from stopping: open streams."""
    app[DRAINING].set()
    app[RUNNER].stop()
    app[ENGINE].stop_taking()
    app[ENGINE].hub.close()
