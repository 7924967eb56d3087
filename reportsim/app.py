"""The composition root: what the application is made of, and in which order it starts and stops."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import web

from reportsim.core.clock import Clock, SystemClock
from reportsim.engine.engine import Engine
from reportsim.settings import Settings
from reportsim.store import ledgers
from reportsim.store.migrate import migrate
from reportsim.store.pool import OUTAGES, clean_dsn, connect, create_pool
from reportsim.web import downloads, events, ops, pages, receiver, requests, submissions
from reportsim.web.keys import DRAINING, ENGINE, LIMITS, READY, SETTINGS
from reportsim.web.limits import Limits
from reportsim.web.middleware import answer_problems, check_origin, finish_headers, identify

log = logging.getLogger(__name__)

# Connections beyond those that reports hold.
SPARE_CONNECTIONS: Final = 6
DEMO_SEED: Final = 42
TINY_LINES: Final = 40


def build_app(settings: Settings, *, clock: Clock | None = None) -> web.Application:
    """The whole service; `settings.database_url` must be given."""
    dsn = clean_dsn(settings.database_url or "")
    pool = create_pool(dsn, size=settings.workers + SPARE_CONNECTIONS, statement_cache=settings.statement_cache)
    app = web.Application(
        middlewares=[identify(), answer_problems(), check_origin(settings)],
        client_max_size=1024 * 1024,
    )
    app[SETTINGS] = settings
    app[ENGINE] = Engine(settings=settings, dsn=dsn, pool=pool, clock=clock or SystemClock())
    app[LIMITS] = Limits({"sync": settings.sync_rate, "async": settings.async_rate})
    app[READY] = asyncio.Event()
    app[DRAINING] = asyncio.Event()
    app[receiver.INBOXES] = receiver.Inboxes()

    app.on_response_prepare.append(finish_headers)
    app.on_shutdown.append(drain)
    app.cleanup_ctx.append(pool_context)
    app.cleanup_ctx.append(engine_context)
    pages.setup(app)
    add_routes(app)
    return app


def add_routes(app: web.Application) -> None:
    """The service's index."""
    app.add_routes(
        [
            web.post("/api/sync", submissions.create_sync),
            web.post("/api/async", submissions.create_async),
            web.get("/api/requests", requests.list_requests),
            web.get("/api/requests/{id}", requests.get_request),
            web.post("/api/requests/{id}/cancel", requests.cancel_request),
            web.post("/api/requests/{id}/redeliver", requests.redeliver),
            web.get("/api/requests/{id}/callback-logs", requests.get_callback_logs),
            web.get("/api/reports/{file}", downloads.download),
            web.get("/api/ledgers", requests.list_ledgers),
            web.get("/api/events", events.stream_events),
            web.post("/api/callbacks/simulate-failures", submissions.simulate_failures),
            web.post("/webhook-test/{inbox}", receiver.receive),
            web.get("/webhook-test/{inbox}", receiver.show_inbox),
            web.get("/", pages.show_home),
            web.post("/", pages.submit_form),
            web.get("/requests/{id}", pages.show_request),
            web.get("/problems/{slug}", pages.show_problem),
            web.get("/healthz", ops.healthz),
            web.get("/readyz", ops.readyz),
        ]
    )


async def pool_context(app: web.Application) -> AsyncIterator[None]:
    """Opens the pool, which connects when first used."""
    async with app[ENGINE].pool:
        yield


async def engine_context(app: web.Application) -> AsyncIterator[None]:
    """Brings the engine up as soon as the database is there, and down before the pool closes."""
    stop = asyncio.Event()
    life = asyncio.create_task(live(app, stop), name="engine")
    ready = asyncio.create_task(app[READY].wait())
    try:
        # The first try is waited for, so that a service with a database starts ready.
        await asyncio.wait([life, ready], timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
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


async def live(app: web.Application, stop: asyncio.Event) -> None:
    """The engine's life: prepare the database, work, stop."""
    await prepare_database(app)
    async with app[ENGINE].running():
        app[READY].set()
        await stop.wait()


async def prepare_database(app: web.Application) -> None:
    """Waits for the database, migrates it, and makes the demo ledgers where there is none of their name."""
    settings = app[SETTINGS]
    dsn = clean_dsn(settings.database_url or "")
    wait = 0.2
    while True:
        try:
            connection = await connect(dsn)
            try:
                for name in await migrate(connection):
                    log.info("applied migration %s", name)
                for name, lines in (("demo", settings.demo_lines), ("tiny", TINY_LINES)):
                    with contextlib.suppress(ledgers.LedgerExists):
                        await ledgers.generate(connection, name, lines=lines, seed=DEMO_SEED)
                        log.info("made the ledger %s: %d lines", name, lines)
            finally:
                await connection.close()
        except OUTAGES as error:
            log.warning("waiting for the database: %s", str(error) or type(error).__name__)
            await asyncio.sleep(wait)
            wait = min(wait * 2, 5.0)
        else:
            return


async def drain(app: web.Application) -> None:
    """Ends what would keep the server from stopping: open streams."""
    app[DRAINING].set()
    app[ENGINE].hub.close()
