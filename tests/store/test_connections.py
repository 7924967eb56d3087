"""Connections: the same session whatever the database's defaults are, poolers found out, errors told apart."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from reportsim.store.connector import DIRECT, LIMITS, Connector
from reportsim.store.engine_connections import EngineConnections
from reportsim.store.errors import OUTAGES, DatabaseMisconfigured, DatabaseTimeout, DatabaseUnavailable
from reportsim.store.pool import connect, create_pool
from tests.conftest import on_database
from tests.engine.jobs import until
from tests.pooler import pooled
from tests.store.databases import empty_database

ODD = {
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "statement_timeout": "1ms",
    "lock_timeout": "1ms",
    "idle_in_transaction_session_timeout": "1ms",
    "DateStyle": "SQL, DMY",
    "IntervalStyle": "sql_standard",
    "TimeZone": "Pacific/Apia",
    "bytea_output": "escape",
    "standard_conforming_strings": "off",
    "extra_float_digits": "-15",
    "synchronous_commit": "off",
}
EXPECTED = {
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "bytea_output": "hex",
    "standard_conforming_strings": "on",
    "extra_float_digits": "1",
    "synchronous_commit": "on",
}
ISOLATION = (
    "SELECT current_setting('transaction_isolation') || ' ' || current_setting('transaction_read_only') AS level"
)


@contextlib.asynccontextmanager
async def database_with(server_dsn: str, **settings: str) -> AsyncIterator[str]:
    """A database whose defaults are set."""
    async with empty_database(server_dsn) as dsn:
        name = dsn.partition("?")[0].rpartition("/")[2]
        connection = await connect(server_dsn)
        for setting, value in settings.items():
            await connection.execute(f"ALTER DATABASE {name} SET {setting} = '{value}'")
        await connection.close()
        yield dsn


@pytest.fixture(params=["transaction", "session", "statement"])
def pooler(request: pytest.FixtureRequest, server_dsn: str) -> Iterator[str]:
    with pooled(server_dsn, mode=request.param) as address:
        yield address


class TestSessions:
    @pytest.mark.parametrize("setting", ODD)
    async def test_a_default_of_the_database_changes_nothing(self, server_dsn: str, setting: str) -> None:
        async with database_with(server_dsn, **{setting: ODD[setting]}) as dsn:
            connection = await connect(dsn)
            assert await connection.fetchval("SELECT current_setting($1)", setting) == EXPECTED[setting]
            await connection.close()

    async def test_what_the_address_says_counts(self, server_dsn: str) -> None:
        separator = "&" if "?" in server_dsn else "?"
        for given in (
            "statement_timeout=7s",
            "options=-c%20statement_timeout%3D7s",
            "options=--statement-timeout%3D7s",
        ):
            connection = await connect(f"{server_dsn}{separator}{given}&search_path=pg_catalog")
            assert await connection.fetchval("SHOW statement_timeout") == "7s"
            assert await connection.fetchval("SHOW search_path") == "pg_catalog"
            await connection.close()

    @pytest.mark.parametrize("level", ["serializable", "repeatable read"])
    @pytest.mark.parametrize("mode", [None, "transaction", "session"])
    async def test_every_statement_is_at_read_committed(self, server_dsn: str, level: str, mode: str | None) -> None:
        odd = {"default_transaction_isolation": level, "default_transaction_read_only": "on"}
        async with database_with(server_dsn, **odd) as direct:
            with pooled(direct, mode=mode) if mode else contextlib.nullcontext(direct) as dsn:
                connection = await connect(dsn)
                lines = EngineConnections(dsn, statement_cache=100)
                async with create_pool(dsn, size=1, statement_cache=100) as pool:
                    found = [await source.fetch(ISOLATION) for source in (connection, lines, pool)]
                    await pool.execute("CREATE TABLE written (n integer)")
                async with connection.transaction():
                    found.append(await connection.fetch(ISOLATION))
                lines.close()
                await connection.close()
        assert [rows[0]["level"] for rows in found] == ["read committed off"] * 4


class TestPoolers:
    @pytest.mark.parametrize("level", ["read committed", "serializable"])
    async def test_a_statement_that_fails_leaves_its_connection_as_it_was(self, server_dsn: str, level: str) -> None:
        """Whether the database refuses it, it takes too long, or whoever runs it is cancelled."""
        async with database_with(server_dsn, default_transaction_isolation=level) as direct:
            with pooled(direct, extra="default_pool_size = 1") as dsn:
                async with create_pool(dsn, size=1, statement_cache=100) as pool:
                    lines = EngineConnections(dsn, statement_cache=100, size=1)
                    for source in (pool, lines):
                        with pytest.raises(asyncpg.DivisionByZeroError):
                            await source.fetch("SELECT 1 / $1::int", 0)
                        assert [row["n"] for row in await source.fetch("SELECT 1 AS n")] == [1]
                        with pytest.raises(DatabaseTimeout):
                            async with source.acquire() as connection:
                                await connection.fetch("SELECT pg_sleep(60)", timeout=0.1)
                        assert [row["n"] for row in await source.fetch("SELECT 1 AS n")] == [1]
                        with pytest.raises(TimeoutError):
                            async with asyncio.timeout(0.1):
                                await source.fetch("SELECT pg_sleep(60)")
                        assert [row["n"] for row in await source.fetch("SELECT 1 AS n")] == [1]
                    lines.close()

    async def test_a_connection_that_cannot_roll_back_is_closed_and_the_first_error_is_raised(
        self, server_dsn: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("reportsim.store.connection.ROLLBACK_S", 0.05)
        connection: Any = await connect(server_dsn)
        connection.begin = "BEGIN"
        execute = asyncpg.Connection.execute

        async def hang_at_rollback(self: Any, query: str, *args: Any, **options: Any) -> str:
            return await execute(self, "SELECT pg_sleep(9)" if query == "ROLLBACK" else query, *args, **options)

        monkeypatch.setattr(asyncpg.Connection, "execute", hang_at_rollback)
        with pytest.raises(asyncpg.DivisionByZeroError):
            await connection.fetchval("SELECT 1 / $1::int", 0)
        assert connection.is_closed()

    async def test_one_is_found_out(self, pooler: str) -> None:
        connector = Connector(pooler, statement_cache=100)
        connections = [await connector.connect() for _ in range(3)]
        assert connector.pooled
        for _ in range(3):
            # With prepared statements, the second one of a name is refused, or belongs to somebody else.
            found = await asyncio.gather(*(one.fetchval("SELECT $1::int + 1", 41) for one in connections))
            assert found == [42] * 3
        for connection in connections:
            await connection.close()

    async def test_one_that_ignores_what_it_is_asked_for_is_found_out(self, server_dsn: str) -> None:
        names = ", ".join((*DIRECT, *LIMITS))
        with pooled(server_dsn, extra=f"ignore_startup_parameters = {names}") as address:
            connector = Connector(address, statement_cache=100)
            connection = await connector.connect()
            assert connector.pooled
            assert await connection.fetchval("SELECT count(*) FROM pg_prepared_statements") == 0
            await connection.close()

    async def test_one_is_named_in_the_address(self, pooler: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Connector, "find_pooler", lambda _: pytest.fail("known before"))
        connection = await connect(f"{pooler}?pgbouncer=true", statement_cache=100)
        assert await connection.fetchval("SELECT $1::int", 1) == 1
        await connection.close()

    async def test_none_is_suspected_where_there_is_none(self, server_dsn: str) -> None:
        connector = Connector(server_dsn, statement_cache=100)
        await (await connector.connect()).close()
        assert not connector.pooled

    async def test_statements_that_do_not_last_are_not_prepared_any_more(self, server_dsn: str) -> None:
        """As behind a pooler that cannot be told from a server."""
        connector = Connector(server_dsn, statement_cache=100)
        connection = await connector.connect()
        await connection.fetchval("SELECT $1::int", 1)
        await connection.execute("DEALLOCATE ALL")
        with pytest.raises(DatabaseUnavailable, match="prepared statements do not last"):
            await connection.fetchval("SELECT $1::int", 1)
        assert connection.is_closed()
        again = await connector.connect()
        await again.fetchval("SELECT $1::int", 1)
        await again.execute("DEALLOCATE ALL")
        assert await again.fetchval("SELECT $1::int", 1) == 1
        await again.close()

    async def test_a_parameter_that_it_does_not_pass_on_is_named(self, server_dsn: str) -> None:
        with pooled(server_dsn) as address:
            for parameter in ("schema=reports", "options=-c%20jit%3Doff", "work_mem=64MB"):
                with pytest.raises(DatabaseMisconfigured, match=r"^DATABASE_URL: .*(search_path|options|work_mem)"):
                    await connect(f"{address}?{parameter}")


class TestMistakes:
    """What no waiting mends."""

    @pytest.mark.parametrize(
        ("parameters", "named"),
        [
            ("sslmode=verify-full&host=127.0.0.1", "root certificate"),
            ("sslmode=require&sslrootcert=/nowhere/ca.crt&host=127.0.0.1", "/nowhere/ca.crt"),
            ("sslcert=/nowhere/client.crt", "/nowhere/client.crt"),
            ("passfile=/nowhere/.pgpass", "/nowhere/.pgpass"),
            ("service=accounting&servicefile=/dev/null", "servicefile"),
        ],
    )
    async def test_files_that_are_not_there(self, parameters: str, named: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", "/nowhere")
        with pytest.raises(DatabaseMisconfigured, match=named):
            await connect(f"postgresql://ann@/books?{parameters}")

    async def test_a_file_that_is_no_certificate(self, tmp_path: Path) -> None:
        (tmp_path / "ca.crt").write_text("nothing of the kind")
        with pytest.raises(DatabaseMisconfigured, match=r"ca\.crt"):
            await connect(f"postgresql://ann@localhost/books?sslmode=verify-ca&sslrootcert={tmp_path}/ca.crt")

    async def test_a_service_that_is_not_listed(self, tmp_path: Path) -> None:
        (tmp_path / "services").write_text("[books]\nhost=localhost\n")
        with pytest.raises(DatabaseMisconfigured, match="accounting"):
            await connect(f"postgresql://?service=accounting&servicefile={tmp_path}/services")

    async def test_a_database_that_is_not_there(self, server_dsn: str) -> None:
        with pytest.raises(DatabaseMisconfigured, match=r'^DATABASE_URL: database "nowhere" does not exist$'):
            await connect(on_database(server_dsn, "nowhere"))

    async def test_a_role_that_is_not_there(self, server_dsn: str) -> None:
        separator = "&" if "?" in server_dsn else "?"
        with pytest.raises(DatabaseMisconfigured, match="nobody_of_this_name"):
            await connect(f"{server_dsn}{separator}user=nobody_of_this_name")

    async def test_a_setting_that_the_server_refuses(self, server_dsn: str) -> None:
        separator = "&" if "?" in server_dsn else "?"
        with pytest.raises(DatabaseMisconfigured, match="work_mem"):
            await connect(f"{server_dsn}{separator}work_mem=plenty")

    async def test_a_server_without_tls(self, server_dsn: str) -> None:
        with pooled(server_dsn) as address, pytest.raises(DatabaseMisconfigured, match="TLS"):
            await connect(f"{address}?sslmode=require")

    @pytest.mark.parametrize(("variable", "value"), [("PGPORT", "many"), ("PGSSLMODE", "insist")])
    async def test_variables_that_complete_an_address(
        self, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
    ) -> None:
        monkeypatch.setenv(variable, value)
        with pytest.raises(DatabaseMisconfigured, match=r"^DATABASE_URL: [^\n]+$"):
            await connect("postgresql://ann@127.0.0.1/books")

    @pytest.mark.parametrize(
        "address", ["postgresql://ann@127.0.0.1:1/books", "postgresql://ann@nowhere.invalid/books"]
    )
    async def test_a_server_that_is_not_there_is_none(self, address: str) -> None:
        with pytest.raises(DatabaseUnavailable) as caught:
            await connect(address)
        assert not isinstance(caught.value, DatabaseMisconfigured)


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield int(listening.getsockname()[1])


class TestSeveralHosts:
    async def test_the_next_is_tried(self, server_dsn: str, silent: int) -> None:
        with pooled(server_dsn) as address:
            for first in ("127.0.0.1:1", f"127.0.0.1:{silent}", "nowhere.invalid:5432"):
                connection = await connect(address.replace("@", f"@{first},", 1) + "?connect_timeout=1")
                assert await connection.fetchval("SELECT 1") == 1
                await connection.close()

    async def test_none_is_there(self, silent: int) -> None:
        with pytest.raises(DatabaseUnavailable, match=r"Connect call failed.*; .*did not answer in time"):
            await connect(f"postgresql://ann@127.0.0.1:1,127.0.0.1:{silent}/books?connect_timeout=1")


async def fetch_one(connection: Any) -> None:
    await connection.fetchval("SELECT 1")


async def fetch_rows(connection: Any) -> None:
    await connection.fetch("SELECT $1::int", 1)


async def execute(connection: Any) -> None:
    await connection.execute("SELECT 1")


async def copy_rows(connection: Any) -> None:
    async def write(data: bytes) -> None:
        raise AssertionError(data)

    await connection.copy_from_query("SELECT 1", output=write)


async def in_transaction(connection: Any) -> None:
    async with connection.transaction():
        await connection.fetchval("SELECT 1")


class TestErrors:
    async def test_misuse_is_no_outage(self, server_dsn: str) -> None:
        connection = await connect(server_dsn)
        first = asyncio.create_task(connection.fetchval("SELECT pg_sleep(0.2)"))
        await asyncio.sleep(0)
        with pytest.raises(asyncpg.InterfaceError) as caught:
            await connection.fetchval("SELECT 1")
        assert not isinstance(caught.value, OUTAGES)
        await first
        await connection.close()

    async def test_a_lost_connection_is_one(self, server_dsn: str) -> None:
        connection = await connect(server_dsn)
        connection.terminate()
        with pytest.raises(DatabaseUnavailable):
            await connection.fetchval("SELECT 1")

    @pytest.mark.parametrize("statement", [fetch_one, fetch_rows, execute, copy_rows, in_transaction])
    async def test_a_connection_that_was_told_of_its_end_and_is_still_open_is_one(
        self, server_dsn: str, statement: Callable[[Any], Awaitable[Any]]
    ) -> None:
        connection: Any = await connect(server_dsn)
        fields = b"SFATAL\0VFATAL\0C57P01\0Mterminating connection\0\0"
        connection._protocol.data_received(b"E" + (4 + len(fields)).to_bytes(4, "big") + fields)
        assert not connection.is_closed()
        with pytest.raises(DatabaseUnavailable):
            await statement(connection)
        assert connection.is_closed()

    async def test_a_pool_that_is_closed_is_one(self, server_dsn: str) -> None:
        async with create_pool(server_dsn, size=1, statement_cache=0) as pool:
            pass
        with pytest.raises(DatabaseUnavailable):
            await pool.fetchval("SELECT 1")

    async def test_a_statement_that_hangs_is_one(self, server_dsn: str) -> None:
        connection = await connect(server_dsn)
        with pytest.raises(DatabaseTimeout):
            await connection.fetchval("SELECT pg_sleep(9)", timeout=0.05)
        await connection.close()

    async def test_a_file_that_cannot_be_written_is_none(self, server_dsn: str) -> None:
        connection = await connect(server_dsn)

        async def full(_: bytes) -> None:
            raise OSError(errno.ENOSPC, "no space")

        with pytest.raises(OSError, match="no space") as caught:
            await connection.copy_from_query("SELECT 1", output=full)
        assert not isinstance(caught.value, OUTAGES)
        connection.terminate()

    @pytest.mark.parametrize(
        "error", [OSError(errno.EMFILE, "x"), FileNotFoundError(2, "x"), TimeoutError(), asyncpg.InterfaceError("x")]
    )
    def test_those_of_others_are_none(self, error: Exception) -> None:
        assert not isinstance(error, OUTAGES)


async def with_locks(dsn: str, act: Callable[[Any], Any]) -> None:
    """Makes another session and ours take two rows in opposite order, so that ours is the victim."""
    other, ours = await connect(dsn), await connect(dsn)
    await other.execute(
        "CREATE TABLE pairs (id integer PRIMARY KEY, n integer); INSERT INTO pairs VALUES (1, 0), (2, 0)"
    )
    await other.execute("SET deadlock_timeout = '60s'")
    await ours.execute("SET deadlock_timeout = '500ms'")
    try:
        async with other.transaction():
            await other.execute("UPDATE pairs SET n = n + 1 WHERE id = 2")
            acting = asyncio.create_task(act(ours))
            await until(lambda: other.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"))
            await other.execute("UPDATE pairs SET n = n + 1 WHERE id = 1")
        await acting
        assert await other.fetchval("SELECT array_agg(n) FROM pairs") == [2, 2]
    finally:
        await other.close()
        await ours.close()


class TestConflicts:
    ORDERED = """
    WITH rows AS (SELECT id FROM pairs ORDER BY id FOR UPDATE)
    UPDATE pairs p SET n = n + 1 FROM rows WHERE p.id = rows.id
    """

    async def test_the_victim_of_a_deadlock_is_repeated(self, empty_dsn: str) -> None:
        await with_locks(empty_dsn, lambda connection: connection.execute(self.ORDERED))

    async def test_with_arguments_too(self, empty_dsn: str) -> None:
        ordered = self.ORDERED.replace("n + 1", "n + $1::integer") + " RETURNING p.id"
        await with_locks(empty_dsn, lambda connection: connection.fetch(ordered, 1))

    async def test_what_loses_every_time_is_an_outage(self, server_dsn: str) -> None:
        connection = await connect(server_dsn)
        lose = "DO $$ BEGIN RAISE SQLSTATE '40001'; END $$"
        with pytest.raises(asyncpg.SerializationError) as caught:
            await connection.execute(lose)
        assert isinstance(caught.value, OUTAGES)
        await connection.close()

    async def test_inside_a_transaction_nothing_is_repeated(self, empty_dsn: str) -> None:
        connection = await connect(empty_dsn)
        await connection.execute("CREATE SEQUENCE counted")
        lose = "DO $$ BEGIN PERFORM nextval('counted'); RAISE SQLSTATE '40001'; END $$"
        with pytest.raises(asyncpg.SerializationError):
            async with connection.transaction():
                await connection.execute(lose)
        assert await connection.fetchval("SELECT last_value FROM counted") == 1
        await connection.close()
