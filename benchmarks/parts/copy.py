"""The general ledger of a million lines through the service, against psql's \\copy of the statement that it sends.

The statement is taken from PostgreSQL's log; both files must be the same. Meanwhile the service's loop is watched.
"""

import hashlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.harness.alone import Client, timed
from benchmarks.harness.checkout import Checkout
from benchmarks.harness.database import Log, PostgreSQL, Statement, postgresql
from benchmarks.harness.figures import Table, count, interleave, number, ratio, shown
from benchmarks.harness.idle import wait_until_idle
from benchmarks.harness.options import NotInstalledError, Options
from benchmarks.harness.page import ROOT

TITLE: Final = "A general ledger of a million lines"
LINES: Final = 1_000_000
SMALL: Final = 30_000
BODY: Final = {"report_type": "general_ledger", "ledger": "whole"}
# As the service sets them for a long listing.
SESSION: Final = "BEGIN; SET LOCAL jit = off; SET LOCAL work_mem = '64MB'"


def copied(statements: Sequence[Statement]) -> str:
    """The query that the service had copied out."""
    for statement in statements:
        if found := re.search(r"COPY \((.*)\) TO STDOUT", statement.text, re.DOTALL | re.IGNORECASE):
            return " ".join(found[1].split())
    raise LookupError("no COPY in PostgreSQL's log")


def psql(dsn: str, query: str, target: Path) -> float:
    """Milliseconds of the same query by psql, by its own clock."""
    script = f"{SESSION};\n\\timing on\n\\copy ({query}) TO '{target}' CSV HEADER\n"
    done = subprocess.run(
        ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", dsn], input=script, capture_output=True, text=True, check=True
    )
    return float(re.findall(r"Time: ([\d.]+) ms", done.stdout)[-1])


def sha256_of(path: Path) -> str:
    """The hash of a file."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def ask(client: Client, log: Log) -> tuple[dict[str, Any], str]:
    """A first report, and the query that it took."""
    log.take()
    result = client.post("/api/sync", BODY)["result_payload"]
    return result, copied(log.take())


def holds(path: Path) -> tuple[float, float]:
    """The longest hold of the loop by CPU and by the clock, in milliseconds."""
    lines = [tuple(map(float, line.split())) for line in path.read_text().splitlines()]
    held, late = zip(*lines, strict=True) if lines else ((0.0,), (0.0,))
    return max(held), max(late)


class Race:
    """Both ways to the same file."""

    def __init__(self, client: Client, dsn: str, database: PostgreSQL, folder: Path) -> None:
        self._client, self._dsn, self._database, self._folder = client, dsn, database, folder
        self._watched = folder / "holds"
        self.held: list[float] = []
        self.late: list[float] = []
        with database.logging() as log:
            self.result, self._query = ask(client, log)

    def copy(self) -> float:
        """Rows a second of psql."""
        target = self._folder / "psql.csv"
        ms = psql(self._dsn, self._query, target)
        if sha256_of(target) != self.result["sha256"]:
            raise AssertionError("psql wrote something else")
        return self._rate(ms)

    def report(self) -> float:
        """Rows a second of the service."""
        before = self._watched.read_text()
        rate = self._rate(timed(lambda: self._client.post("/api/sync", BODY)))
        seen = self._folder / "seen"
        seen.write_text(self._watched.read_text()[len(before) :])
        held, late = holds(seen)
        self.held.append(held)
        self.late.append(late)
        return rate

    def _rate(self, ms: float) -> float:
        wait_until_idle((self._database.pid,))
        rows: int = self.result["rows"]
        return 1000 * rows / ms


def run(options: Options) -> str:
    """The section of the page."""
    if not shutil.which("psql"):
        raise NotInstalledError("psql is not installed")
    lines = options.size(LINES, SMALL)
    with postgresql() as database, tempfile.TemporaryDirectory(prefix="reportsim-bench-") as name:
        folder = Path(name)
        checkout = Checkout(ROOT, database.create("copy"))
        checkout.generate("whole", lines)
        database.execute("VACUUM (ANALYZE)", "CHECKPOINT", dsn=checkout.dsn)
        with checkout.serving(("-m", "benchmarks.parts.watched_service", str(folder / "holds"))) as server:
            race = Race(Client(server.url), checkout.dsn, database, folder)
            found = interleave({"psql": race.copy, "service": race.report}, options.rounds)
    size = race.result["bytes"] / 1e6
    table = Table(
        ("", "rows/s", "by psql (aim ≥ 0.8)", "longest hold of the loop, CPU ms (aim ≤ 20)", "latest tick, ms")
    )
    table.add("`psql \\copy`", shown(found["psql"]), "", "", "")
    by_psql = number(ratio(found["service"], found["psql"]))
    table.add("`POST /api/sync`", shown(found["service"]), by_psql, number(max(race.held)), number(max(race.late)))
    return f"""\
{count(lines)} lines, {size:.0f} MB. The service accepts the request, makes the file, hashes and checks it, and answers;
psql copies what the same statement returns into a file. Both files are the same. Of the loop the worst of all rounds is
shown; a tick is late also when the process was not running.

{table}
"""
