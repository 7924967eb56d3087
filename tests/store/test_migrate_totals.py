"""The migration that gives ledgers their kept totals: the same as an import writes, with readers going on."""

import asyncio
from datetime import date
from typing import Final

import asyncpg
import pytest

from reportsim.store import ledger_totals, ledgers
from reportsim.store import migrate as module
from reportsim.store.ledger_totals import verify
from reportsim.store.migrate import load, migrate
from reportsim.store.pool import Connection, connect
from tests.engine.jobs import until

BEFORE: Final = [migration for migration in load() if migration.number < 7]
# How the build before wrote the balances of a version.
WRITE_BEFORE: Final = """
INSERT INTO balances (ledger_id, account_id, version, day, amount)
SELECT $1, account_id, $2, posted_on, sum(sum(amount)) OVER (PARTITION BY account_id ORDER BY posted_on)
FROM postings WHERE ledger_id = $1 AND version = $2 GROUP BY account_id, posted_on
"""
ROWS: Final = "SELECT b::text AS row FROM balances AS b ORDER BY ledger_id, account_id, day, version"


async def populate(connection: Connection, *, lines: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ledgers of the build before, one of them with later versions that go back in time and on."""

    async def write(connection: Connection, ledger_id: int, version: int, lines: int) -> None:
        await connection.execute(WRITE_BEFORE, ledger_id, version, timeout=600)

    monkeypatch.setattr(ledger_totals, "write", write)
    await ledgers.generate(connection, "demo", lines=lines, seed=42)
    made = await ledgers.generate(connection, "tiny", lines=40, seed=1)
    for version, first in ((2, "2024-12-01"), (3, "2025-06-01"), (4, "2026-02-01")):
        await connection.execute(
            "INSERT INTO postings SELECT ledger_id, transaction_id + 1000 * $2, line_no, account_id, $2,"
            " $3::date + posted_on % 7 * 3, amount, description FROM ("
            " SELECT *, posted_on - DATE '2025-01-01' AS n FROM postings WHERE ledger_id = $1 AND version = 1)"
            " AS p".replace("posted_on % 7", "n % 7"),
            made.ledger_id,
            version,
            date.fromisoformat(first),
        )
        await write(connection, made.ledger_id, version, 40)
    await connection.execute(
        "UPDATE ledgers SET version = 4, lines = 160, first_on = '2024-12-01', last_on = '2026-02-28'"
        " WHERE ledger_id = $1",
        made.ledger_id,
    )
    monkeypatch.undo()


async def test_ledgers_get_the_totals_that_an_import_writes(empty_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = await connect(empty_dsn)
    await migrate(connection, BEFORE)
    await populate(connection, lines=2_000, monkeypatch=monkeypatch)
    await migrate(connection)
    migrated = [row["row"] for row in await connection.fetch(ROWS)]
    for ledger in await ledgers.all_ledgers(connection):
        assert await verify(connection, ledger) == []
        await connection.execute("DELETE FROM balances WHERE ledger_id = $1", ledger.ledger_id)
        for version in range(1, ledger.version + 1):
            await ledger_totals.write(connection, ledger.ledger_id, version, ledger.lines)
    assert [row["row"] for row in await connection.fetch(ROWS)] == migrated
    await connection.close()


async def test_the_import_of_the_build_before_fails_after_it(empty_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = await connect(empty_dsn)
    await migrate(connection, BEFORE)
    await populate(connection, lines=40, monkeypatch=monkeypatch)
    await migrate(connection)
    ledger_id = await connection.fetchval("SELECT ledger_id FROM ledgers WHERE name = 'demo'")
    await connection.execute("DELETE FROM balances WHERE ledger_id = $1", ledger_id)
    with pytest.raises(asyncpg.NotNullViolationError):
        await connection.execute(WRITE_BEFORE, ledger_id, 1)
    await connection.close()


async def test_readers_go_on_and_imports_wait_until_it_is_done(empty_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that holds the table keeps the migration waiting at its very end, where all is computed."""
    monkeypatch.setattr(module, "LOCK_PAUSE_S", 0.05)
    connection, reader, second, writer = [await connect(empty_dsn) for _ in range(4)]
    await migrate(connection, BEFORE)
    await populate(connection, lines=40, monkeypatch=monkeypatch)
    monkeypatch.setattr(module, "LOCK_TIMEOUT", "10s")
    async with reader.transaction():
        assert await reader.fetchval("SELECT count(*) FROM balances") > 0
        migrating = asyncio.create_task(migrate(connection))
        waiting = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock')"
        await until(lambda: second.fetchval(waiting))
        await writer.execute("SET lock_timeout = '10ms'")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await writer.execute("DELETE FROM balances")
    assert await migrating == [migration.name for migration in load()[len(BEFORE) :]]
    for opened in (connection, reader, second, writer):
        await opened.close()


# How the build before migration 9 ended an import.
SUMMARIZE_BEFORE: Final = "SELECT brin_summarize_new_values('postings_version')"


async def test_versions_get_their_index_while_readers_go_on(empty_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    connection, reader = [await connect(empty_dsn) for _ in range(2)]
    await migrate(connection, [migration for migration in load() if migration.number < 9])
    monkeypatch.setattr(ledger_totals, "SUMMARIZE", SUMMARIZE_BEFORE)
    ledger = await ledgers.generate(connection, "before", lines=2_000, seed=42)
    monkeypatch.undo()
    async with reader.transaction():
        assert await reader.fetchval("SELECT count(*) FROM balances") > 0
        assert "0009_balances_version.sql" in await migrate(connection)
    assert await verify(connection, ledger) == []
    # A replica of either build goes on importing.
    for name, summarize in (("older", SUMMARIZE_BEFORE), ("newer", ledger_totals.SUMMARIZE)):
        monkeypatch.setattr(ledger_totals, "SUMMARIZE", summarize)
        assert await verify(connection, await ledgers.generate(connection, name, lines=400, seed=1)) == []
    for opened in (connection, reader):
        await opened.close()
