"""How fast ledgers are generated, imported and appended to, and what many appends cost the reports."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from benchmarks.harness.alone import Client
from benchmarks.harness.checkout import Checkout
from benchmarks.harness.database import PostgreSQL, postgresql
from benchmarks.harness.figures import Table, count, interleave, number, ratio, shown
from benchmarks.harness.idle import wait_until_idle
from benchmarks.harness.options import Options
from benchmarks.parts import growth
from benchmarks.parts.make_ledger_csv import make_ledger_csv

TITLE: Final = "Writing ledgers"
LINES: Final = 1_000_000
APPENDS: Final = 300
# Lines of a file that is appended, and of each of its transactions.
APPENDED: Final = 400
LINES_EACH: Final = 2
# How many appends a checkout makes before it is the other one's turn.
TURN: Final = 10
# The ledgers whose reports are compared, with the same entries in all of them.
ONCE: Final = "once"
ORDERS: Final = ("in_order", "all_over")


def split(path: Path, files: int) -> dict[str, list[Path]]:
    """A ledger's file as several, each with the header: in the order of its days, and each from all over the year."""
    header, *lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    transactions = [lines[index : index + LINES_EACH] for index in range(0, len(lines), LINES_EACH)]
    size = len(transactions) // files
    dealt = {
        ORDERS[0]: [transactions[index * size : (index + 1) * size] for index in range(files)],
        ORDERS[1]: [transactions[index::files] for index in range(files)],
    }
    parts: dict[str, list[Path]] = {order: [] for order in ORDERS}
    for order, shares in dealt.items():
        for index, share in enumerate(shares):
            part = path.with_name(f"{order}-{index}.csv")
            part.write_text("".join([header, *(line for lines in share for line in lines)]), encoding="utf-8")
            parts[order].append(part)
    return parts


def written(
    checkouts: Sequence[Checkout], database: PostgreSQL, path: Path, lines: int, rounds: int
) -> list[list[list[float]]]:
    """Lines a second of every checkout, round by round: generated, and imported."""
    generate = ("ledger", "generate", "--ledger", "new", f"--lines={lines}")
    import_ = ("ledger", "import", str(path), "--ledger", "new")

    def rate(checkout: Checkout, command: Sequence[str]) -> float:
        [seconds, _] = checkout.run(command, ("ledger", "delete", "new"))
        database.execute("VACUUM", "CHECKPOINT", dsn=checkout.dsn)
        wait_until_idle((database.pid,))
        return lines / seconds

    def variant(checkout: Checkout, command: Sequence[str]) -> Callable[[], float]:
        return lambda: rate(checkout, command)

    found = []
    for command in (generate, import_):
        variants = {index: variant(checkout, command) for index, checkout in enumerate(checkouts)}
        found.append(list(interleave(variants, rounds).values()))
    return found


def append(checkouts: Sequence[Checkout], ledger: str, parts: Sequence[Path]) -> list[list[float]]:
    """The milliseconds of every append of every checkout, some at a time in turn."""
    found: list[list[float]] = [[] for _ in checkouts]
    for first in range(0, len(parts), TURN):
        for taken, checkout in zip(found, checkouts, strict=True):
            commands = [
                ("ledger", "import", str(part), "--ledger", ledger, *(["--append"] if part != parts[0] else []))
                for part in parts[first : first + TURN]
            ]
            taken += [1000 * seconds for seconds in checkout.run(*commands)]
    return found


def speed(
    written: list[list[list[float]]], appended: Mapping[str, list[list[float]]], lines: int, appends: int
) -> Table:
    """The table of what writing takes."""
    against = len(written[0]) > 1
    table = Table(("", "this commit", *(["measured against", "time, by the other's"] if against else [])))
    for name, rates in zip(("generated", "imported"), written, strict=True):
        compared = [number(ratio(rates[1], rates[0]))] if against else []
        table.add(f"{count(lines)} lines {name}", *(shown(each, "lines/s") for each in rates), *compared)
    for order, times in appended.items():
        for name, cut in (
            (f"one of {appends} appends", slice(None)),
            ("one of the last tenth", slice(-appends // 10, None)),
        ):
            taken = [each[cut] for each in times]
            compared = [number(ratio(taken[0], taken[1]))] if against else []
            what = f"{name} of {APPENDED} lines, {order.replace('_', ' ')}"
            table.add(what, *(shown(each, "ms") for each in taken), *compared)
    return table


def run(options: Options) -> str:
    """The section of the page."""
    lines, appends = options.size(LINES, 2_000), options.size(APPENDS, 20)
    with (
        postgresql() as database,
        tempfile.TemporaryDirectory(prefix="reportsim-bench-") as folder,
        ExitStack() as stack,
    ):
        large, small = Path(folder) / "large.csv", Path(folder) / "small.csv"
        make_ledger_csv(large, lines)
        make_ledger_csv(small, appends * APPENDED)
        parts = split(small, appends)
        checkouts = [
            Checkout(root, database.create(f"ledgers_{index}")) for index, root in enumerate(options.checkouts)
        ]
        rates = written(checkouts, database, large, lines, options.rounds)
        appended = {order: append(checkouts, order, each) for order, each in parts.items()}
        for checkout in checkouts:
            checkout.run(("ledger", "import", str(small), "--ledger", ONCE))
            database.execute("VACUUM (ANALYZE)", dsn=checkout.dsn)
        clients = [Client(stack.enter_context(checkout.serving()).url) for checkout in checkouts]
        wait_until_idle((database.pid,))
        figures = growth.measure(clients, dict(enumerate((ONCE, *ORDERS))), database, options)
    columns = {0: "imported once", 1: f"{appends} in order", 2: f"{appends} all over"}
    worst = max(
        ratio(figures.api[0, report, often], figures.api[0, report, 0]) for report in growth.REPORTS for often in (1, 2)
    )
    return f"""\
The commands of `reportsim ledger`, without the start of the interpreter. An append is measured once for each file: the
files of a ledger follow each other in time (in order), or each has transactions of the whole year (all over).

{speed(rates, appended, lines, appends)}

Reports on ledgers of {appends} appends, and on the same {appends * APPENDED:,} lines imported once; the worst is
{number(worst)} times as slow.

{growth.tables(figures, columns, len(checkouts), "all over / once")}
"""
