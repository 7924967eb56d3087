"""`reportsim secret`: prints the secret that callbacks are signed with."""

import argparse

from reportsim.cli.database import with_migrated
from reportsim.core.signing import new_secret
from reportsim.settings import Settings
from reportsim.store.callbacks import keep_secret
from reportsim.store.pool import Connection


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Takes no arguments."""
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Prints the secrets in use, one a line; those in the database are made once."""

    async def kept(connection: Connection) -> str:
        return await keep_secret(connection, new_secret())

    for secret in Settings.from_environment().webhook_secret or (with_migrated(kept, existing=True),):
        print(secret)
    return 0
