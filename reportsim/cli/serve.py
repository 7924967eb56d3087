"""`reportsim serve`: the service, from a bound socket to a clean end."""

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Coroutine
from dataclasses import replace
from ipaddress import ip_address
from typing import Any, Final

from aiohttp import web

from reportsim.app import build_app
from reportsim.cli.data_folders import make_data_folders
from reportsim.cli.database import refusals, start_embedded
from reportsim.cli.errors import CommandError
from reportsim.cli.logs import set_up_logging
from reportsim.cli.postgres_watchdog import keep_running
from reportsim.cli.signals import on_signals
from reportsim.settings import Settings
from reportsim.store.embedded_postgres.server import EmbeddedPostgres
from reportsim.tasks import start
from reportsim.web.keys import DRAINING, ENGINE, FAILED, READY
from reportsim.web.listener import served

log = logging.getLogger(__name__)

# One press of Ctrl-C arrives twice when make passes it on; what comes within a second is one wish.
SAME_WISH_S: Final = 1.0
LET_GO_S: Final = 1.0
# Containers made since the last look; Python's own 700 would be a look every few requests.
GARBAGE: Final = 20_000
LET_GO_LOOKS: Final = 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Takes no arguments."""
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Serves until a signal ends it."""
    settings = Settings.from_environment()
    set_up_logging(debug=settings.debug)
    spare_the_collector()
    with contextlib.suppress(KeyboardInterrupt), bind(settings.host, settings.port) as listening:
        make_data_folders(settings)
        if settings.database_url:
            run_loop(serve(settings, listening))
        else:
            with start_embedded(settings) as embedded:
                ready = replace(settings, database_url=embedded.dsn)
                run_loop(serve(ready, listening, embedded))
    return 0


def run_loop(service: Coroutine[Any, Any, None]) -> None:
    """Runs the service to its end; what it cannot start with is one line."""
    with refusals(), asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(service)


def spare_the_collector() -> None:
    """Has the garbage collector look at what requests leave behind less often, and at what is loaded never again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE)


def loop_factory() -> Any:
    """Uvloop's loop when it is installed."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def bind(host: str, port: int) -> socket.socket:
    """The listening socket, made first, so that a taken port is said before anything is started."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
        except OSError:
            listening.close()
            raise
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        advice = "set REPORTSIM_HOST and REPORTSIM_PORT to an address of this machine that is free"
        raise CommandError(f"cannot listen on {host} port {port}: {reason}: {advice}") from None
    return listening


async def serve(settings: Settings, listening: socket.socket, embedded: EmbeddedPostgres | None = None) -> None:
    """Runs the application on a bound socket until it is told to stop."""
    stop = asyncio.Event()
    app = build_app(settings)
    app[ENGINE].listens_on(*listening.getsockname()[:2])
    if not ip_address(listening.getsockname()[0]).is_loopback:
        log.warning("listening beyond this machine, and there is no login: put the service behind one")
    async with (
        stopped_by_signals(stop, embedded),
        keep_running(embedded, settings.data_dir),
        served(app, listening, settings, shutdown_s=max(settings.shutdown_grace_s - LET_GO_S, 0.1)) as server,
    ):
        await announce(app, stop)
        await first_of(stop, app[FAILED])
        log.info("stopping")
        await let_go(app, server)
    log.info("stopped")


async def let_go(app: web.Application, server: web.Server) -> None:
    """Tells clients and load balancers to go elsewhere, for as long as any is connected, at most a second.

    Streams end first. Answers close their connections meanwhile, so that nobody writes into one that is about to be
    reset.
    """
    app[DRAINING].set()
    app[ENGINE].stop_taking()
    app[ENGINE].hub.close()
    for _ in range(LET_GO_LOOKS):
        if not server.connections:
            return
        await asyncio.sleep(LET_GO_S / LET_GO_LOOKS)


async def announce(app: web.Application, stop: asyncio.Event) -> None:
    """Says the address once the service is ready."""
    await first_of(app[READY], app[FAILED], stop)
    if app[READY].is_set():
        log.info("reportsim is ready: %s", app[ENGINE].base_url)


async def first_of(*events: asyncio.Event) -> None:
    """Waits until any of some events is set."""
    waits = [start(event.wait(), name="event") for event in events]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()


@contextlib.asynccontextmanager
async def stopped_by_signals(stop: asyncio.Event, embedded: EmbeddedPostgres | None) -> AsyncIterator[None]:
    """The first signal asks for a clean end; one that comes more than a second later ends at once."""
    loop = asyncio.get_running_loop()
    first: list[float] = []

    def end(_: int) -> None:
        if not first:
            first.append(time.monotonic())
            loop.call_soon_threadsafe(stop.set)
        elif time.monotonic() - first[0] > SAME_WISH_S:
            # A warning takes along what was logged before it.
            log.warning("told to stop once more: not waiting any longer")
            if embedded is not None:
                embedded.stop()
            os._exit(1)

    # Not by the loop, which takes its handlers away before the database is stopped.
    with on_signals(end):
        yield
