"""`reportsim migrate`: brings the database up to date."""

import argparse

from reportsim.commands.database import with_connection
from reportsim.store.migrate import migrate


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Takes no arguments."""
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Applies what is missing and says what that was."""
    applied = with_connection(migrate)
    for name in applied or ["nothing to do"]:
        print(name)
    return 0
