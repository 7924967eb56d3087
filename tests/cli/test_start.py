"""Starts that cannot work: one line that names what is wrong, exit code 1, nothing left running."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Final

import psutil
import pytest

from reportsim.store.migrate import migrate
from reportsim.store.pool import connect
from tests.conftest import on_database
from tests.faults.database import own_database
from tests.store.databases import empty_database

LONGEST_S: Final = 60
# Loaded while the files can be read: what is tested is the folder.
AS_NOBODY: Final = """
import encodings.idna, os, uvloop
import reportsim.cli.serve
from reportsim.__main__ import main
os.setuid(65534)
raise SystemExit(main(["serve"]))
"""
# A service whose background task dies once it is ready.
BREAKING: Final = """
import asyncio, sys
from importlib import import_module
from reportsim.__main__ import main
module, part, method = sys.argv[1].split(":")
part = getattr(import_module(module), part)

async def fragile(self, *arguments):
    await asyncio.sleep(1)
    raise ZeroDivisionError

setattr(part, method, fragile)
raise SystemExit(main(["serve"]))
"""
Environ = dict[str, str]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not below pytest's own folder, which every other session of root closes to the server's user."""
    with tempfile.TemporaryDirectory(prefix="reportsim-test-") as made:
        yield Path(made)


def works_in(folder: Path) -> list[str]:
    """The processes that were started for a folder."""
    found = psutil.process_iter(["cmdline", "name"])
    return [process.info["name"] for process in found if str(folder) in str(process.info["cmdline"])]


def run(verb: str, cwd: Path, environ: Environ | None = None, *, closed: str = "") -> str:
    """What a command that must fail says."""
    code, said = end_of(verb, cwd, environ, closed=closed)
    assert code == 1, said
    assert "Traceback" not in said
    assert said.count("\n") == 1, said
    assert said.startswith("reportsim: ")
    return said


def end_of(verb: str, cwd: Path, environ: Environ | None = None, *, closed: str = "") -> tuple[int, str]:
    """How a command ended that is started like by a service manager: no terminal, few variables."""
    command = f'exec "$0" -W error -m reportsim {verb} {closed}'
    done = subprocess.run(
        ["/bin/sh", "-c", command, sys.executable],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "REPORTSIM_PORT": "0", **(environ or {})},
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=False,
    )
    return done.returncode, done.stderr


async def without_rights(dsn: str) -> str:
    """An address whose user may do nothing but connect."""
    connection = await connect(dsn)
    await connection.execute("DROP ROLE IF EXISTS reportsim_reader")
    await connection.execute("CREATE ROLE reportsim_reader LOGIN")
    await connection.close()
    return dsn.replace("postgres@", "reportsim_reader@", 1)


async def without_path(dsn: str) -> str:
    """A database whose search_path is empty."""
    connection = await connect(dsn)
    name = await connection.fetchval("SELECT current_database()")
    await connection.execute(f"ALTER DATABASE {name} SET search_path = ''")
    await connection.close()
    return dsn


async def of_newer_build(dsn: str) -> str:
    """A database that a newer build has migrated."""
    connection = await connect(dsn)
    await migrate(connection)
    await connection.execute("INSERT INTO schema_migrations VALUES (9999, '9999_later.sql', 'x')")
    await connection.close()
    return dsn


async def of_edited_migration(dsn: str) -> str:
    """A database on which another text of a migration was applied."""
    connection = await connect(dsn)
    await migrate(connection)
    await connection.execute("UPDATE schema_migrations SET checksum = 'x' WHERE number = 1")
    await connection.close()
    return dsn


async def nowhere(dsn: str) -> str:
    return on_database(dsn, "no_such_database")


async def of_nobody(dsn: str) -> str:
    return dsn.replace("postgres@", "no_such_role@", 1)


@pytest.mark.parametrize("verb", ["serve", "migrate", "ledger list", "secret"])
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (nowhere, "DATABASE_URL"),
        (of_nobody, "DATABASE_URL"),
        (without_rights, "GRANT CREATE"),
        (without_path, "search_path"),
        (of_newer_build, "9999_later.sql"),
        (of_edited_migration, "was changed after it had been applied"),
    ],
)
async def test_what_is_wrong_with_the_database(
    server_dsn: str, tmp_path: Path, verb: str, make: Callable[[str], Coroutine[None, None, str]], said: str
) -> None:
    async with empty_database(server_dsn) as dsn:
        address = await make(dsn)
        assert said in await asyncio.to_thread(run, verb, tmp_path, {"DATABASE_URL": address})


@pytest.mark.parametrize("embedded", [True, False])
@pytest.mark.parametrize("name", ["a file", "below a file", "too long", "not there to be written"])
def test_what_is_wrong_with_the_data_folder(dsn: str, tmp_path: Path, name: str, *, embedded: bool) -> None:
    (tmp_path / "file").touch()
    folder = {
        "a file": tmp_path / "file",
        "below a file": tmp_path / "file" / "data",
        "too long": tmp_path / ("x" * 256),
        "not there to be written": Path("/proc/reportsim"),
    }[name]
    environ = {"REPORTSIM_DATA_DIR": str(folder)} | ({} if embedded else {"DATABASE_URL": dsn})
    assert "REPORTSIM_DATA_DIR" in run("serve", tmp_path, environ)


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A file system of its own in memory."""
    command = ["mount", "-t", "tmpfs", "-o", options, "reportsim-test", str(folder)]
    if os.geteuid() or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("only root mounts")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("verb", ["serve", "migrate"])
@pytest.mark.parametrize("options", ["size=4m", "size=4m,nr_inodes=20"], ids=["bytes", "inodes"])
def test_a_disk_with_no_room_for_a_database(folder: Path, verb: str, options: str) -> None:
    with mounted(folder, options):
        code, said = end_of(verb, Path("/"), {"REPORTSIM_DATA_DIR": str(folder)})
        assert (code, said.splitlines()[:-1]) == (1, [f"reportsim: the new database in {folder}"] * (verb != "serve"))
        last = said.splitlines()[-1]
        assert last.startswith(f"reportsim: initdb cannot make a database in {folder}: could not ")
        assert "No space left on device: set REPORTSIM_DATA_DIR to a folder" in last
        assert len(last) < 400
        assert works_in(folder) == []
        assert list(folder.glob("postgres-new-*")) == []


def test_a_disk_with_no_room_for_reports(folder: Path, dsn: str) -> None:
    with mounted(folder, "size=4k"):
        (folder / "full").write_bytes(bytes(4096))
        said = run("serve", Path("/"), {"REPORTSIM_DATA_DIR": str(folder), "DATABASE_URL": dsn})
    assert "No space left on device" in said
    assert "REPORTSIM_DATA_DIR" in said


@pytest.mark.parametrize("verb", ["serve", "migrate", "ledger generate --ledger x --lines 44"])
@pytest.mark.parametrize("name", ["", "data"])
def test_a_disk_that_can_only_be_read(folder: Path, name: str, verb: str) -> None:
    with mounted(folder, "ro"):
        code, said = end_of(verb, Path("/"), {"REPORTSIM_DATA_DIR": str(folder / name)})
    last = said.splitlines()[-1]
    assert code == 1
    assert last.startswith("reportsim: ")
    assert "Read-only file system" in last
    assert "REPORTSIM_DATA_DIR" in last
    assert len(said.splitlines()) == (1 if verb == "serve" else 2)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_in_a_folder_of_root(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY],
        cwd=tmp_path,
        env={"REPORTSIM_PORT": "0"},
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("reportsim: REPORTSIM_DATA_DIR: ")
    assert done.stderr.count("\n") == 1
    assert "Permission denied" in done.stderr


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"REPORTSIM_PORT": "70000"}, "REPORTSIM_PORT"),
        ({"REPORTSIM_HOST": "no.such.host.invalid"}, "no.such.host.invalid"),
        ({"REPORTSIM_HOST": "192.0.2.1"}, "cannot listen on 192.0.2.1"),
        ({"REPORTSIM_HOST": "a" * 70 + ".example"}, "cannot listen on"),
        ({"DATABASE_URL": "mysql://u@h/d"}, "DATABASE_URL"),
        ({"REPORTSIM_DATA_DIR": "a\nb"}, "line break"),
        ({"REPORTSIM_CALLBACK_WAITS": ""}, "REPORTSIM_CALLBACK_ATTEMPTS"),
        ({"REPORTSIM_CALLBACK_WAITS": " ", "REPORTSIM_CALLBACK_ATTEMPTS": "2"}, "REPORTSIM_CALLBACK_ATTEMPTS"),
        ({"REPORTSIM_CALLBACK_WAITS": "1,,2"}, "REPORTSIM_CALLBACK_WAITS"),
    ],
)
def test_what_is_wrong_with_a_setting(tmp_path: Path, environ: Environ, said: str) -> None:
    assert said in run("serve", tmp_path, environ)


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = run("serve", tmp_path, {"REPORTSIM_PORT": str(taken.getsockname()[1])})
    assert "cannot listen on 127.0.0.1" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("closed", ["2>&-", "1>&- 2>&-", "0<&- 1>&- 2>&-"])
def test_closed_streams_change_nothing_but_what_is_read(dsn: str, tmp_path: Path, closed: str) -> None:
    assert end_of("migrate", tmp_path, {"DATABASE_URL": dsn}, closed=closed)[0] == 0
    assert end_of("serve", tmp_path, {"DATABASE_URL": "mysql://"}, closed=closed)[0] == 1


@pytest.mark.parametrize("verb", ["secret", "ledger list", "ledger delete x", "benchmark --list"])
def test_what_only_reads_makes_no_database(tmp_path: Path, verb: str) -> None:
    said = run(verb, tmp_path)
    assert f"there is no database in {tmp_path / 'data'}" in said
    assert list(tmp_path.iterdir()) == []


def test_a_new_database_is_named_and_then_shared(folder: Path) -> None:
    home = {"HOME": str(folder), "REPORTSIM_DATA_DIR": "~/rs"}
    assert end_of("migrate", folder, home) == (0, f"reportsim: the new database in {folder / 'rs'}\n")
    assert end_of("secret", Path("/"), home) == (0, f"reportsim: the database in {folder / 'rs'}\n")
    assert sorted(path.name for path in folder.iterdir()) == ["rs"]
    assert works_in(folder) == []


@pytest.mark.parametrize(
    "task",
    [
        "reportsim.engine.events.hub:EventHub:run",
        "reportsim.engine.worker.worker:Worker:_claim_forever",
        "reportsim.engine.leases:Leases:run",
        "reportsim.engine.sweeper:Sweeper:run",
        "reportsim.engine.replication:Replication:run",
        "reportsim.benchmark.runner:Runner:_bury_forever",
    ],
)
def test_a_background_task_that_dies_ends_the_service_with_one_line(dsn: str, tmp_path: Path, task: str) -> None:
    """Beside the log, whose lines are JSON."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", BREAKING, task],
        cwd=tmp_path,
        env={"REPORTSIM_PORT": "0", "DATABASE_URL": dsn, "REPORTSIM_DEMO_LINES": "100"},
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=False,
    )
    logged = [line for line in done.stderr.splitlines() if line.startswith("{")]
    said = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert done.returncode == 1, done.stderr
    assert any("ZeroDivisionError" in line for line in logged)
    assert len(said) == 1, done.stderr
    assert said[0].startswith("reportsim: the background task ")


@pytest.mark.parametrize("given", ["secured:not-the-word@", "secured@", "secured:@"])
async def test_a_wrong_password_is_refused_with_one_line_that_does_not_repeat_it(tmp_path: Path, given: str) -> None:
    async with own_database() as database:
        connection = await connect(database.dsn)
        await connection.execute("CREATE ROLE secured LOGIN SUPERUSER PASSWORD 'the-word'")
        rules = Path(await connection.fetchval("SHOW hba_file"))
        rules.write_text(f"local all secured scram-sha-256\n{rules.read_text()}")
        await connection.execute("SELECT pg_reload_conf()")
        await connection.close()
        for verb in ("serve", "migrate", "ledger list"):
            address = database.dsn.replace("postgres@", given, 1)
            said = await asyncio.to_thread(run, verb, tmp_path, {"DATABASE_URL": address})
            assert "DATABASE_URL" in said
            assert "password" in said
            assert "not-the-word" not in said
        right = database.dsn.replace("postgres@", "secured:the-word@", 1)
        assert (await asyncio.to_thread(end_of, "migrate", tmp_path, {"DATABASE_URL": right}))[0] == 0
