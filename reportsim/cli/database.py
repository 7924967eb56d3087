"""The database of a command: the one in DATABASE_URL, or the embedded one under the data directory."""

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import TypeVar

import asyncpg

from reportsim.cli.data_folders import unusable
from reportsim.cli.database_errors import database_refusal
from reportsim.cli.errors import CommandError
from reportsim.settings import Settings
from reportsim.store.embedded_postgres.server import EmbeddedPostgres, EmbeddedUnavailable, exists, start
from reportsim.store.errors import OUTAGES, DatabaseMisconfigured
from reportsim.store.migrate import MigrationError, migrate
from reportsim.store.pool import Connection, connect

T = TypeVar("T")


@contextlib.contextmanager
def with_database(settings: Settings) -> Iterator[Settings]:
    """Settings that name a database: the embedded PostgreSQL is started where none is given, and stopped after."""
    with with_server(settings) as (found, _):
        yield found


@contextlib.contextmanager
def with_server(settings: Settings) -> Iterator[tuple[Settings, EmbeddedPostgres | None]]:
    """The same, with the embedded PostgreSQL if it is the database."""
    if settings.database_url:
        yield settings, None
        return
    with start_embedded(settings) as embedded:
        yield replace(settings, database_url=embedded.dsn), embedded


def start_embedded(settings: Settings) -> EmbeddedPostgres:
    """The embedded PostgreSQL of the data folder."""
    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        return start(settings.data_dir)
    except OSError as error:
        raise CommandError(unusable(settings.data_dir, error)) from None
    except EmbeddedUnavailable as error:
        raise CommandError(str(error)) from None


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Makes one line of whatever a connection or a migration fails with."""
    try:
        yield
    except (MigrationError, DatabaseMisconfigured) as error:
        raise CommandError(str(error)) from None
    except OUTAGES as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise CommandError(f"the database cannot be reached: {said}: check DATABASE_URL") from None
    except asyncpg.PostgresError as error:
        raise CommandError(database_refusal(error)) from None


def with_connections(action: Callable[..., Awaitable[T]], *, count: int = 1, existing: bool = False) -> T:
    """Runs an action on connections; an embedded database must be there already if so wanted."""

    async def run(settings: Settings) -> T:
        async with contextlib.AsyncExitStack() as stack:
            connections = []
            for _ in range(count):
                with refusals():
                    connection = await connect(settings.database_url or "")
                stack.push_async_callback(connection.close)
                connections.append(connection)
            try:
                return await action(*connections)
            except (MigrationError, DatabaseMisconfigured) as error:
                raise CommandError(str(error)) from None

    settings = Settings.from_environment()
    name_database(settings, existing=existing)
    with with_database(settings) as found:
        return asyncio.run(run(found))


def with_migrated(action: Callable[..., Awaitable[T]], *, count: int = 1, existing: bool = False) -> T:
    """Runs an action on connections to a database that has been brought up to date."""

    async def run(*connections: Connection) -> T:
        with refusals():
            await migrate(connections[0])
        return await action(*connections)

    return with_connections(run, count=count, existing=existing)


def name_database(settings: Settings, *, existing: bool) -> None:
    """Says on standard error which embedded database is used, and refuses one that would have to be there already."""
    if settings.database_url:
        return
    folder = settings.data_dir.absolute()
    found = exists(folder)
    if existing and not found:
        raise CommandError(
            f"there is no database in {folder}: call this in the folder of the service, "
            f"or set REPORTSIM_DATA_DIR or DATABASE_URL as the service has it"
        )
    with contextlib.suppress(OSError):
        print(f"reportsim: the {'' if found else 'new '}database in {folder}", file=sys.stderr)
