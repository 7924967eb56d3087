"""Every signal that ends a service stops all that it started, early and late; a killed PostgreSQL comes back."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.ports import free_port
from tests.store.embedded_postgres.test_cluster import kill, postmaster

pytestmark = pytest.mark.slow

LONGEST_S = 90


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not below pytest's own folder, which every other session of root closes to the server's user."""
    with tempfile.TemporaryDirectory(prefix="reportsim-test-") as made:
        yield Path(made)


@contextmanager
def service(folder: Path) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """A service with an embedded PostgreSQL, and its URL."""
    port = free_port()
    environ = {"PATH": os.environ["PATH"], "REPORTSIM_PORT": str(port), "REPORTSIM_DEMO_LINES": "100"}
    command = [sys.executable, "-m", "reportsim", "serve"]
    with subprocess.Popen(command, cwd=folder, env=environ, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process, f"http://127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait()


def wait_ready(url: str) -> None:
    deadline = time.monotonic() + LONGEST_S
    while time.monotonic() < deadline:
        with suppress(OSError), urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:
            if answer.status == 200:
                return
        time.sleep(0.05)
    raise AssertionError("the service is not ready")


def left_over(folder: Path) -> list[str]:
    """The processes that work in a folder."""
    found = psutil.process_iter(["cmdline", "name"])
    return [process.info["name"] for process in found if any(str(folder) in w for w in process.info["cmdline"] or [])]


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_everything(folder: Path, number: signal.Signals) -> None:
    with service(folder) as (process, url):
        wait_ready(url)
        assert left_over(folder)
        process.send_signal(number)
        _, said = process.communicate(timeout=LONGEST_S)
        assert process.returncode == 0, said
    assert left_over(folder) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("stage", ["postgres.lock", "postgres-new-*/PG_VERSION", "postgres/postmaster.pid"])
def test_an_early_signal_stops_everything(folder: Path, stage: str, number: signal.Signals) -> None:
    with service(folder) as (process, _):
        deadline = time.monotonic() + LONGEST_S
        while not list((folder / "data").glob(stage)):
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.send_signal(number)
        _, said = process.communicate(timeout=LONGEST_S)
        assert process.returncode == 0, said
        assert "Traceback" not in said
    assert left_over(folder) == []
    assert list((folder / "data").glob("postgres-new-*")) == []


def test_a_killed_postgresql_comes_back(folder: Path) -> None:
    with service(folder) as (process, url):
        wait_ready(url)
        killed = postmaster(folder / "data")
        kill(killed)
        deadline = time.monotonic() + LONGEST_S
        while True:
            with suppress(OSError, IndexError):
                if postmaster(folder / "data") != killed:
                    break
            assert time.monotonic() < deadline
            time.sleep(0.05)
        wait_ready(url)
        process.terminate()
        assert process.wait(LONGEST_S) == 0
    assert left_over(folder) == []


def test_files_are_closed_to_others(folder: Path) -> None:
    with service(folder) as (_, url):
        wait_ready(url)
        for kind in ("trial_balance", "general_ledger"):
            body = f'{{"report_type": "{kind}"}}'.encode()
            headers = {"Content-Type": "application/json"}
            with urllib.request.urlopen(urllib.request.Request(f"{url}/api/sync", body, headers), timeout=30) as answer:
                link = json.load(answer)["links"]["report"]
            # A small report gets its file when it is read.
            urllib.request.urlopen(url + link, timeout=30).close()
        reports = folder / "data" / "reports"
        assert reports.stat().st_mode & 0o777 == 0o700
        assert [path.stat().st_mode & 0o777 for path in reports.iterdir()] == [0o600, 0o600]
