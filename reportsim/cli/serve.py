"""`reportsim serve`: the service, from a bound socket to a clean end."""

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import socket
import stat
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
from reportsim.tasks import BackgroundTaskError, start
from reportsim.web.keys import DRAINING, ENGINE, FAILED, READY
from reportsim.web.server.listener import serve_app

log = logging.getLogger(__name__)

# One press of Ctrl-C arrives twice when make passes it on; what comes within a second is one wish.
SAME_WISH_S: Final = 1.0
LET_GO_S: Final = 1.0
# Containers made since the last look; Python's own 700 would be a look every few requests.
GARBAGE: Final = 20_000
LET_GO_LOOKS: Final = 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the verb's own options."""
    parser.add_argument(
        "--until-eof",
        action="store_true",
        help="end when standard input, a pipe, ends: a program that starts the service takes it along, however it ends",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Serves until a signal ends it."""
    if options.until_eof and not stat.S_ISFIFO(os.fstat(0).st_mode):
        raise CommandError("--until-eof needs a pipe as standard input")
    settings = Settings.from_environment()
    set_up_logging(debug=settings.debug)
    spare_the_collector()
    with contextlib.suppress(KeyboardInterrupt), bind(settings.host, settings.port) as listening:
        make_data_folders(settings)
        if settings.database_url:
            run_loop(serve(settings, listening, until_eof=options.until_eof))
        else:
            with start_embedded(settings) as embedded:
                ready = replace(settings, database_url=embedded.dsn)
                run_loop(serve(ready, listening, embedded, until_eof=options.until_eof))
    return 0


def run_loop(service: Coroutine[Any, Any, None]) -> None:
    """Runs the service to its end; what it cannot start or go on with is one line."""
    try:
        with refusals(), asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(service)
    except BackgroundTaskError as error:
        raise CommandError(f"{error}: its log says why") from None


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


async def serve(
    settings: Settings,
    listening: socket.socket,
    embedded: EmbeddedPostgres | None = None,
    *,
    until_eof: bool = False,
) -> None:
    """Runs the application on a bound socket until it is told to stop."""
    stop = asyncio.Event()
    app = build_app(settings)
    app[ENGINE].listens_on(*listening.getsockname()[:2])
    if not ip_address(listening.getsockname()[0]).is_loopback:
        log.warning("listening beyond this machine, and there is no login: put the service behind one")
    async with (
        stopped_by_signals(stop, embedded),
        stopped_by_eof(stop) if until_eof else contextlib.nullcontext(),
        keep_running(embedded, settings.data_dir),
        serve_app(app, listening, settings, shutdown_s=max(settings.shutdown_grace_s - LET_GO_S, 0.1)) as server,
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


class EndOfInput(asyncio.Protocol):
    """Sets an event when a stream ends, whatever came before."""

    def __init__(self, end: asyncio.Event) -> None:
        """Watches for one end."""
        self._end = end

    def connection_lost(self, error: Exception | None) -> None:
        """Called at the end of the stream."""
        self._end.set()


@contextlib.asynccontextmanager
async def stopped_by_eof(stop: asyncio.Event) -> AsyncIterator[None]:
    """Stops the service cleanly at the end of standard input: the process that started it has ended."""
    loop = asyncio.get_running_loop()
    # The transport closes what it reads, and the number must not go to another file.
    transport, _ = await loop.connect_read_pipe(lambda: EndOfInput(stop), os.fdopen(os.dup(0), "rb", buffering=0))
    try:
        yield
    finally:
        transport.close()
