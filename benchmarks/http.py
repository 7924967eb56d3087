"""How cheap a refusal is, and whether a page of the list cares how long the list is.

429s against the trivial handler of the same server, and pages over a million rows against pages over ten thousand. Each
figure is a median of rounds taken in turn, by the clock and by the CPU time that the service spends on a request, which
other users of the machine disturb less. Needs wrk.
"""

import asyncio
import json
import statistics
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import psutil

from benchmarks.server import Server, running, wrk
from reportsim.store.embedded_postgres import server as embedded
from reportsim.store.pool import connect

# Short rounds taken in turn: whoever else uses the machine disturbs both sides of a ratio.
ROUNDS = 11
SECONDS = 1
TRIVIAL = "/healthz"
REFUSED = 'wrk.method = "POST"\n'
LEAST_RATIO = 0.8
MOST_RATIO = 1.5
P99_MS = 5.0
FEW, MANY = 10_000, 1_000_000
PAGES = {
    "first page": "",
    "page in the middle": "",
    "sync": "?mode=sync",
    # As many as there are in the short list, so that the pages are of one size.
    "failed, one in a thousand": "?status=FAILED&limit=10",
    "callback failed, one in ten thousand": "?callback_status=FAILED&limit=1",
    "none: processing": "?status=PROCESSING",
}

# Rows as years of use would leave them: a third sync, half of the others called back.
FILL = """
INSERT INTO requests (id, mode, status, input_payload, result_payload, error, callback_url, callback_origin,
    callback_status, callback_attempts, endpoint, ledger_id, ledger_version, report_version, csv_guard, created_at,
    started_at, completed_at)
SELECT ('0190' || lpad(to_hex(n), 8, '0') || '7000' || '8000' || lpad(to_hex(n), 12, '0'))::uuid,
    CASE n % 3 WHEN 0 THEN 'sync' ELSE 'async' END, CASE n % 1000 WHEN 7 THEN 'FAILED' ELSE 'COMPLETED' END,
    '{"report_type":"trial_balance","ledger":"demo","from":"2025-01-01","to":"2026-01-01"}',
    CASE WHEN n % 1000 <> 7 THEN json_build_object('report_type', 'trial_balance', 'rows', 23, 'bytes', 1790,
        'sha256', repeat('a', 64), 'totals', json_build_object('period_debit', n), 'checks', '[]'::json) END,
    CASE n % 1000 WHEN 7 THEN '{"type":"/problems/report-failed","title":"The report failed","status":500}'::json END,
    CASE WHEN n % 3 = 1 THEN 'https://receiver.example.org/hook' END,
    CASE WHEN n % 3 = 1 THEN 'https://receiver.example.org:443' END,
    CASE WHEN n % 3 = 1 THEN CASE WHEN n % 10000 = 1 THEN 'FAILED' ELSE 'SUCCESS' END END, 1,
    CASE n % 3 WHEN 0 THEN '/api/sync' ELSE '/api/async' END, 1, 1, 1, true, now(), now(), now()
FROM generate_series(1, $1) AS n
"""


@dataclass
class Series:
    """One load in all rounds: requests per second, and the microseconds of CPU that one costs the service."""

    rates: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)
    p99s: list[float] = field(default_factory=list)

    def take(self, server: Server, path: str, *, script: str | None = None, clients: int = 64) -> None:
        """Loads the server for one round."""
        process = psutil.Process(server.pid)
        before = sum(process.cpu_times()[:2])
        load = wrk(server.url + path, seconds=SECONDS, clients=clients, script=script)
        self.rates.append(load.rate)
        self.p99s.append(load.p99)
        self.costs.append((sum(process.cpu_times()[:2]) - before) / (load.rate * SECONDS) * 1e6)


def ratio(one: Sequence[float], other: Sequence[float]) -> float:
    """The median of the ratios of rounds."""
    return statistics.median(a / b for a, b in zip(one, other, strict=True))


def refusals() -> None:
    """429s against the trivial handler."""
    refused, trivial = Series(), Series()
    with running(REPORTSIM_SYNC_RATE="1") as server:
        refused.take(server, "/api/sync", script=REFUSED)
        refused = Series()
        for _ in range(ROUNDS):
            trivial.take(server, TRIVIAL)
            refused.take(server, "/api/sync", script=REFUSED)
        alone, trivial_alone = Series(), Series()
        for _ in range(ROUNDS):
            trivial_alone.take(server, TRIVIAL, clients=1)
            alone.take(server, "/api/sync", script=REFUSED, clients=1)
    print(
        f"429s  {statistics.median(refused.rates):,.0f}/s of {statistics.median(trivial.rates):,.0f}/s trivial:"
        f"  ratio {ratio(refused.rates, trivial.rates):.2f} by the clock, {ratio(trivial.costs, refused.costs):.2f}"
        f" by CPU (aim {LEAST_RATIO});  p99 of one client {statistics.median(alone.p99s):.2f} ms (aim {P99_MS:g},"
        f" trivial {statistics.median(trivial_alone.p99s):.2f} ms)"
    )


async def fill(server: Server, rows: int) -> None:
    """Gives a service a past."""
    with embedded.start(server.data_dir) as database:
        connection = await connect(database.dsn)
        for first in range(0, rows, 100_000):
            await connection.execute(
                FILL.replace("generate_series(1, $1)", f"generate_series({first + 1}, {min(first + 100_000, rows)})")
            )
        await connection.execute("VACUUM (ANALYZE) requests")
        await connection.close()


def cursor(server: Server, rows: int) -> str:
    """A page in the middle, as `next` would lead there."""
    path = "/api/requests?limit=200"
    for _ in range(min(rows // 400, 50)):
        with urllib.request.urlopen(server.url + path, timeout=30) as answer:
            path = json.loads(answer.read())["next"]
    return path.replace("/api/requests", "").replace("limit=200", "limit=50")


def pages() -> None:
    """Pages of a long list against pages of a short one."""
    with ExitStack() as stack:
        few, many = stack.enter_context(running()), stack.enter_context(running())
        for server, rows in ((few, FEW), (many, MANY)):
            asyncio.run(fill(server, rows))
        for name, query in PAGES.items():
            queries = [cursor(few, FEW), cursor(many, MANY)] if "middle" in name else [query, query]
            short, long = Series(), Series()
            for _ in range(ROUNDS):
                short.take(few, "/api/requests" + queries[0], clients=4)
                long.take(many, "/api/requests" + queries[1], clients=4)
            print(
                f"list, {name:<38} {statistics.median(short.rates):8,.0f}/s over {FEW:,} rows,"
                f" {statistics.median(long.rates):8,.0f}/s over {MANY:,}:"
                f"  {ratio(short.rates, long.rates):.2f} times as long by the clock,"
                f" {ratio(long.costs, short.costs):.2f} by the service's CPU (aim {MOST_RATIO})"
            )


def main() -> None:
    """Prints the table."""
    refusals()
    pages()


if __name__ == "__main__":
    main()
