"""A PostgreSQL server of a test's own, to be struck down and brought up again."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from reportsim.store.embedded_postgres.cluster import Cluster
from reportsim.store.embedded_postgres.installation import EmbeddedUnavailable


class Database:
    """A server whose address stays the same over all its lives."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.dsn = cluster.dsn()

    async def start(self) -> None:
        await asyncio.to_thread(self._cluster.start)

    async def strike(self) -> None:
        """Ends it as a crash would: nothing is written any more, and the log is replayed at its next start."""
        await asyncio.to_thread(self._control, "stop")

    async def restart(self) -> None:
        await asyncio.to_thread(self._control, "restart")

    def _control(self, verb: str) -> None:
        folder = self._cluster.folder
        done = self._cluster._run("pg_ctl", folder, verb, "-m", "immediate", "-w", "-l", str(folder / "log"))
        assert done.returncode == 0, done.stdout


@contextlib.asynccontextmanager
async def own_database() -> AsyncIterator[Database]:
    """Runs a server in a folder that goes again."""
    # Not below pytest's own folder, which root closes to the server's user.
    with tempfile.TemporaryDirectory(prefix="reportsim-pg-") as folder:
        try:
            cluster = Cluster(Path(folder) / "postgres")
            await asyncio.to_thread(cluster.start)
        except EmbeddedUnavailable as error:
            pytest.skip(str(error))
        try:
            yield Database(cluster)
        finally:
            await asyncio.to_thread(cluster.stop)
