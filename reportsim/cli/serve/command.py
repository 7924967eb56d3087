"""The options of `reportsim serve`, and how many processes they ask for."""

import argparse
import contextlib
import os
import socket
import stat
import sys
from typing import Final

from reportsim.cli.data_folders import make_data_folders
from reportsim.cli.database import with_server
from reportsim.cli.errors import CommandError
from reportsim.cli.logs import set_up_logging
from reportsim.cli.serve.event_loop import run_loop, spare_the_collector
from reportsim.cli.serve.service import serve, serve_as_member, warn_of_exposure
from reportsim.cli.serve.shares import check_shares, share_settings
from reportsim.cli.serve.sockets import bind
from reportsim.cli.serve.supervisor import open_group, supervise
from reportsim.processes.member import Member
from reportsim.settings import Settings

MOST_PROCESSES: Final = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the verb's own options."""
    parser.add_argument(
        "--until-eof",
        action="store_true",
        help="end when standard input, a pipe, ends: a program that starts the service takes it along, however it ends",
    )
    parser.add_argument(
        "--processes",
        type=number_of_processes,
        default=1,
        metavar="N",
        help="serve with N processes, so that one service uses N cores (on Linux)",
    )
    # A process that the supervisor starts.
    parser.add_argument("--member", type=Member.from_json, help=argparse.SUPPRESS)
    parser.set_defaults(run=run)


def number_of_processes(text: str) -> int:
    """A parser for the number of processes."""
    count = int(text)
    if not 1 <= count <= MOST_PROCESSES:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {MOST_PROCESSES}")
    return count


def run(options: argparse.Namespace) -> int:
    """Serves until a signal ends it."""
    settings = Settings.from_environment()
    if options.member is not None:
        return run_member(settings, options.member)
    if options.until_eof and not stat.S_ISFIFO(os.fstat(0).st_mode):
        raise CommandError("--until-eof needs a pipe as standard input")
    if options.processes > 1:
        return run_group(settings, options.processes, until_eof=options.until_eof)
    set_up_logging(debug=settings.debug)
    spare_the_collector()
    with contextlib.suppress(KeyboardInterrupt), bind(settings.host, settings.port) as listening:
        make_data_folders(settings)
        with with_server(settings) as (ready, embedded):
            run_loop(serve(ready, listening, embedded, until_eof=options.until_eof))
    return 0


def run_group(settings: Settings, count: int, *, until_eof: bool) -> int:
    """Serves with several processes."""
    if sys.platform != "linux":
        raise CommandError("--processes needs Linux: other systems do not divide connections between processes")
    check_shares(settings, count)
    with contextlib.suppress(KeyboardInterrupt), open_group(settings, count) as group:
        set_up_logging(debug=settings.debug, shared=group.memory)
        make_data_folders(settings)
        warn_of_exposure(group.listeners[0])
        with with_server(settings) as (_, embedded):
            return run_loop(supervise(settings, group, embedded, until_eof=until_eof))
    return 0


def run_member(settings: Settings, member: Member) -> int:
    """Serves as one process of several; the database that it joins is the supervisor's."""
    set_up_logging(debug=settings.debug, shared=member.memory)
    spare_the_collector()
    with (
        contextlib.suppress(KeyboardInterrupt),
        socket.socket(fileno=member.listener) as listening,
        with_server(settings) as (ready, embedded),
    ):
        run_loop(serve_as_member(share_settings(ready, member.index, member.count), member, listening, embedded))
    return 0
