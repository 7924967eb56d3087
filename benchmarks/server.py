"""A service in a process of its own, for benchmarks: limits off, an embedded PostgreSQL in a folder that goes again."""

import atexit
import contextlib
import os
import re
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
SERVE = ("-m", "reportsim", "serve")


@dataclass(frozen=True)
class Server:
    """A running service."""

    url: str
    pid: int
    data_dir: Path


@contextlib.contextmanager
def running(program: Sequence[str] = SERVE, **settings: str) -> Iterator[Server]:
    """Starts a service with some settings, waits until it is ready, and ends it."""
    folder = Path(tempfile.mkdtemp(prefix="reportsim-bench-"))
    # At the very end: ext4 looks through all that was deleted in the last minutes whenever a file is made.
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("REPORTSIM_")},
        "REPORTSIM_PORT": str(port),
        "REPORTSIM_DATA_DIR": str(folder),
        "REPORTSIM_SYNC_RATE": "0",
        "REPORTSIM_ASYNC_RATE": "0",
        **settings,
    }
    with (folder / "service.log").open("w") as log:
        process = subprocess.Popen([sys.executable, *program], env=environ, stderr=log)
        try:
            wait_ready(f"http://127.0.0.1:{port}/readyz")
            yield Server(f"http://127.0.0.1:{port}", process.pid, folder)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def wait_ready(url: str) -> None:
    """Asks until the service is ready."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2) as answer:
            if answer.status == 200:
                return
        time.sleep(0.1)
    raise TimeoutError(url)


@dataclass(frozen=True)
class Load:
    """What a load came to: requests per second, and the latency in milliseconds below which 50 and 99 % lie."""

    rate: float
    p50: float
    p99: float
    errors: int


def wrk(url: str, *, seconds: int, clients: int = 64, script: str | None = None) -> Load:
    """Loads a URL with keep-alive clients; `script` is Lua for wrk."""
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--latency"]
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        if script:
            file.write(script)
            file.flush()
            command += ["-s", file.name]
        text = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    assert rate, text
    return Load(float(rate[1]), percentile(text, "50"), percentile(text, "99"), int(bad[1]) if bad else 0)


def percentile(text: str, which: str) -> float:
    """One percentile of wrk's output, in milliseconds."""
    match = re.search(rf"{which}%\s+([\d.]+)(us|ms|s)", text)
    assert match, text
    return float(match[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[match[2]]
