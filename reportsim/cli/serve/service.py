"""One process of the service, from a bound socket to a clean end."""

import asyncio
import contextlib
import logging
import os
import socket
from ipaddress import ip_address
from typing import Final

from aiohttp import web

from reportsim.app import build_app
from reportsim.cli.serve.postgres_watchdog import keep_running
from reportsim.cli.serve.stop import first_of, stopped_by_eof, stopped_by_signals
from reportsim.cli.serve.terminal import print_service_facts
from reportsim.processes.member import Member
from reportsim.settings import Settings
from reportsim.store.embedded_postgres.server import EmbeddedPostgres
from reportsim.web.keys import DRAINING, ENGINE, FAILED, READY
from reportsim.web.server.listener import MemberSockets, serve_app

log = logging.getLogger(__name__)

LET_GO_S: Final = 1.0
LET_GO_LOOKS: Final = 50
# What a process of several tells its supervisor.
LISTENS: Final = b"listens\n"
IS_READY: Final = b"ready\n"


async def serve(
    settings: Settings,
    listening: socket.socket,
    embedded: EmbeddedPostgres | None = None,
    *,
    until_eof: bool = False,
) -> None:
    """Runs the application on a bound socket until it is told to stop."""
    stop = asyncio.Event()
    app = build_app(settings, demonstration=is_for_demonstration(settings, listening, embedded))
    app[ENGINE].addresses.listen_on(*listening.getsockname()[:2])
    warn_of_exposure(listening)
    async with (
        stopped_by_signals(stop, embedded.stop if embedded is not None else lambda: None),
        stopped_by_eof(stop) if until_eof else contextlib.nullcontext(),
        keep_running(embedded, settings.data_dir),
        serve_app(app, listening, settings, shutdown_s=shutdown_s(settings)) as server,
    ):
        await first_of(app[READY], app[FAILED], stop)
        if app[READY].is_set():
            log.info("reportsim is ready: %s", app[ENGINE].addresses.base_url)
            print_service_facts(settings, app[ENGINE].addresses.base_url)
        await first_of(stop, app[FAILED])
        log.info("stopping")
        await let_go(app, server)
    log.info("stopped")


async def serve_as_member(
    settings: Settings, member: Member, listening: socket.socket, embedded: EmbeddedPostgres | None = None
) -> None:
    """Runs one process of several until its supervisor tells it to stop, or has ended."""
    stop = asyncio.Event()
    demonstration = is_for_demonstration(settings, listening, embedded)
    app = build_app(settings, member=member, demonstration=demonstration)
    app[ENGINE].addresses.listen_on(*listening.getsockname()[:2])
    app[ENGINE].addresses.listen_privately(member.private_addresses, member.index)
    with (
        socket.socket(fileno=member.private_listener) as private_listener,
        socket.socket(fileno=member.handover) as handover,
    ):
        sockets = MemberSockets(private_listener, handover, member.is_first)
        async with (
            stopped_by_signals(stop, lambda: None),
            stopped_by_eof(stop),
            serve_app(app, listening, settings, shutdown_s=shutdown_s(settings), member=sockets) as server,
        ):
            report(LISTENS)
            await first_of(app[READY], app[FAILED], stop)
            if app[READY].is_set():
                report(IS_READY)
            await first_of(stop, app[FAILED])
            await let_go(app, server)


def report(event: bytes) -> None:
    """Tells the supervisor of an event."""
    with contextlib.suppress(OSError):
        os.write(1, event)


def shutdown_s(settings: Settings) -> float:
    """How long running requests get once clients have had the time to go elsewhere."""
    return max(settings.shutdown_grace_s - LET_GO_S, 0.1)


def is_for_demonstration(settings: Settings, listening: socket.socket, embedded: EmbeddedPostgres | None) -> bool:
    """Whether its database is its own, and only this machine reaches the service, also not through a proxy."""
    is_behind = settings.public_url or settings.trusted_proxies or settings.allowed_hosts
    return embedded is not None and not is_behind and ip_address(listening.getsockname()[0]).is_loopback


def warn_of_exposure(listening: socket.socket) -> None:
    """Warns when others than this machine can reach the service."""
    if not ip_address(listening.getsockname()[0]).is_loopback:
        log.warning("listening beyond this machine, and there is no login: put the service behind one")


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
