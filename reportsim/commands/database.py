"""The database of a command: the one in DATABASE_URL, or the embedded one under the data directory."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import TypeVar

from reportsim.commands.failure import CommandError
from reportsim.settings import Settings
from reportsim.store.embedded import EmbeddedUnavailable, start
from reportsim.store.errors import OUTAGES, DatabaseMisconfigured
from reportsim.store.migrate import MigrationError, migrate
from reportsim.store.pool import Connection, connect

T = TypeVar("T")


@contextlib.contextmanager
def with_database(settings: Settings) -> Iterator[Settings]:
    """Settings that name a database: the embedded PostgreSQL is started where none is given, and stopped after."""
    if settings.database_url:
        yield settings
        return
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    try:
        embedded = start(settings.data_dir)
    except EmbeddedUnavailable as error:
        raise CommandError(str(error)) from None
    with embedded:
        yield replace(settings, database_url=embedded.dsn)


def with_connection(action: Callable[[Connection], Awaitable[T]]) -> T:
    """Runs an action on one connection; whatever is wrong with the database is one line."""

    async def run(settings: Settings) -> T:
        try:
            connection = await connect(settings.database_url or "")
        except DatabaseMisconfigured as error:
            raise CommandError(str(error)) from None
        except OUTAGES as error:
            raise CommandError(f"the database cannot be reached: {error}") from None
        try:
            return await action(connection)
        except (MigrationError, DatabaseMisconfigured) as error:
            raise CommandError(str(error)) from None
        finally:
            await connection.close()

    with with_database(Settings.from_environment()) as settings:
        return asyncio.run(run(settings))


def with_migrated(action: Callable[[Connection], Awaitable[T]]) -> T:
    """Runs an action on a database that has been brought up to date."""

    async def run(connection: Connection) -> T:
        await migrate(connection)
        return await action(connection)

    return with_connection(run)
