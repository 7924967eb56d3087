"""A service of the command's own: on a free port of this machine, as long as it is needed."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from reportsim.cli.errors import CommandError

READY_S: Final = 120.0
END_S: Final = 30.0
LOOK_S: Final = 0.1
TAIL: Final = 2_000


@dataclass(frozen=True, slots=True)
class LocalService:
    """A running service."""

    url: str
    pid: int


@contextlib.contextmanager
def run_local_service() -> Iterator[LocalService]:
    """A service that runs for as long as the context lasts; all but its address is as the environment says."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environ = {
        name: value
        for name, value in os.environ.items()
        if name not in {"REPORTSIM_PUBLIC_URL", "REPORTSIM_ALLOWED_HOSTS"}
    }
    environ |= {"REPORTSIM_HOST": "127.0.0.1", "REPORTSIM_PORT": str(port)}
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile("w+", errors="replace") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "reportsim", "serve", "--until-eof"],
            env=environ,
            # Nothing is written to it. It ends with this process, however that ends, and the service with it.
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            # Ctrl-C is for the command, which ends its service in its own time.
            start_new_session=True,
        )
        try:
            if not is_ready(process, url):
                log.seek(0)
                raise CommandError(f"its own service did not come up:\n{log.read()[-TAIL:].strip()}")
            yield LocalService(url, process.pid)
        finally:
            end(process)


def is_ready(process: "subprocess.Popen[bytes]", url: str) -> bool:
    """Waits until a service is ready; False when it has ended, or is not in time."""
    deadline = time.monotonic() + READY_S
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/readyz", timeout=2) as answer:
            if answer.status == 200:
                return True
        time.sleep(LOOK_S)
    return False


def end(process: "subprocess.Popen[bytes]") -> None:
    """Ends a service, cleanly if it can."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdin is not None:
        process.stdin.close()
