"""Several servers in one address: the one that can be written to is found, and found again after a failover."""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from reportsim.core.database_address.url import parse_database_url
from reportsim.store.embedded_postgres.cluster import Cluster
from reportsim.store.embedded_postgres.installation import EmbeddedUnavailable
from reportsim.store.engine_connections import EngineConnections
from reportsim.store.pool import OUTAGES, connect, create_pool, persist


@dataclass
class Pair:
    """A primary, and a standby that follows nobody; both answer on sockets."""

    primary: Cluster
    standby: Cluster

    def address(self, *order: Cluster, parameters: str = "") -> str:
        folders = [parse_database_url(cluster.dsn()).hosts[0].name for cluster in order]
        return f"postgresql:///postgres?user=postgres&host={','.join(map(str, folders))}&port=5432{parameters}"

    async def fail_over(self) -> None:
        """Strikes the primary down, and makes the standby one."""
        for cluster, words in ((self.primary, ("stop", "-m", "immediate")), (self.standby, ("promote", "-w"))):
            done = await asyncio.to_thread(cluster._run, "pg_ctl", cluster.folder, *words)
            assert done.returncode == 0, done.stdout
        self.primary, self.standby = self.standby, self.primary


@contextlib.contextmanager
def running_pair() -> Iterator[Pair]:
    """Two servers in folders that go again."""
    # Not below pytest's own folder, which root closes to the server's user.
    with tempfile.TemporaryDirectory(prefix="reportsim-pair-") as name, contextlib.ExitStack() as running:
        folder = Path(name)
        try:
            primary = Cluster(folder / "one")
            primary.start()
        except EmbeddedUnavailable as error:
            pytest.skip(str(error))
        primary.stop()
        shutil.copytree(folder / "one", folder / "other", copy_function=shutil.copy2)
        owner = (folder / "one").stat()
        for path in (folder / "other", *(folder / "other").rglob("*")):
            shutil.chown(path, owner.st_uid, owner.st_gid)
        (folder / "other" / "standby.signal").touch()
        standby = Cluster(folder / "other")
        for cluster in (primary, standby):
            running.callback(cluster.stop)
            cluster.start()
        yield Pair(primary, standby)


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """Two servers for tests that leave them as they are."""
    with running_pair() as made:
        yield made


IN_RECOVERY = "SELECT pg_is_in_recovery()"


@pytest.mark.parametrize(
    "parameters",
    [
        "",
        "&target_session_attrs=read-write",
        "&target_session_attrs=primary",
        "&target_session_attrs=any",
        "&target_session_attrs=prefer-standby",
        "&targetServerType=preferSecondary",
        "&load_balance_hosts=random",
    ],
)
async def test_a_standby_is_skipped(pair: Pair, parameters: str) -> None:
    for order in ((pair.standby, pair.primary), (pair.primary, pair.standby)):
        connection = await connect(pair.address(*order, parameters=parameters))
        assert await connection.fetchval(IN_RECOVERY) is False
        await connection.close()


async def test_standbys_alone_are_waited_with(pair: Pair) -> None:
    with pytest.raises(OUTAGES, match="target"):
        await connect(pair.address(pair.standby, pair.standby))


async def test_a_new_primary_is_found_after_a_failover() -> None:
    with running_pair() as pair:
        await write_through_a_failover(pair)


async def write_through_a_failover(pair: Pair) -> None:
    address = pair.address(pair.primary, pair.standby)
    lines = EngineConnections(address, statement_cache=100)
    write = "DO $$ BEGIN PERFORM pg_current_wal_lsn(); END $$"
    async with create_pool(address, size=2, statement_cache=100) as pool:
        for source in (pool, lines):
            await source.fetch(write)
        await pair.fail_over()
        for source in (pool, lines):
            await persist(lambda source=source: source.fetch(write))  # type: ignore[misc]
            assert (await source.fetch(IN_RECOVERY))[0]["pg_is_in_recovery"] is False
    lines.close()
