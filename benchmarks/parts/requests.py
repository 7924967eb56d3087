"""What the number of requests in the table costs: pages of the list, claims, and what the sweep looks for."""

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

from benchmarks.harness.alone import Client, p50, statement_ms
from benchmarks.harness.checkout import Checkout
from benchmarks.harness.database import Log, PostgreSQL, Statement, postgresql
from benchmarks.harness.figures import Table, count, interleave, number, ratio, shown
from benchmarks.harness.idle import wait_until_idle
from benchmarks.harness.options import Options

TITLE: Final = "Tables of requests that grow"
SIZES: Final = (10_000, 1_000_000)
LARGEST: Final = 5_000_000
SMALL: Final = (300, 3_000)
BATCH: Final = 250_000
BURST: Final = 40
SWEEPS_S: Final = 3.0
SWEEPS_SMALL_S: Final = 1.2
LONGEST_S: Final = 60.0
# A checkout and its number of requests.
Key: TypeAlias = "tuple[int, int]"
Rounds: TypeAlias = "dict[Key, list[float]]"
# One slot, held so long that all requests of a burst but the first wait.
WAITING: Final = {"ledger": "tiny", "simulate": {"service_time": {"distribution": "fixed", "mean_ms": 5}}}
LISTS: Final = ("first page", "page in the middle", "failed, one in a thousand", "none: processing")
CLAIM, TAKE_OVER, DUE = "claim of waiting requests", "sweep: expired leases", "sweep: callbacks that are due"

# A row's columns as years of use would leave them: a third sync, half of the others called back. The others are copied.
COLUMNS: Final = {
    "id": "(lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint - {rows} + n), 12, '0')"
    " || '70008000' || lpad(to_hex(n), 12, '0'))::uuid",
    "mode": "CASE n % 3 WHEN 0 THEN 'sync' ELSE 'async' END",
    "endpoint": "CASE n % 3 WHEN 0 THEN '/api/sync' ELSE '/api/async' END",
    "status": "CASE n % 1000 WHEN 7 THEN 'FAILED' ELSE 'COMPLETED' END",
    "result_payload": "CASE WHEN n % 1000 <> 7 THEN t.result_payload END",
    "error": 'CASE n % 1000 WHEN 7 THEN \'{{"type":"/problems/report-failed","title":"The report failed"}}\'::json END',
    "callback_url": "CASE WHEN n % 3 = 1 THEN t.callback_url END",
    "callback_origin": "CASE WHEN n % 3 = 1 THEN t.callback_origin END",
    "callback_status": "CASE WHEN n % 3 = 1 THEN CASE WHEN n % 10000 = 1 THEN 'FAILED' ELSE 'SUCCESS' END END",
    "idempotency_key": "NULL",
}
COLUMNS_OF_REQUESTS: Final = """
SELECT array_agg(attname::text ORDER BY attnum) FROM pg_attribute
WHERE attrelid = 'requests'::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
"""


@dataclass(frozen=True)
class Side:
    """A service with so many requests in its table."""

    client: Client
    checkout: Checkout
    middle: str


def kind(text: str) -> str | None:
    """What a statement is for, if it claims anything."""
    if "SKIP LOCKED" not in text or "ORDER BY" not in text:
        return None
    if re.search(r"callback_due_at\s*<", text):
        return DUE
    return TAKE_OVER if re.search(r"lease_until\s*<", text) else CLAIM


def mean_ms(statements: Sequence[Statement], of_kind: str) -> float | None:
    """The milliseconds of an execution of one kind, with what binding it took."""
    chosen = [statement for statement in statements if kind(statement.text) == of_kind]
    executions = sum(statement.text.startswith(("execute", "statement")) for statement in chosen)
    return sum(statement.ms for statement in chosen) / executions if executions else None


def is_of_list(text: str) -> bool:
    """Whether a statement reads a page of the list."""
    return "FROM requests" in text and "ORDER BY" in text and "UPDATE" not in text and "DELETE" not in text


def fill(database: PostgreSQL, client: Client, dsn: str, rows: int) -> None:
    """Copies one request, accepted and called back, into many."""
    inbox = "/webhook-test/benchmark"
    client.post("/api/async", {"ledger": "tiny", "callback_url": f"{client.url}{inbox}"})
    wait_for(lambda: client.get("/api/requests")["items"][0]["callback_status"] == "SUCCESS")
    columns = database.execute(COLUMNS_OF_REQUESTS, dsn=dsn)
    values = ", ".join(COLUMNS.get(name, f"t.{name}").format(rows=rows) for name in columns)
    statements = [
        f"INSERT INTO requests ({', '.join(columns)}) SELECT {values}"
        f" FROM (SELECT * FROM requests WHERE callback_url LIKE '%{inbox}' ORDER BY id DESC LIMIT 1) AS t,"
        f" generate_series({first}, {min(first + BATCH - 1, rows)}) AS n"
        for first in range(1, rows + 1, BATCH)
    ]
    database.execute(*statements, "VACUUM (ANALYZE) requests", dsn=dsn)


def wait_for(condition: Callable[[], bool]) -> None:
    """Asks until it is so."""
    deadline = time.monotonic() + LONGEST_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.02)


def middle(client: Client, rows: int) -> str:
    """A page in the middle, or as far from the first one as the `next` of 50 pages leads."""
    path = "/api/requests?limit=200"
    for _ in range(min(rows // 400, 50)):
        path = client.get(path)["next"]
    return path.replace("limit=200", "limit=50")


def paths(side: Side) -> dict[str, str]:
    """The pages that are read."""
    queries = ("/api/requests", side.middle, "/api/requests?status=FAILED&limit=10", "/api/requests?status=PROCESSING")
    return dict(zip(LISTS, queries, strict=True))


def observe(side: Side, log: Log, seconds: float) -> Iterator[Statement]:
    """The statements of a burst that has to wait, and of some sweeps."""
    log.take()
    for _ in range(BURST):
        side.client.post("/api/async", WAITING)
    time.sleep(seconds)
    wait_for(lambda: not side.client.get("/api/requests?status=PENDING&limit=1")["items"])
    yield from log.take()


def measure(sides: Mapping[Key, Side], database: PostgreSQL, options: Options) -> dict[str, Rounds]:
    """Milliseconds of every figure of every side, in turn."""
    found: dict[str, Rounds] = {}
    for name in LISTS:
        asks = {key: reading(side, name) for key, side in sides.items()}
        api = {key: partial(p50, ask, options.requests) for key, ask in asks.items()}
        found[f"list, {name}, API"] = interleave(api, options.rounds)
        with database.logging() as log:
            alone = {key: partial(statement_ms, ask, log, is_of_list, options.requests) for key, ask in asks.items()}
            found[f"list, {name}, statement"] = interleave(alone, options.rounds)
    return {**found, **measure_claims(sides, database, options)}


def reading(side: Side, name: str) -> Callable[[], object]:
    """Reads a page of the list."""
    path = paths(side)[name]
    return lambda: side.client.get(path)


def measure_claims(sides: Mapping[Key, Side], database: PostgreSQL, options: Options) -> dict[str, Rounds]:
    """Milliseconds of the statements that claim; a round in which a side has none is left out."""
    seconds = SWEEPS_SMALL_S if options.small else SWEEPS_S
    found: dict[str, Rounds] = {name: {key: [] for key in sides} for name in (CLAIM, TAKE_OVER, DUE)}
    with database.logging() as log:
        for _ in range(options.rounds):
            for key, side in sides.items():
                statements = list(observe(side, log, seconds))
                for name, taken in found.items():
                    ms = mean_ms(statements, name)
                    taken[key] += [] if ms is None else [ms]
    return {f"{name}, statement": taken for name, taken in found.items()}


def table(found: Mapping[str, Rounds], sizes: Sequence[int], checkout: int) -> Table:
    """The figures of a checkout."""
    shape = Table(("", *map(count, sizes), f"{count(sizes[-1])} / {count(sizes[0])}"))
    for name, sides in found.items():
        cells = [sides[checkout, size] for size in sizes]
        if all(len(cell) == len(cells[0]) for cell in cells) and cells[0]:
            shape.add(name, *map(shown, cells), number(ratio(cells[-1], cells[0])))
    return shape


def run(options: Options) -> str:
    """The section of the page."""
    sizes = SMALL if options.small else (*SIZES, *([LARGEST] if options.full else []))
    with postgresql() as database, ExitStack() as stack:
        sides = {}
        for index, root in enumerate(options.checkouts):
            for size in sizes:
                checkout = Checkout(root, database.create(f"requests_{index}_{size}"))
                server = stack.enter_context(checkout.serving(REPORTSIM_WORKERS="1", REPORTSIM_LEASE_S="30"))
                client = Client(server.url)
                fill(database, client, checkout.dsn, size)
                sides[index, size] = Side(client, checkout, middle(client, size))
        database.execute("CHECKPOINT")
        wait_until_idle((database.pid,))
        found = measure(sides, database, options)
    headings = ("Milliseconds:", "The commit that it is measured against, milliseconds:")
    written = [f"{headings[index]}\n\n{table(found, sizes, index)}" for index in range(len(options.checkouts))]
    tables = "\n\n".join(written)
    return f"""\
So many requests that have ended are in the table. p50 of a client that asks alone; a statement is what PostgreSQL logs
for it, with its binding. Claims are those of {BURST} requests that wait for one slot; nothing is due for the sweep.

{tables}
"""
