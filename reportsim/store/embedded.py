"""The embedded PostgreSQL: a server out of a wheel, shared by every process that uses its data directory.

A share is a `flock`, which the kernel takes back whatever happens to its process; whoever lets the last one
go stops the server.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

from reportsim.store.cluster import OTHER_DATABASE, Cluster, EmbeddedUnavailable

if sys.platform != "win32":
    import fcntl

__all__ = ["EmbeddedPostgres", "EmbeddedUnavailable", "start"]


class EmbeddedPostgres:
    """A share in the running server, which stops when the last share is let go."""

    def __init__(self, cluster: Cluster, share: int) -> None:
        self.dsn: Final = cluster.dsn()
        self._cluster = cluster
        self._share: int | None = share

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Let go of the server, and stop it unless another process still holds a share."""
        if self._share is None:
            return
        share, self._share = self._share, None
        try:
            with _turn(self._cluster.folder.parent), contextlib.suppress(BlockingIOError):
                fcntl.flock(share, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._cluster.stop()
        finally:
            os.close(share)


def start(data_dir: Path) -> EmbeddedPostgres:
    """Start the server of this data directory, or join the one that runs there already.

    It blocks, for about a second the first time: call it before the event loop starts, never in a handler.
    """
    if sys.platform == "win32":
        raise EmbeddedUnavailable(f"the embedded PostgreSQL runs on Linux and macOS: {OTHER_DATABASE}")
    data_dir = data_dir.expanduser().resolve()
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with _turn(data_dir), contextlib.ExitStack() as undo:
            share = _open_lock(data_dir / "postgres.lock")
            undo.callback(os.close, share)
            fcntl.flock(share, fcntl.LOCK_SH)
            cluster = Cluster(data_dir / "postgres")
            cluster.start()
            server = EmbeddedPostgres(cluster, share)
            undo.pop_all()
            return server
    except (OSError, KeyError) as error:
        reason = f"the embedded PostgreSQL cannot start here: {error}"
        raise EmbeddedUnavailable(f"{reason}; or {OTHER_DATABASE}") from error


@contextlib.contextmanager
def _turn(data_dir: Path) -> Iterator[None]:
    """Wait for a turn: one process at a time starts or stops the server, so no stop overtakes a start."""
    turn = _open_lock(data_dir / "postgres.start.lock")
    try:
        fcntl.flock(turn, fcntl.LOCK_EX)
        yield
    finally:
        os.close(turn)


def _open_lock(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_CREAT, 0o644)
