"""Migrations: numbered SQL files, applied forward in one transaction each, by one process at a time."""

import asyncio
import hashlib
import logging
import re
import time
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final

import asyncpg

from reportsim.store.errors import misconfiguration
from reportsim.store.pool import Connection

log = logging.getLogger(__name__)

LOCK: Final = 0x7265706F7274
# Large tables take as long as they take; somebody is watching.
LONGEST_S: Final = 86_400.0
# Statements on a table queue behind a migration that waits for its lock: so it waits briefly, and tries again.
LOCK_TIMEOUT: Final = "2s"
LOCK_PAUSE_S: Final = 1.0
LOCK_PATIENCE_S: Final = 300.0
NAME: Final = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")

CREATE_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    number     integer PRIMARY KEY,
    name       text NOT NULL,
    checksum   text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""
SELECT_APPLIED = "SELECT number, name, checksum FROM schema_migrations ORDER BY number"
TABLE_EXISTS = "SELECT to_regclass('schema_migrations') IS NOT NULL"
INSERT_APPLIED = "INSERT INTO schema_migrations (number, name, checksum) VALUES ($1, $2, $3)"
TAKE_LOCK: Final = "SELECT pg_advisory_xact_lock($1)"
NO_LIMITS = "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0"
SET_LOCK_TIMEOUT = "SELECT set_config('lock_timeout', $1, true)"


class MigrationError(Exception):
    """The files and the database do not fit together; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: its place in the order, its name and its text."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """The SHA-256 of the text; an applied file must never change."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def load(folder: Traversable | None = None) -> list[Migration]:
    """Reads the files in order; gaps, twins and odd names are errors."""
    source = folder or resources.files("reportsim.migrations")
    found = sorted((item for item in source.iterdir() if item.name.endswith(".sql")), key=lambda item: item.name)
    migrations = []
    for expected, item in enumerate(found, start=1):
        match = NAME.fullmatch(item.name)
        if match is None or int(match[1]) != expected:
            raise MigrationError(f"{item.name}: expected a name that starts with {expected:04}_")
        migrations.append(Migration(expected, item.name, item.read_text(encoding="utf-8")))
    return migrations


async def migrate(connection: Connection, migrations: list[Migration] | None = None) -> list[str]:
    """Brings the database up to date and returns the names of the files that were applied.

    Replicas that run meanwhile are not held up: locks that do not come soon are given up and tried for again.

    Raises:
        MigrationError: an applied file was edited, the database is ahead of this build, or its tables stay locked.
        DatabaseMisconfigured: the role may not do it.
    """
    files = load() if migrations is None else migrations
    if await connection.fetchval(TABLE_EXISTS) and not pending(files, await connection.fetch(SELECT_APPLIED)):
        return []
    deadline = time.monotonic() + LOCK_PATIENCE_S
    while True:
        try:
            return await apply(connection, files)
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
            if time.monotonic() >= deadline:
                raise MigrationError(f"the tables stay locked by other sessions: {error}") from None
            log.warning("a migration waits until running replicas leave it a moment: %s", error)
        except asyncpg.PostgresError as error:
            if (mistake := misconfiguration(error)) is not None:
                raise mistake from error
            raise
        await asyncio.sleep(LOCK_PAUSE_S)


async def apply(connection: Connection, files: list[Migration]) -> list[str]:
    """Applies what is missing in one transaction, alone among those who do so."""
    async with connection.transaction():
        await connection.execute(NO_LIMITS)
        await connection.execute(TAKE_LOCK, LOCK, timeout=LONGEST_S)
        await connection.execute(SET_LOCK_TIMEOUT, LOCK_TIMEOUT)
        await connection.execute(CREATE_TABLE)
        missing = pending(files, await connection.fetch(SELECT_APPLIED))
        for migration in missing:
            await connection.execute(migration.sql, timeout=LONGEST_S)
            await connection.execute(INSERT_APPLIED, migration.number, migration.name, migration.checksum)
    return [migration.name for migration in missing]


async def is_current(connection: Connection) -> bool:
    """Whether every file of this build, and no other, has been applied."""
    if not await connection.fetchval(TABLE_EXISTS):
        return False
    return not pending(load(), await connection.fetch(SELECT_APPLIED))


def pending(files: list[Migration], applied: list[asyncpg.Record]) -> list[Migration]:
    """The files still to be applied, after checking that those applied are the same."""
    if len(applied) > len(files):
        raise MigrationError(f"the database is ahead of this build: it has {applied[-1]['name']}")
    for migration, row in zip(files, applied, strict=False):
        if (migration.number, migration.checksum) != (row["number"], row["checksum"]):
            raise MigrationError(f"{migration.name} was changed after it had been applied")
    return files[len(applied) :]
