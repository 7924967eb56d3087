"""Signals to commands, and to a service, at moments when something of theirs is only beginning or already ending."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from reportsim.store.embedded_postgres import server as embedded
from tests.benchmark.test_run_ends import GENERATOR
from tests.faults.test_ends import LONGEST_S, folder, left_over, service, wait_ready
from tests.ports import free_port

__all__ = ["folder"]

pytestmark = pytest.mark.slow

SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
IMPORT = ("ledger", "import", "books.csv", "--ledger", "books")
BENCHMARK = ("benchmark", "--rate", "5")
BOOKS = "date,transaction,account,type,amount\n2025-01-01,1,a,asset,5\n2025-01-01,1,b,income,-5\n"


@contextmanager
def command(folder: Path, *words: str | Path, **environ: str) -> Iterator["subprocess.Popen[str]"]:
    """A command in a folder, which is killed when the block ends."""
    words = (sys.executable, "-W", "error", "-m", "reportsim", *words)
    variables = {"PATH": os.environ["PATH"], "REPORTSIM_PORT": str(free_port()), **environ}
    with subprocess.Popen(
        words,
        cwd=folder,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def wait_for(condition: Callable[[], object], process: "subprocess.Popen[str]") -> None:
    """Waits until something is so, and not for a process that has ended."""
    deadline = time.monotonic() + LONGEST_S
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.001)


def wait_line(stream: Iterator[str], text: str) -> None:
    """Reads until a line has a text; the rest of the stream is read by nobody else."""
    assert any(text in line for line in stream), text


@pytest.mark.parametrize(
    ("words", "stage", "number"),
    [
        (IMPORT, "postgres.start.lock", signal.SIGTERM),
        (IMPORT, "postgres-new-*/PG_VERSION", signal.SIGHUP),
        (IMPORT, "postgres/postmaster.pid", signal.SIGINT),
        (BENCHMARK, "postgres.start.lock", signal.SIGHUP),
        (BENCHMARK, "postgres-new-*/PG_VERSION", signal.SIGINT),
        (BENCHMARK, "postgres/postmaster.pid", signal.SIGTERM),
    ],
)
def test_a_command_is_interrupted_while_its_database_is_made(
    folder: Path, words: Sequence[str], stage: str, number: signal.Signals
) -> None:
    (folder / "books.csv").write_text(BOOKS)
    with command(folder, *words) as process:
        wait_for(lambda: list((folder / "data").glob(stage)), process)
        process.send_signal(number)
        out, said = process.communicate(timeout=LONGEST_S)
    assert (process.returncode, out) == (128 + number, ""), said
    assert said.splitlines() == [
        f"reportsim: the new database in {folder / 'data'}",
        f"reportsim: interrupted by {number.name}",
    ]
    assert left_over(folder) == []
    assert list((folder / "data").glob("postgres-new-*")) == []


@pytest.mark.parametrize(
    ("words", "number"),
    [
        *((("secret",), number) for number in SIGNALS),
        (("ledger", "list"), signal.SIGHUP),
        (("benchmark", "--list"), signal.SIGTERM),
    ],
)
def test_a_command_is_interrupted_while_the_database_that_it_reads_starts(
    folder: Path, words: Sequence[str], number: signal.Signals
) -> None:
    embedded.start(folder / "data").stop()
    with command(folder, *words) as process:
        wait_for((folder / "data" / "postgres" / "postmaster.pid").exists, process)
        process.send_signal(number)
        _, said = process.communicate(timeout=LONGEST_S)
    assert process.returncode == 128 + number, said
    assert said.splitlines() == [
        f"reportsim: the database in {folder / 'data'}",
        f"reportsim: interrupted by {number.name}",
    ]
    assert left_over(folder) == []


def is_generator(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return GENERATOR in process.cmdline()
    return False


@pytest.mark.parametrize("began", ["its database starts", "the service starts", "it runs"])
def test_a_benchmark_that_is_killed_takes_its_service_along(folder: Path, began: str) -> None:
    with command(folder, *BENCHMARK, "--duration", "60", REPORTSIM_DEMO_LINES="100") as process:
        parent = psutil.Process(process.pid)
        stage = {
            "its database starts": lambda: list((folder / "data").glob("postgres-new-*/PG_VERSION")),
            "the service starts": (folder / "data" / "postgres" / "postmaster.pid").exists,
            "it runs": lambda: any(map(is_generator, parent.children(recursive=True))),
        }[began]
        wait_for(stage, process)
        family = parent.children(recursive=True)
        assert family
        process.kill()
        process.communicate(timeout=LONGEST_S)
        assert psutil.wait_procs(family, LONGEST_S)[1] == []
    assert left_over(folder) == []


def test_what_is_no_pipe_cannot_end_a_service(folder: Path) -> None:
    with command(folder, "serve", "--until-eof", DATABASE_URL="postgresql://nobody@127.0.0.1:1/none") as process:
        _, said = process.communicate(timeout=LONGEST_S)
    assert (process.returncode, said) == (1, "reportsim: --until-eof needs a pipe as standard input\n")


@pytest.mark.parametrize("number", [*SIGNALS, signal.SIGQUIT])
def test_a_service_is_ended_while_it_waits_for_its_database(folder: Path, number: signal.Signals) -> None:
    absent = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
    with command(folder, "serve", DATABASE_URL=absent) as process:
        assert process.stderr is not None
        wait_line(process.stderr, "waiting for the database")
        process.send_signal(number)
        _, said = process.communicate(timeout=LONGEST_S)
    assert process.returncode == 0, said
    assert "Traceback" not in said
    assert json.loads(said.splitlines()[-1])["message"] == "stopped"


def is_processing(url: str) -> bool:
    with urllib.request.urlopen(f"{url}/api/requests", timeout=30) as answer:
        return any(item["status"] == "PROCESSING" for item in json.load(answer)["items"])


def test_a_second_order_stops_the_database_before_it_ends_at_once(folder: Path) -> None:
    """The request that is waited for would take a minute."""
    simulate = {"service_time": {"distribution": "fixed", "mean_ms": 60_000}, "seed": 1}
    body = json.dumps({"ledger": "tiny", "simulate": simulate}).encode()
    headers = {"Content-Type": "application/json"}

    def ask(url: str) -> None:
        with suppress(OSError):
            urllib.request.urlopen(urllib.request.Request(f"{url}/api/sync", body, headers), timeout=LONGEST_S).close()

    with service(folder) as (process, url):
        wait_ready(url)
        asking = threading.Thread(target=ask, args=(url,))
        asking.start()
        wait_for(lambda: is_processing(url), process)
        assert process.stderr is not None
        process.send_signal(signal.SIGTERM)
        wait_line(process.stderr, "stopping")
        # What comes within a second is one order.
        time.sleep(1.2)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=LONGEST_S)
        asking.join(LONGEST_S)
    assert process.returncode == 1, said
    assert "not waiting any longer" in said
    assert left_over(folder) == []


def test_a_service_works_in_a_folder_of_any_name(folder: Path) -> None:
    place = folder / "Acme, Inc (2025) $x"
    place.mkdir()
    with service(place) as (process, url):
        wait_ready(url)
        request = urllib.request.Request(f"{url}/api/sync", b"{}", {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert json.load(answer)["status"] == "COMPLETED"
        process.terminate()
        _, said = process.communicate(timeout=LONGEST_S)
        assert process.returncode == 0, said
    assert sorted(path.name for path in folder.iterdir()) == [place.name]
    assert left_over(folder) == []


def test_a_service_needs_no_standard_input(folder: Path) -> None:
    port = free_port()
    words = ["/bin/sh", "-c", 'exec "$0" -W error -m reportsim serve 0<&-', sys.executable]
    environ = {"PATH": os.environ["PATH"], "REPORTSIM_PORT": str(port), "REPORTSIM_DEMO_LINES": "100"}
    with subprocess.Popen(words, cwd=folder, env=environ, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_ready(f"http://127.0.0.1:{port}")
            process.terminate()
            _, said = process.communicate(timeout=LONGEST_S)
        finally:
            process.kill()
    assert process.returncode == 0, said
    assert "Traceback" not in said
    assert left_over(folder) == []
