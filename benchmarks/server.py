"""A service in a process of its own, for benchmarks: limits off, an embedded PostgreSQL in a folder that goes again."""

import atexit
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

READY_S = 60
STOP_S = 30
SERVE = ("-m", "reportsim", "serve")


@dataclass(frozen=True)
class Server:
    """A running service."""

    url: str
    pid: int
    data_dir: Path


def environment(**settings: str) -> dict[str, str]:
    """The environment with some settings of the service, and none that stand there already."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("REPORTSIM_", "DATABASE_URL"))}
    return {**kept, **settings}


@contextlib.contextmanager
def running(
    program: Sequence[str] = SERVE, *, python: str = sys.executable, cwd: str | None = None, **settings: str
) -> Iterator[Server]:
    """Starts a service with some settings, waits until it is ready, and ends it."""
    folder = Path(tempfile.mkdtemp(prefix="reportsim-bench-"))
    # At the very end: ext4 looks through all that was deleted in the last minutes whenever a file is made.
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environ = environment(
        **{
            "REPORTSIM_PORT": str(port),
            "UVICORN_PORT": str(port),
            "REPORTSIM_DATA_DIR": str(folder),
            "REPORTSIM_SYNC_RATE": "0",
            "REPORTSIM_ASYNC_RATE": "0",
            **settings,
        }
    )
    with (folder / "service.log").open("w") as log:
        process = subprocess.Popen([python, *program], env=environ, stdout=log, stderr=log, cwd=cwd)
        try:
            if not is_ready(f"http://127.0.0.1:{port}/readyz", process):
                raise RuntimeError(f"{program} did not get ready: {(folder / 'service.log').read_text()[-2_000:]}")
            yield Server(f"http://127.0.0.1:{port}", process.pid, folder)
        finally:
            process.send_signal(signal.SIGTERM)
            stop(process)


def stop(process: "subprocess.Popen[bytes]") -> None:
    """Waits for the end of a process, and makes one."""
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def is_ready(url: str, process: "subprocess.Popen[bytes]") -> bool:
    """Asks until the service is ready; says whether it got so."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2) as answer:
            if answer.status == 200:
                return True
        time.sleep(0.1)
    return False
