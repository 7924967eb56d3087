"""What the size of a ledger costs its reports: each asked for alone, blocking, on ledgers of growing size."""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Final, TypeAlias

from benchmarks.harness.alone import Client, p50, statement_ms
from benchmarks.harness.checkout import Checkout
from benchmarks.harness.database import PostgreSQL, postgresql
from benchmarks.harness.figures import Table, count, interleave, number, ratio, shown
from benchmarks.harness.idle import wait_until_idle
from benchmarks.harness.options import Options

TITLE: Final = "Reports on ledgers that grow"
SIZES: Final = (10_000, 100_000, 1_000_000)
LARGEST: Final = 10_000_000
SMALL: Final = (200, 2_000)
REPORTS: Final[dict[str, dict[str, object]]] = {
    "trial balance of the year": {"report_type": "trial_balance"},
    "income statement by month": {"report_type": "income_statement", "group_by": "month"},
    "balance sheet": {"report_type": "balance_sheet"},
    "cash flow": {"report_type": "cash_flow"},
    "general ledger of one day": {"report_type": "general_ledger", "from": "2025-06-01", "to": "2025-06-02"},
}
# Tables that only the statements of reports read.
OF_REPORTS: Final = re.compile(r"\b(accounts|postings|balances)\b")

Variant: TypeAlias = "tuple[int, str, int]"
Rounds: TypeAlias = "dict[Variant, list[float]]"


@dataclass(frozen=True)
class Figures:
    """The rounds of every variant (checkout, report, column): through the API, and the statement alone."""

    api: Rounds
    statement: Rounds


def is_of_report(text: str) -> bool:
    """Whether a statement is of a report."""
    return OF_REPORTS.search(text) is not None


def measure(clients: Sequence[Client], ledgers: Mapping[int, str], database: PostgreSQL, options: Options) -> Figures:
    """Every report of every ledger from every checkout, in turn."""
    asks = {
        (checkout, report, key): asking(client, {**body, "ledger": ledger})
        for report, body in REPORTS.items()
        for key, ledger in ledgers.items()
        for checkout, client in enumerate(clients)
    }
    for ask in asks.values():
        ask()
    api = interleave({variant: partial(p50, ask, options.requests) for variant, ask in asks.items()}, options.rounds)

    with database.logging() as log:
        alone = {
            variant: partial(statement_ms, ask, log, is_of_report, options.requests) for variant, ask in asks.items()
        }
        statement = interleave(alone, options.rounds)
    return Figures(api, statement)


def asking(client: Client, body: Mapping[str, object]) -> Callable[[], object]:
    """Asks for a report and waits for it."""
    return lambda: client.post("/api/sync", body)


def tables(figures: Figures, columns: Mapping[int, str], checkouts: int, last: str) -> str:
    """The figures of each checkout, and how they compare."""
    written = [f"{heading(each, checkouts)}\n\n{table(figures, columns, each, last)}" for each in range(checkouts)]
    if checkouts > 1:
        written.append(f"This commit, by the other one (below 1 is faster):\n\n{compared(figures, columns)}")
    return "\n\n".join(written)


def heading(checkout: int, checkouts: int) -> str:
    """What a table is of."""
    names = ("This commit", "The commit that it is measured against")
    return "Milliseconds:" if checkouts == 1 else f"{names[checkout]}, milliseconds:"


def table(figures: Figures, columns: Mapping[int, str], checkout: int, last: str) -> Table:
    """The figures of a checkout; the last column has the last figure by the first."""
    found = Table(("", *columns.values(), last))
    for name, rounds in (("API", figures.api), ("statement", figures.statement)):
        for report in REPORTS:
            cells = [rounds[checkout, report, key] for key in columns]
            found.add(f"{report}, {name}", *map(shown, cells), number(ratio(cells[-1], cells[0])))
    return found


def compared(figures: Figures, columns: Mapping[int, str]) -> Table:
    """The ratios of two checkouts."""
    found = Table(("", *columns.values()))
    for name, rounds in (("API", figures.api), ("statement", figures.statement)):
        for report in REPORTS:
            ratios = [ratio(rounds[0, report, key], rounds[1, report, key]) for key in columns]
            found.add(f"{report}, {name}", *map(number, ratios))
    return found


def run(options: Options) -> str:
    """The section of the page."""
    sizes = SMALL if options.small else (*SIZES, *([LARGEST] if options.full else []))
    ledgers = {lines: f"lines_{lines}" for lines in sizes}
    with postgresql() as database, ExitStack() as stack:
        clients = []
        for index, root in enumerate(options.checkouts):
            checkout = Checkout(root, database.create(f"growth_{index}"))
            for lines, ledger in ledgers.items():
                checkout.generate(ledger, lines)
            database.execute("VACUUM (ANALYZE)", dsn=checkout.dsn)
            clients.append(Client(stack.enter_context(checkout.serving()).url))
        database.execute("CHECKPOINT")
        wait_until_idle((database.pid,))
        figures = measure(clients, ledgers, database, options)
    columns = {lines: count(lines) for lines in sizes}
    slowest = max(median(figures.api[0, report, sizes[-1]]) for report in list(REPORTS)[:-1])
    largest, smallest = count(sizes[-1]), count(sizes[0])
    return f"""\
A client asks for a report, waits for it and asks for the next one, at least 3 and at most {options.requests} times a
round: p50. The statement is what PostgreSQL logs for those statements of a request that read accounts, entries or kept
totals. The general ledger grows with the entries of its day. Slowest of the other four at {largest} lines:
{number(slowest)} ms.

{tables(figures, columns, len(options.checkouts), f"{largest} / {smallest}")}
"""
