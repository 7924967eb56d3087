"""`reportsim migrate`: brings the database up to date."""

import argparse
from typing import Any

from reportsim.commands.database import with_connection
from reportsim.store.migrate import migrate


def add_parser(verbs: "argparse._SubParsersAction[Any]") -> None:
    """Adds the verb."""
    verbs.add_parser("migrate", help="bring the database up to date").set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Applies what is missing and says what that was."""
    applied = with_connection(migrate)
    for name in applied or ["nothing to do"]:
        print(name)
    return 0
