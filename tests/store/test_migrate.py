"""Migrations: applied once, in order, whole or not at all; what does not fit together is refused."""

import asyncio
import uuid
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from reportsim.store import connector as connections_module
from reportsim.store import migrate as module
from reportsim.store.errors import DatabaseMisconfigured
from reportsim.store.migrate import Migration, MigrationError, is_current, load, migrate
from reportsim.store.pool import connect
from tests.engine.jobs import until

FIRST = Migration(1, "0001_first.sql", "CREATE TABLE first (id integer)")
SECOND = Migration(2, "0002_second.sql", "INSERT INTO first VALUES (1); CREATE TABLE second (id integer)")
BROKEN = Migration(3, "0003_broken.sql", "CREATE TABLE third (id integer); INSERT INTO nowhere VALUES (1)")


async def tables(dsn: str) -> set[str]:
    connection = await connect(dsn)
    rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    await connection.close()
    return {row["tablename"] for row in rows}


async def apply(dsn: str, *migrations: Migration) -> list[str]:
    connection = await connect(dsn)
    try:
        return await migrate(connection, list(migrations) or None)
    finally:
        await connection.close()


async def test_a_fresh_database_gets_every_file_and_the_second_time_none(empty_dsn: str) -> None:
    assert await apply(empty_dsn) == [migration.name for migration in load()]
    assert await tables(empty_dsn) >= {"requests", "callback_logs", "ledgers", "postings", "schema_migrations"}
    assert await apply(empty_dsn) == []


async def test_a_newer_build_applies_only_what_is_new_and_keeps_the_rows(empty_dsn: str) -> None:
    assert await apply(empty_dsn, FIRST) == [FIRST.name]
    assert await apply(empty_dsn, FIRST, SECOND) == [SECOND.name]
    connection = await connect(empty_dsn)
    assert await connection.fetchval("SELECT count(*) FROM first") == 1
    await connection.close()


async def test_five_starters_at_once_apply_each_file_once(empty_dsn: str) -> None:
    applied = await asyncio.gather(*(apply(empty_dsn) for _ in range(5)))
    assert sorted(applied) == [[], [], [], [], [migration.name for migration in load()]]


async def test_a_file_edited_after_it_was_applied_is_refused(empty_dsn: str) -> None:
    await apply(empty_dsn, FIRST, SECOND)
    edited = Migration(1, FIRST.name, FIRST.sql + " -- edited")
    with pytest.raises(MigrationError, match=r"0001_first\.sql was changed after it had been applied"):
        await apply(empty_dsn, edited, SECOND)


async def test_a_database_ahead_of_the_build_is_refused(empty_dsn: str) -> None:
    await apply(empty_dsn, FIRST, SECOND)
    with pytest.raises(MigrationError, match=r"ahead of this build: it has 0002_second\.sql"):
        await apply(empty_dsn, FIRST)


async def test_broken_sql_leaves_nothing_of_any_file(empty_dsn: str) -> None:
    with pytest.raises(asyncpg.UndefinedTableError):
        await apply(empty_dsn, FIRST, SECOND, BROKEN)
    assert await tables(empty_dsn) == set()
    assert await apply(empty_dsn, FIRST, SECOND) == [FIRST.name, SECOND.name]


async def test_the_database_is_current_after_all_files_of_this_build_only(empty_dsn: str) -> None:
    connection = await connect(empty_dsn)
    assert not await is_current(connection)
    await migrate(connection, load()[:1])
    assert not await is_current(connection)
    await migrate(connection)
    assert await is_current(connection)
    await connection.execute("INSERT INTO schema_migrations VALUES (9999, '9999_future.sql', 'x')")
    with pytest.raises(MigrationError, match="ahead"):
        await is_current(connection)
    await connection.close()


def test_files_are_read_in_order_with_their_checksums(tmp_path: Path) -> None:
    for name, text in (("0002_b.sql", "B"), ("0001_a.sql", "A"), ("README", "no migration")):
        (tmp_path / name).write_text(text)
    found = load(tmp_path)
    assert [(migration.number, migration.name, migration.sql) for migration in found] == [
        (1, "0001_a.sql", "A"),
        (2, "0002_b.sql", "B"),
    ]
    assert found[0].checksum != found[1].checksum


@pytest.mark.parametrize(
    ("names", "culprit"),
    [
        pytest.param(["0001_a.sql", "0003_c.sql"], "0003_c.sql", id="gap"),
        pytest.param(["0002_b.sql"], "0002_b.sql", id="late start"),
        pytest.param(["0000_z.sql", "0001_a.sql"], "0000_z.sql", id="zero"),
        pytest.param(["0001_a.sql", "0001_b.sql"], "0001_b.sql", id="twins"),
        pytest.param(["0001_a.sql", "notes.sql"], "notes.sql", id="no number"),
        pytest.param(["1_a.sql"], "1_a.sql", id="short number"),
        pytest.param(["0001_A.sql"], "0001_A.sql", id="capitals"),
    ],
)
def test_gaps_twins_and_odd_names_are_refused(tmp_path: Path, names: list[str], culprit: str) -> None:
    for name in names:
        (tmp_path / name).write_text("SELECT 1")
    with pytest.raises(MigrationError, match=f"^{culprit}: expected"):
        load(tmp_path)


def test_the_files_of_this_build_are_sound() -> None:
    assert [migration.number for migration in load()] == list(range(1, len(load()) + 1))


@pytest.mark.parametrize("change", [str.upper, lambda sql: sql + "\n"])
def test_the_checksum_is_that_of_the_whole_text(change: Callable[[str], str]) -> None:
    assert Migration(1, FIRST.name, change(FIRST.sql)).checksum != FIRST.checksum


async def test_one_that_takes_longer_than_a_statement_may_is_waited_for(
    empty_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections_module, "STATEMENT_TIMEOUT_S", 0.2)
    long = Migration(2, "0002_long.sql", "SELECT pg_sleep(0.5); CREATE TABLE second (id integer)")
    assert await apply(empty_dsn, FIRST, long) == [FIRST.name, long.name]


async def test_so_is_another_starter_that_takes_as_long(empty_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections_module, "STATEMENT_TIMEOUT_S", 0.2)
    monkeypatch.setattr(module, "LOCK_TIMEOUT", "50ms")
    long = Migration(1, "0001_long.sql", "SELECT pg_sleep(0.5); CREATE TABLE first (id integer)")
    assert sorted(await asyncio.gather(*(apply(empty_dsn, long) for _ in range(2)))) == [[], [long.name]]


async def test_readers_do_not_stand_behind_one_that_waits(empty_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader holds the table; another one must get at it although the migration wants it for itself."""
    monkeypatch.setattr(module, "LOCK_TIMEOUT", "50ms")
    monkeypatch.setattr(module, "LOCK_PAUSE_S", 0.05)
    await apply(empty_dsn, FIRST)
    reader, second = await connect(empty_dsn), await connect(empty_dsn)
    async with reader.transaction():
        await reader.fetch("SELECT * FROM first")
        alter = Migration(2, "0002_alter.sql", "ALTER TABLE first ADD COLUMN n integer")
        migrating = asyncio.create_task(apply(empty_dsn, FIRST, alter))
        waiting = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock')"
        await until(lambda: second.fetchval(waiting))
        assert await second.fetch("SELECT * FROM first") == []
        assert not migrating.done()
    assert await migrating == [alter.name]
    await reader.close()
    await second.close()


async def test_tables_that_stay_locked_are_said_to_be(empty_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOCK_TIMEOUT", "10ms")
    monkeypatch.setattr(module, "LOCK_PATIENCE_S", 0.0)
    await apply(empty_dsn, FIRST)
    reader = await connect(empty_dsn)
    async with reader.transaction():
        await reader.fetch("SELECT * FROM first")
        with pytest.raises(MigrationError, match="stay locked by other sessions"):
            async with asyncio.timeout(20):
                await apply(empty_dsn, FIRST, Migration(2, "0002_drop.sql", "DROP TABLE first"))
    await reader.close()


async def test_a_role_that_may_not_is_told_so_once_there_is_something_to_do(empty_dsn: str) -> None:
    owner = await connect(empty_dsn)
    role = f"clerk_{uuid.uuid4().hex}"
    await owner.execute(f"CREATE ROLE {role} LOGIN")
    separator = "&" if "?" in empty_dsn else "?"
    clerk = f"{empty_dsn}{separator}user={role}"
    try:
        with pytest.raises(
            DatabaseMisconfigured, match=r"^DATABASE_URL: permission denied for schema public: GRANT CREATE"
        ):
            await apply(clerk, FIRST)
        await apply(empty_dsn, FIRST)
        await owner.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
        assert await apply(clerk, FIRST) == []
    finally:
        await owner.execute(f"DROP OWNED BY {role}")
        await owner.execute(f"DROP ROLE {role}")
        await owner.close()


async def test_a_search_path_without_a_schema_is_said_to_be_one(empty_dsn: str) -> None:
    separator = "&" if "?" in empty_dsn else "?"
    with pytest.raises(DatabaseMisconfigured, match="search_path"):
        await apply(f"{empty_dsn}{separator}search_path=nowhere", FIRST)


async def test_tables_are_made_in_the_schema_that_the_address_names(empty_dsn: str) -> None:
    connection = await connect(empty_dsn)
    await connection.execute("CREATE SCHEMA reports")
    separator = "&" if "?" in empty_dsn else "?"
    await apply(f"{empty_dsn}{separator}schema=reports", FIRST)
    found = await connection.fetch("SELECT schemaname FROM pg_tables WHERE tablename IN ('first', 'schema_migrations')")
    assert {row["schemaname"] for row in found} == {"reports"}
    await connection.close()
