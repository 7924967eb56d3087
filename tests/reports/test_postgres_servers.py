"""The same bytes from whatever server: the session's own, and the PostgreSQL of this machine in two orders of text."""

import asyncio
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from reportsim.reports.catalog import CATALOG
from reportsim.settings import Settings
from reportsim.store import ledgers
from reportsim.store.migrate import migrate
from reportsim.store.pool import connect, create_pool
from tests.conftest import DEMO_LINES, on_database, serving
from tests.reports.books import assert_equal, make, parameter_sets, read, request_for, store
from tests.reports.test_reports import TINY, small, sorted_oddly, told_badly

pytestmark = pytest.mark.slow

# Each gives the same order to nobody's texts but its own.
DATABASES: Final = {
    "c": "LOCALE 'C'",
    "icu": "LOCALE 'C' LOCALE_PROVIDER icu ICU_LOCALE 'en-US'",
}
PATIENCE_S: Final = 60


def other_user() -> pwd.struct_passwd | None:
    """Who runs the server in root's place; None when this is not root."""
    if os.geteuid():
        return None
    names = {entry.pw_name: entry for entry in pwd.getpwall() if entry.pw_uid}
    return next(names[name] for name in ("postgres", "pgserver", "nobody") if name in names)


@pytest.fixture(scope="module")
def installed_dsn() -> Iterator[str]:
    """A server of the PostgreSQL that this machine has, on a socket of its own, with both databases."""
    if (pg_config := shutil.which("pg_config")) is None:
        pytest.skip("no PostgreSQL is installed here")
    bindir = Path(subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=True).stdout.strip())
    if not (bindir / "initdb").exists():
        pytest.skip(f"{bindir} has no server")
    user = other_user()
    # Not in pytest's folder, which is closed to other users.
    with tempfile.TemporaryDirectory(prefix="reportsim-pg-") as folder:
        if user is not None:
            os.chown(folder, user.pw_uid, user.pw_gid)

        def run(program: str, *arguments: str) -> None:
            subprocess.run(
                [bindir / program, *arguments],
                user=user and user.pw_uid,
                group=user and user.pw_gid,
                extra_groups=user and [],
                cwd="/",
                env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
                stdout=subprocess.DEVNULL,
                check=True,
                timeout=PATIENCE_S,
            )

        data = f"{folder}/data"
        run("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        options = f"-h '' -k {folder} -p 5432 -c shared_buffers=32MB -c max_connections=40 -c fsync=off"
        run("pg_ctl", "-D", data, "-l", f"{folder}/log", "-o", options, "-w", "-t", f"{PATIENCE_S}", "start")
        try:
            dsn = f"postgresql://postgres@/postgres?host={folder}&port=5432"
            asyncio.run(make_databases(dsn))
            yield dsn
        finally:
            run("pg_ctl", "-D", data, "-m", "fast", "-w", "-t", f"{PATIENCE_S}", "stop")


async def make_databases(dsn: str) -> None:
    """Both databases, each with the ledgers demo and tiny."""
    connection = await connect(dsn)
    for name, locale in DATABASES.items():
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' {locale}")
    await connection.close()
    for name in DATABASES:
        connection = await connect(on_database(dsn, name))
        await migrate(connection)
        await ledgers.generate(connection, "demo", lines=DEMO_LINES, seed=42)
        await ledgers.generate(connection, "tiny", lines=40, seed=42)
        await connection.close()


def whole_year(report_type: str) -> dict[str, Any]:
    if report_type == "balance_sheet":
        return {"as_of": "2025-12-31"}
    return {"from": "2025-01-01", "to": "2026-01-01"}


@pytest.mark.parametrize("database", DATABASES)
async def test_servers_of_all_versions_make_the_same_bytes(dsn: str, installed_dsn: str, database: str) -> None:
    other = on_database(installed_dsn, database)
    connection = await connect(other)
    _, here = await read(connection, "demo")
    own = await connect(dsn)
    _, there = await read(own, "demo")
    await own.close()
    assert sorted(here.entries, key=repr) == sorted(there.entries, key=repr)
    async with create_pool(other, size=2, statement_cache=100) as pool:
        for report_type in CATALOG:
            for parameters in parameter_sets(here, report_type):
                await assert_equal(pool, 1, here, report_type, parameters)
        for book in (small(), small(exponent=0), sorted_oddly(), told_badly()):
            ledger_id = await store(connection, book)
            for report_type in CATALOG:
                for parameters in parameter_sets(book, report_type):
                    await assert_equal(pool, ledger_id, book, report_type, parameters)
    await connection.close()


@pytest.mark.parametrize("database", DATABASES)
async def test_sync_and_async_make_the_same_bytes_on_all_servers(
    settings: Settings, tmp_path: Path, installed_dsn: str, database: str
) -> None:
    addresses = {"own": settings.database_url, "installed": on_database(installed_dsn, database)}
    for report_type in CATALOG:
        found = set()
        for name, address in addresses.items():
            changed = replace(settings, database_url=address, data_dir=tmp_path / name)
            async with serving(changed) as service:
                body = {"ledger": "tiny", "report_type": report_type, "simulate": {"seed": 42}}
                async with service.client.post("/api/sync", json=body) as answer:
                    one = await answer.json()
                async with service.client.post("/api/async", json=body) as answer:
                    other: Any = await service.ended((await answer.json())["id"])
                found |= {one["result_payload"]["sha256"], other["result_payload"]["sha256"]}
        assert found == {TINY[report_type]}


@pytest.mark.parametrize("database", DATABASES)
async def test_the_installed_server_is_another_one(installed_dsn: str, database: str) -> None:
    async with create_pool(on_database(installed_dsn, database), size=1, statement_cache=0) as pool:
        assert int(await pool.fetchval("SHOW server_version_num")) >= 150_000
        in_order = await pool.fetchval("SELECT array_agg(c ORDER BY c) FROM unnest(ARRAY['B', 'a', 'é', 'f']) AS c")
        assert in_order == {"c": ["B", "a", "f", "é"], "icu": ["a", "B", "é", "f"]}[database]
        made, _ = await make(pool, request_for(2, "trial_balance", whole_year("trial_balance")))
        assert made.startswith(b"account_code,")
