"""The service beside the plain stack (`benchmarks.peers.plain`), which does the same work on the same tables.

FastAPI, SQLAlchemy and psycopg under uvicorn: one process, eight threads for handlers and eight for background work.
Both run all the time, on one PostgreSQL; rounds are taken in turn, each when the one before has been worked off.
"""

import functools
import json
import math
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from benchmarks import sink
from benchmarks.harness.checkout import Checkout
from benchmarks.harness.database import PostgreSQL, postgresql
from benchmarks.harness.figures import Table, count, interleave, number, ratio, shown
from benchmarks.harness.idle import wait_until_idle
from benchmarks.harness.load import CLIENTS, describe_client, posts
from benchmarks.harness.options import NotInstalledError, Options
from benchmarks.harness.page import ROOT
from benchmarks.server import Server, running
from reportsim.core.signing import new_secret

TITLE: Final = "The plain stack beside the service"
PYTHON: Final = ROOT / ".venv" / "peers" / "bin" / "python"
UVICORN: Final = ("-m", "uvicorn", "benchmarks.peers.plain.service:app", "--no-access-log", "--log-level", "warning")
PACKAGES: Final = ("fastapi", "uvicorn", "sqlalchemy", "psycopg", "pydantic", "httpx")
VERSIONS: Final = f"import importlib.metadata as m; print(', '.join(f'{{n}} {{m.version(n)}}' for n in {PACKAGES!r}))"
SECONDS: Final = 4
# Answers that a load should get: those that are on their way at its end are not counted.
ENOUGH: Final = 150
LONGEST_LOAD_S: Final = 30
# As many as the plain stack has threads: more would only wait there.
READERS: Final = 8
LINES: Final = 100_000
MANY: Final = 1_000_000
DAY: Final = {"from": "2025-06-01", "to": "2025-06-02"}
HELD_S: Final = 60
HELD_SMALL_S: Final = 15
LONGEST_S: Final = 300.0
# The limits on what one client may have waiting are not what is compared.
SETTINGS: Final = {
    "REPORTSIM_CALLBACK_ALLOW": "127.0.0.0/8",
    "REPORTSIM_CALLBACK_RATE": "0",
    "REPORTSIM_CLIENT_WAITING": "1000000",
    "REPORTSIM_CLIENT_PLANNED_S": "1000000",
    "REPORTSIM_SHUTDOWN_GRACE_S": "1",
    # The work that holds the slots comes from several clients: one alone is never given the last slot for long.
    "REPORTSIM_TRUSTED_PROXIES": "127.0.0.1/32",
}
HOLDERS: Final = ("10.0.0.1", "10.0.0.2")
# As many times as long as one of them the slots and the threads are held, by requests that follow each other.
HELD_TIMES: Final = 4


Body: TypeAlias = Mapping[str, object]
# The rate and the errors of a round.
Measure: TypeAlias = Callable[[], tuple[float, int]]


@dataclass(frozen=True)
class Side:
    """One of the two: its service, its paths, its tables, and what makes a request hold a slot."""

    server: Server
    sync: str
    later: str
    accepted: str
    log: str
    busy: Body


class Comparison:
    """Both sides on one database."""

    def __init__(self, options: Options, database: PostgreSQL, receiver: sink.Running) -> None:
        self._options = options
        self._database = database
        self._dsn = database.create("plain")
        self._receiver = receiver
        self._checkout = Checkout(ROOT, self._dsn)
        self._seconds = options.size(SECONDS, 1)
        self.table = Table(("", "service", "plain stack", "ratio", "aim", "errors"))

    def run(self) -> None:
        """Fills the table."""
        lines, many = self._options.size(LINES, 2_000), self._options.size(MANY, 4_000)
        self._checkout.generate("usual", lines)
        self._checkout.generate("large", many, seed=43)
        with self._both() as sides:
            for ledger, size in (("usual", lines), ("large", many)):
                year = {"report_type": "trial_balance", "ledger": ledger}
                self._reports(sides, f"blocking trial balance of the year, {count(size)} lines", 60, year)
            day = {"report_type": "general_ledger", "ledger": "usual", **DAY}
            self._reports(sides, f"blocking general ledger of one day, {count(lines)} lines", 9, day)
        with self._both() as sides:
            self._accepts(sides)
        with self._both() as sides:
            self._lives(sides, {**day, "callback_url": self._receiver.url()})

    @contextmanager
    def _both(self) -> Iterator[list[Side]]:
        """Both services, with empty tables."""
        held = self._options.size(HELD_S, HELD_SMALL_S)
        fixed = {"service_time": {"distribution": "fixed", "mean_ms": 1000 * held}}
        with self._checkout.serving(**SETTINGS) as ours, self._plain() as plain:
            self._database.execute("TRUNCATE requests, callback_logs", "TRUNCATE plain_requests CASCADE", dsn=self._dsn)
            yield [
                Side(ours, "/api/sync", "/api/async", "requests", "callback_logs", {"simulate": fixed}),
                Side(plain, "/sync", "/async", "plain_requests", "plain_callback_logs", {"simulate_s": held}),
            ]
        self._database.execute("TRUNCATE requests, callback_logs", "TRUNCATE plain_requests CASCADE", dsn=self._dsn)

    @contextmanager
    def _plain(self) -> Iterator[Server]:
        """The plain stack."""
        with tempfile.TemporaryDirectory(prefix="reportsim-bench-") as folder:
            settings = {"PLAIN_DATABASE_URL": self._dsn, "PLAIN_DATA_DIR": folder, "PLAIN_SECRET": new_secret()}
            with running(UVICORN, python=str(PYTHON), cwd=str(ROOT), **settings) as server:
                yield server

    def _reports(self, sides: list[Side], name: str, aim: int, body: Body) -> None:
        """Blocking reports a second; both must write the same bytes."""
        hashes = {ask(side.server.url + side.sync, body)["result_payload"]["sha256"] for side in sides}
        if len(hashes) != 1:
            raise AssertionError(f"{name}: the reports differ")
        self._answers(name, aim, {side.server.url + side.sync: side for side in sides}, body, READERS)

    def _accepts(self, sides: list[Side]) -> None:
        """Requests accepted a second, while every slot and every thread is held by one that lasts longer."""
        for side in sides:
            for place in range(HELD_TIMES * READERS):
                address = HOLDERS[place % len(HOLDERS)]
                ask(side.server.url + side.later, {"ledger": "usual", **side.busy}, address)
        name = "accepted (202): validated, keyed, committed"
        self._answers(name, 12, {side.server.url + side.later: side for side in sides}, {"ledger": "usual"}, CLIENTS)

    def _answers(self, name: str, aim: int, urls: Mapping[str, Side], body: Body, clients: int) -> None:
        """Answers a second, each side for as long as it needs to give enough of them; a first load warms it up."""

        def loaded(url: str, seconds: int) -> tuple[float, int]:
            load = posts(url, dict(body), seconds=seconds, clients=clients)
            return load.rate, load.errors

        measures = []
        for url, side in urls.items():
            rate, _ = loaded(url, self._seconds)
            self._settle(side)
            enough = math.ceil(self._options.size(ENOUGH, 1) / rate) if rate else LONGEST_LOAD_S
            measures.append((side, functools.partial(loaded, url, min(max(enough, self._seconds), LONGEST_LOAD_S))))
        self._compare(name, aim, measures)

    def _lives(self, sides: list[Side], body: Body) -> None:
        """Requests a second from the first POST to the last callback that is logged."""
        lives = [(side, functools.partial(self._life, side, body, self._options.size(2, 1))) for side in sides]
        for side, life in lives:
            life()
            self._settle(side)
        self._compare("whole lives: accepted, report, signed callback, logged", 10, lives)

    def _life(self, side: Side, body: Body, seconds: int) -> tuple[float, int]:
        """What was accepted in some seconds, by the time until all of it has been called back."""
        already, began = self._rows(side.log), time.monotonic()
        load = posts(side.server.url + side.later, dict(body), seconds=seconds)
        accepted = self._rows(side.accepted)
        self._database.wait_for(accepted, side.log, self._dsn, LONGEST_S)
        took = time.monotonic() - began
        self._receiver.take()
        return (accepted - already) / took, load.errors

    def _rows(self, table: str) -> int:
        """The rows of a table."""
        rows: int = self._database.execute(f"SELECT count(*) FROM {table}", dsn=self._dsn)
        return rows

    def _settle(self, side: Side) -> None:
        """Waits until a side has worked off what it was asked for."""
        wait_until_idle((side.server.pid, self._database.pid))

    def _compare(self, name: str, aim: int, measures: Sequence[tuple[Side, Measure]]) -> None:
        """A row of the table."""
        errors = 0

        def rate(side: Side, measure: Measure) -> float:
            nonlocal errors
            found, failed = measure()
            errors += failed
            self._settle(side)
            return found

        variants = {side.server.pid: functools.partial(rate, side, measure) for side, measure in measures}
        ours, plain = interleave(variants, self._options.rounds).values()
        figures = (shown(ours, "/s"), shown(plain, "/s"), number(ratio(ours, plain)))
        self.table.add(name, *figures, f"≥ {aim}", str(errors))


def ask(url: str, body: Body, address: str | None = None) -> dict[str, Any]:
    """Posts JSON, if so wanted as a proxy does for the client of an address."""
    headers = {"Content-Type": "application/json", **({"X-Forwarded-For": address} if address else {})}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=120) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def run(options: Options) -> str:
    """The section of the page."""
    if not PYTHON.exists():
        raise NotInstalledError("the plain stack is not installed: make .venv/peers/stamp")
    with postgresql() as database, sink.running() as receiver:
        comparison = Comparison(options, database, receiver)
        comparison.run()
    versions = subprocess.run([PYTHON, "-c", VERSIONS], capture_output=True, text=True, check=True).stdout.strip()
    return f"""\
{versions}; one process of each, no access log in the plain stack. Reports are compared byte for byte before they are
measured. {READERS} clients ask for reports, {CLIENTS} for what is done later; the client is {describe_client()}.

{comparison.table}
"""
