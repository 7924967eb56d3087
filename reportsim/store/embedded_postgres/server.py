"""The embedded PostgreSQL: a server from a wheel, shared by every process that uses its data directory.

A share is a `flock`, which the kernel releases however its process ends; the process that releases the last share stops
the server.
"""

import argparse
import contextlib
import fcntl
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from reportsim.store.embedded_postgres.cluster import Cluster
from reportsim.store.embedded_postgres.installation import OTHER_FOLDER, EmbeddedUnavailable
from reportsim.store.embedded_postgres.signals import ignore_signals

__all__ = ["EmbeddedPostgres", "EmbeddedUnavailable", "exists", "start"]


class EmbeddedPostgres:
    """A share in the running server, which stops when the last share is released."""

    def __init__(self, cluster: Cluster, share: int) -> None:
        self._cluster = cluster
        self._share: int | None = share

    @property
    def dsn(self) -> str:
        """The address of the server."""
        return self._cluster.dsn()

    @property
    def sockets(self) -> Path:
        """The folder of its socket."""
        return self._cluster.sockets

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Release the share, and stop the server unless another process holds one; signals do not interrupt this."""
        if self._share is None:
            return
        share, self._share = self._share, None
        try:
            with ignore_signals(), _exclusive(self._cluster.folder.parent), contextlib.suppress(BlockingIOError):
                fcntl.flock(share, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._cluster.stop()
        finally:
            os.close(share)


def exists(data_dir: Path) -> bool:
    """Say whether a data directory has a database of the embedded PostgreSQL."""
    return (data_dir / "postgres" / "PG_VERSION").exists()


def start(data_dir: Path, sockets: Path | None = None) -> EmbeddedPostgres:
    """Start the server of this data directory, or join the one that runs there already.

    A start that a signal interrupts leaves no process behind. `sockets` is the socket folder of a server that is
    restarted.
    It blocks, for about a second the first time: call it before the event loop starts, never in a handler.
    """
    try:
        data_dir = data_dir.resolve()
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _exclusive(data_dir), contextlib.ExitStack() as undo:
            share = _open_lock(data_dir / "postgres.lock")
            undo.callback(os.close, share)
            fcntl.flock(share, fcntl.LOCK_SH)
            cluster = Cluster(data_dir / "postgres", sockets)
            try:
                cluster.start()
            except BaseException:
                with ignore_signals(), contextlib.suppress(BlockingIOError):
                    fcntl.flock(share, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    cluster.abort()
                raise
            server = EmbeddedPostgres(cluster, share)
            undo.pop_all()
            return server
    except (OSError, KeyError) as error:
        reason = f"the embedded PostgreSQL cannot start in {data_dir}: {getattr(error, 'strerror', None) or error}"
        raise EmbeddedUnavailable(f"{reason}: {OTHER_FOLDER}") from error


@contextlib.contextmanager
def _exclusive(data_dir: Path) -> Iterator[None]:
    """Take the lock under which one process at a time starts or stops the server, so that no stop overtakes a start."""
    lock = _open_lock(data_dir / "postgres.start.lock")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _open_lock(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_CREAT, 0o600)


def _main() -> int:
    """Start the server of a folder again for a process that has a share in it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("sockets", type=Path)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        start(options.data_dir, options.sockets).stop()
    except KeyboardInterrupt:
        return 130
    except EmbeddedUnavailable as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main())
