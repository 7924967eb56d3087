"""`reportsim migrate`: brings the database up to date."""

import argparse

from reportsim.cli.database import refusals, with_connections
from reportsim.store.migrate import migrate
from reportsim.store.pool import Connection


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Takes no arguments."""
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Applies what is missing and says what that was."""

    async def apply(connection: Connection) -> list[str]:
        with refusals():
            return await migrate(connection)

    applied = with_connections(apply)
    for name in applied or ["nothing to do"]:
        print(name)
    return 0
