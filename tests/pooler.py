"""A PgBouncer before a PostgreSQL server, in transaction mode unless another is asked for."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

from tests.ports import free_port

START_S = 10.0
LOG_SHOWN = 2_000
NOBODY = 65534
CONFIGURATION = """
[databases]
* = {server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
max_client_conn = 1000
default_pool_size = 20
{extra}
"""


def require_pgbouncer() -> str:
    """The program; the test that needs it is skipped without it, except where everything must be there."""
    program = shutil.which("pgbouncer")
    if program is None:
        (pytest.fail if os.environ.get("REQUIRE_BROWSER") == "1" else pytest.skip)("pgbouncer is not installed")
    return program


@contextlib.contextmanager
def pooled(dsn: str, *, mode: str = "transaction", extra: str = "", port: int | None = None) -> Iterator[str]:
    """Runs a PgBouncer as long as the block lasts, and gives the address through which it leads to the same server.

    At the end of the block it is killed; one that has ended before is an error that shows its log.
    """
    program = require_pgbouncer()
    url = URL(dsn)
    host = url.query.get("host") or url.host or "127.0.0.1"
    server = f"host={host} port={url.query.get('port') or url.port or 5432} user={url.user or 'postgres'}"
    if url.password:
        server += f" password={url.password}"
    port = port or free_port()
    with tempfile.TemporaryDirectory(prefix="reportsim-pooler-") as folder:
        configuration = Path(folder) / "pgbouncer.ini"
        configuration.write_text(CONFIGURATION.format(server=server, port=port, mode=mode, extra=extra))
        configuration.chmod(0o644)
        identity = other_user(host, folder) if os.geteuid() == 0 else {}
        with (Path(folder) / "log").open("w") as log:
            process = subprocess.Popen([program, configuration], stdout=log, stderr=log, **identity)
            try:
                wait_for(port, process, Path(log.name))
                yield f"postgresql://{url.user or 'postgres'}@127.0.0.1:{port}{url.path}"
            finally:
                code = process.poll()
                process.kill()
                process.wait()
                if code is not None:
                    raise RuntimeError(f"pgbouncer has ended with {code}: {Path(log.name).read_text()[-LOG_SHOWN:]}")


def other_user(host: str, folder: str) -> dict[str, Any]:
    """Whom to run it as in root's place, which it refuses: a socket may be for its server's user alone."""
    who = os.stat(host) if host.startswith("/") else None
    user, group = (who.st_uid, who.st_gid) if who is not None and who.st_uid else (NOBODY, NOBODY)
    os.chown(folder, user, group)
    return {"user": user, "group": group, "extra_groups": []}


def wait_for(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise RuntimeError(f"pgbouncer did not start: {log.read_text()}")
