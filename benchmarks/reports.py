"""How fast reports and ledgers are made: `python -m benchmarks.reports [LINES]`, a million lines by default.

The general ledger of all lines, through the service and without it, against psql's \\copy of the same statement, taken
in turn, so that the ratio holds on a machine that others use too; the loop's longest hold meanwhile; generation and
import. Every figure is a median. Needs psql.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import psutil
from aiohttp import web

from benchmarks.make_ledger_csv import make_ledger_csv
from reportsim.app import build_app
from reportsim.core.identifiers import UUID7Generator
from reportsim.core.model import Request
from reportsim.reports.catalog import CATALOG
from reportsim.reports.files.folder import ReportFiles
from reportsim.reports.generate import BEGIN, generate
from reportsim.reports.sql import Job
from reportsim.settings import Settings
from reportsim.store import ledgers
from reportsim.store import requests as store
from reportsim.store.embedded_postgres import server as embedded
from reportsim.store.ledger_import.importer import Import, import_ledger
from reportsim.store.migrate import migrate
from reportsim.store.pool import Connection, connect, create_pool
from reportsim.web.keys import ENGINE, READY

ROUNDS: Final = 3
ROUNDS_OF_REPORTS: Final = 5
LINES: Final = 1_000_000
AIM_RATIO: Final = 0.85
AIM_HOLD_MS: Final = 20.0
AIM_GENERATION: Final = 300_000
AIM_IMPORT: Final = 200_000
TICK_S: Final = 0.002
WHOLE: Final = {"report_type": "general_ledger", "ledger": "big-0"}


@dataclass
class Loop:
    """What the event loop was kept from: CPU time of single callbacks, and lateness of a ticker."""

    holds: list[tuple[float, str]] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)
    watching: bool = True

    def longest(self) -> float:
        """Milliseconds of the longest hold."""
        return max(self.holds, default=(0.0, ""))[0]

    def __str__(self) -> str:
        longest, name = max(self.holds, default=(0.0, "nothing"))
        late = sorted(self.lags)
        return (
            f"longest hold {longest:.1f} ms of CPU ({name}), {len(self.holds):,} callbacks,"
            f" lag p99 {late[len(late) * 99 // 100]:.1f} ms, max {late[-1]:.1f} ms"
        )


@contextlib.asynccontextmanager
async def watched() -> AsyncIterator[Loop]:
    """Measures every callback of the loop as long as the block lasts."""
    seen = Loop()
    real = asyncio.Handle._run

    def timed(handle: asyncio.Handle) -> None:
        started = time.thread_time()
        real(handle)
        # The callback in which the block ends goes on with what comes after it.
        if (held := (time.thread_time() - started) * 1000) > 0.1 and seen.watching:
            seen.holds.append((held, name_of(handle)))

    async def tick() -> None:
        while True:
            due = time.perf_counter() + TICK_S
            await asyncio.sleep(TICK_S)
            seen.lags.append((time.perf_counter() - due) * 1000)

    asyncio.Handle._run = timed  # type: ignore[method-assign, assignment]
    ticker = asyncio.create_task(tick())
    try:
        yield seen
    finally:
        seen.watching = False
        asyncio.Handle._run = real  # type: ignore[method-assign]
        ticker.cancel()


def name_of(handle: asyncio.Handle) -> str:
    """What a handle calls, as far as it says so."""
    callback: Any = getattr(handle, "_callback", None)
    task = getattr(callback, "__self__", None)
    if isinstance(task, asyncio.Task):
        return task.get_name()
    return str(getattr(callback, "__qualname__", callback))


def line(name: str, value: str, ok: bool | None = None, aim: str = "") -> None:
    """Prints a figure with its aim."""
    verdict = "" if ok is None else f"   aim {aim}: {'ok' if ok else 'MISSED'}"
    print(f"{name:<34} {value}{verdict}", flush=True)


@dataclass(frozen=True)
class Took:
    """How long a step took, and how much CPU it used in all: the part that other load hardly changes."""

    wall: float
    cpu: float


class Meter:
    """Times steps; CPU is that of the PostgreSQL server, of this process and of the programs it ran."""

    def __init__(self, postmaster: psutil.Process) -> None:
        self._postmaster = postmaster

    @classmethod
    async def of(cls, connection: Connection) -> "Meter":
        """The meter of a connection's server."""
        backend = psutil.Process(await connection.fetchval("SELECT pg_backend_pid()"))
        return cls(backend.parent())

    def cpu(self) -> float:
        """CPU seconds so far; those of processes that ended are counted with their parent's."""
        gone = self._postmaster.cpu_times()
        seconds: float = gone.children_user + gone.children_system
        for process in self._postmaster.children():
            with contextlib.suppress(psutil.Error):
                seconds += sum(process.cpu_times()[:2])
        own = os.times()
        return seconds + own.user + own.system + own.children_user + own.children_system

    @contextlib.contextmanager
    def timed(self, taken: list[Took]) -> Iterator[None]:
        """Times a block of work."""
        before, started = self.cpu(), time.perf_counter()
        yield
        wall = time.perf_counter() - started
        taken.append(Took(wall, self.cpu() - before))


def rates(name: str, lines: int, taken: list[Took], aim: int) -> None:
    """Prints the median rate of a step."""
    rate = lines / statistics.median(each.wall for each in taken)
    of_cpu = lines / statistics.median(each.cpu for each in taken)
    each = ", ".join(f"{took.wall:.2f}" for took in taken)
    line(name, f"{rate:>9,.0f} lines/s ({each} s; {of_cpu:,.0f} per s of CPU)", rate >= aim, f">= {aim:,}")


async def generation(connection: Connection, meter: Meter, lines: int) -> None:
    """Generates ledgers."""
    taken: list[Took] = []
    for number in range(ROUNDS):
        with meter.timed(taken):
            await ledgers.generate(connection, f"big-{number}", lines=lines, seed=42 + number)
    rates("generation", lines, taken, AIM_GENERATION)


async def importing(connection: Connection, meter: Meter, folder: Path, lines: int) -> None:
    """Imports a file of our own format."""
    path = folder / "import.csv"
    make_ledger_csv(path, lines)
    taken: list[Took] = []
    for number in range(ROUNDS):
        with meter.timed(taken):
            await import_ledger(connection, Import(path=path, ledger=f"imported-{number}"))
    rates("import", lines, taken, AIM_IMPORT)


@contextlib.asynccontextmanager
async def service(dsn: str, folder: Path) -> AsyncIterator[tuple[str, web.Application]]:
    """A service on this loop."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        host, port = listening.getsockname()
        settings = Settings(
            database_url=dsn, data_dir=folder, host=host, port=port, sync_rate=0, async_rate=0, demo_lines=4
        )
        app = build_app(settings)
        app[ENGINE].listens_on(host, port)
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
        await runner.setup()
        try:
            await web.SockSite(runner, listening).start()
            await app[READY].wait()
            yield f"http://{host}:{port}", app
        finally:
            await runner.cleanup()


def ask(url: str) -> dict[str, Any]:
    """A report of all lines, asked for and waited for as any client does."""
    request = urllib.request.Request(
        f"{url}/api/sync", json.dumps(WHOLE).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=300) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def copy(dsn: str, statement: str, target: Path) -> float:
    """Seconds that psql takes for the same statement in the same session settings, by its own clock."""
    text = " ".join(statement.split())
    script = f"{BEGIN};\n\\timing on\n\\copy ({text}) TO '{target}' CSV HEADER\n"
    done = subprocess.run(
        ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", dsn], input=script, capture_output=True, text=True, check=True
    )
    return float(re.findall(r"Time: ([\d.]+) ms", done.stdout)[-1]) / 1000


def statement_of(request: Request, exponent: int) -> str:
    """The statement that the service streams for a request."""
    job = Job(
        ledger_id=request.ledger_id,
        version=request.ledger_version,
        exponent=exponent,
        parameters=request.input_payload,
        csv_guard=request.csv_guard,
    )
    return CATALOG["general_ledger"].rows(job)


def sha256_of(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


async def general_ledger(dsn: str, meter: Meter, folder: Path) -> None:
    """The heaviest report, three ways in turn."""
    ways: dict[str, list[Took]] = {"psql \\copy": [], "generate() alone": [], "POST /api/sync": []}
    new_id = UUID7Generator()
    loops: dict[str, list[Loop]] = {"generate() alone": [], "POST /api/sync": []}
    async with service(dsn, folder) as (url, app), create_pool(dsn, size=1, statement_cache=100) as pool:
        asked = await asyncio.to_thread(ask, url)  # warms everything up
        request = await store.get_one(app[ENGINE].pool, UUID(asked["id"]))
        assert request is not None
        result = asked["result_payload"]
        statement = statement_of(request, result["exponent"])
        files = ReportFiles(folder / "alone", 10**12)
        for _ in range(ROUNDS_OF_REPORTS):
            target = folder / "psql.csv"
            with meter.timed(ways["psql \\copy"]):
                own_clock = await asyncio.to_thread(copy, dsn, statement, target)
            ways["psql \\copy"][-1] = replace(ways["psql \\copy"][-1], wall=own_clock)
            assert sha256_of(target) == result["sha256"]

            with meter.timed(ways["generate() alone"]):
                async with watched() as loop:
                    with files.draft(new_id()) as draft:
                        await generate(pool, request, draft)
            loops["generate() alone"].append(loop)
            assert draft.sha256 == result["sha256"]

            with meter.timed(ways["POST /api/sync"]):
                async with watched() as loop:
                    found = await asyncio.to_thread(ask, url)
            loops["POST /api/sync"].append(loop)
            assert found["result_payload"]["sha256"] == result["sha256"]
    print(f"\ngeneral ledger, {result['rows']:,} rows, {result['bytes'] / 1e6:.0f} MB")
    for way, taken in ways.items():
        rate = result["rows"] / statistics.median(each.wall for each in taken)
        cpu = statistics.median(each.cpu for each in taken)
        line(way, f"{rate:>9,.0f} rows/s ({', '.join(f'{each.wall:.2f}' for each in taken)} s; {cpu:.2f} s of CPU)")
    for way, seen in loops.items():
        pairs = list(zip(ways["psql \\copy"], ways[way], strict=True))
        ratio = statistics.median(psql.wall / own.wall for psql, own in pairs)
        of_cpu = statistics.median(psql.cpu / own.cpu for psql, own in pairs)
        line(f"{way} / psql", f"{ratio:9.2f} (of CPU {of_cpu:.2f})", ratio >= AIM_RATIO, f">= {AIM_RATIO}")
        worst = max(seen, key=Loop.longest)
        longest = worst.longest()
        line(f"loop under {way}", str(worst), longest <= AIM_HOLD_MS, f"<= {AIM_HOLD_MS:g} ms")


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that goes again."""
    folder = Path(tempfile.mkdtemp(prefix="reportsim-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def run(dsn: str, folder: Path, lines: int) -> None:
    """Everything, in an order in which nothing is in the way of what comes next."""
    connection = await connect(dsn)
    try:
        await migrate(connection)
        meter = await Meter.of(connection)
        await generation(connection, meter, lines)
        await general_ledger(dsn, meter, folder)
        print()
        await importing(connection, meter, folder, lines)
    finally:
        await connection.close()


def main() -> None:
    """Runs the benchmark in a folder of its own."""
    lines = int(sys.argv[1].replace("_", "")) if len(sys.argv) > 1 else LINES
    print(f"{lines:,} lines, medians of {ROUNDS} (reports: of {ROUNDS_OF_REPORTS})")
    with temporary_folder() as folder, embedded.start(folder) as server:
        asyncio.run(run(server.dsn, folder, lines))


if __name__ == "__main__":
    main()
