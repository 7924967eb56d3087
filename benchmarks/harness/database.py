"""One PostgreSQL for all that is compared, a database for each, and the log that says how long its statements took."""

import asyncio
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg

from reportsim.store.embedded_postgres import server as embedded

# A line of the log, with the lines of the statement that follow it indented.
ENTRY: Final = re.compile(r"^.*?LOG:  duration: ([\d.]+) ms(?:  (.*(?:\n\t.*)*))?", re.MULTILINE)
POLL_S: Final = 0.2


@dataclass(frozen=True)
class Statement:
    """A statement as the server logged it: a step of it (parse, bind, execute), or all at once."""

    text: str
    ms: float


def read_statements(log: str) -> list[Statement]:
    """The statements of a log."""
    return [Statement(text, float(ms)) for ms, text in ENTRY.findall(log)]


class PostgreSQL:
    """A running server."""

    def __init__(self, dsn: str, folder: Path) -> None:
        self._dsn = dsn
        self._log = folder / "log"
        self.pid = int((folder / "postmaster.pid").read_text().split()[0])

    def create(self, name: str, template: str = "template1") -> str:
        """Makes a database, as a copy of another one; returns its address."""
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        head, _, query = self._dsn.partition("?")
        return f"{head.rpartition('/')[0]}/{name}?{query}"

    def execute(self, *statements: str, dsn: str | None = None) -> Any:
        """Runs statements, each by itself; returns the first value of the last one."""

        async def run() -> Any:
            connection = await asyncpg.connect(dsn or self._dsn)
            try:
                for statement in statements[:-1]:
                    await connection.execute(statement)
                return await connection.fetchval(statements[-1])
            finally:
                await connection.close()

        return asyncio.run(run())

    def wait_for(self, rows: int, table: str, dsn: str, longest_s: float) -> None:
        """Waits until a table has so many rows, by one connection, which costs what is measured the least."""

        async def poll() -> None:
            connection = await asyncpg.connect(dsn)
            try:
                async with asyncio.timeout(longest_s):
                    while await connection.fetchval(f"SELECT count(*) FROM {table}") < rows:  # noqa: ASYNC110 - a table
                        await asyncio.sleep(POLL_S)
            finally:
                await connection.close()

        asyncio.run(poll())

    @contextmanager
    def logging(self) -> Iterator["Log"]:
        """Has the server log how long each statement takes, as long as the block lasts."""
        self.execute("ALTER SYSTEM SET log_min_duration_statement = 0", "SELECT pg_reload_conf()")
        try:
            yield Log(self._log)
        finally:
            self.execute("ALTER SYSTEM RESET log_min_duration_statement", "SELECT pg_reload_conf()")


class Log:
    """The server's log from some moment on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = path.stat().st_size

    def take(self) -> list[Statement]:
        """The statements since the last time."""
        with self._path.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        return read_statements(whole.decode(errors="replace"))


@contextmanager
def postgresql() -> Iterator[PostgreSQL]:
    """A server of the benchmark's own, in a folder that goes again."""
    with tempfile.TemporaryDirectory(prefix="reportsim-bench-") as folder, embedded.start(Path(folder)) as server:
        yield PostgreSQL(server.dsn, Path(folder) / "postgres")
