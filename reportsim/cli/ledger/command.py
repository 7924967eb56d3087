"""`reportsim ledger`: list, import, generate, verify and delete ledgers; works while the service runs."""

import argparse
import sys
from datetime import date
from typing import Any

from rich.table import Table

from reportsim.cli.console import open_console
from reportsim.cli.errors import CommandError
from reportsim.cli.ledger.import_file import add_import, ledger_name
from reportsim.cli.ledger.progress import on_database, steps
from reportsim.core.model import Ledger
from reportsim.store import ledger_totals, ledgers
from reportsim.store.ledger_totals import TotalsDiffer
from reportsim.store.pool import Connection

LARGEST = 20_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the verb's own verbs."""
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    actions.add_parser("list", help="list all ledgers").set_defaults(run=run_list)

    add_import(actions.add_parser("import", help="read a ledger from a file"))

    generate = actions.add_parser("generate", help="make a ledger of any size from a seed")
    generate.add_argument("--ledger", required=True, type=ledger_name, metavar="NAME")
    generate.add_argument("--lines", type=bounded(4, LARGEST), default=100_000, metavar="N")
    generate.add_argument("--seed", type=bounded(0, 2**31 - 1), default=42, metavar="S")
    generate.add_argument("--from", dest="first_on", type=date.fromisoformat, default=date(2025, 1, 1), metavar="DATE")
    generate.add_argument("--days", type=bounded(1, 36_500), default=365, metavar="N")
    generate.set_defaults(run=run_generate)

    verify = actions.add_parser("verify", help="compare the kept totals of ledgers with their entries")
    verify.add_argument("ledger", nargs="?", metavar="NAME", help="by default all ledgers")
    verify.set_defaults(run=run_verify)

    delete = actions.add_parser("delete", help="delete a ledger with all its entries")
    delete.add_argument("ledger", metavar="NAME")
    delete.set_defaults(run=run_delete)


def bounded(low: int, high: int) -> Any:
    """A whole number within bounds, as argparse wants it."""

    def number(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"must be from {low:,} to {high:,}")
        return value

    return number


def run_list(options: argparse.Namespace) -> int:
    """Prints a table of ledgers, with the first and the last day that have entries."""
    table = Table("name", "currency", "first day", "last day", "lines", box=None)
    for ledger in on_database(ledgers.all_ledgers, existing=True):
        table.add_row(ledger.name, ledger.currency, str(ledger.first_on), str(ledger.last_on), f"{ledger.lines:,}")
    open_console().print(table)
    return 0


def run_generate(options: argparse.Namespace) -> int:
    """Makes a ledger."""
    if options.days > (date.max - options.first_on).days + 1:
        raise CommandError(f"the calendar ends before {options.days:,} days from {options.first_on} are over")

    async def generate(connection: Connection, maker: Connection) -> None:
        try:
            async with steps() as shown:
                shown.advance("generating")
                await ledgers.generate(
                    connection,
                    options.ledger,
                    lines=options.lines,
                    seed=options.seed,
                    first_on=options.first_on,
                    days=options.days,
                    maker=maker,
                )
        except ledgers.LedgerExists:
            raise CommandError(f"there is a ledger {options.ledger} already") from None
        except TotalsDiffer as error:
            raise CommandError(str(error)) from None

    on_database(generate, count=2)
    print(f"{options.ledger}: {options.lines:,} lines")
    return 0


def run_verify(options: argparse.Namespace) -> int:
    """Verifies one ledger or all; what is wrong is said line by line."""
    found = on_database(lambda connection: verify(connection, options.ledger), existing=True)
    if options.ledger and not found:
        raise CommandError(f"there is no ledger {options.ledger}")
    for ledger, faults in found:
        for fault in faults:
            print(f"{ledger.name}: {fault}", file=sys.stderr)
        if not faults:
            print(f"{ledger.name}: {ledger.lines:,} lines, {ledger.version} versions, nothing wrong")
    if damaged := [ledger.name for ledger, faults in found if faults]:
        raise CommandError(f"damaged: {', '.join(damaged)}")
    return 0


async def verify(connection: Connection, name: str | None) -> list[tuple[Ledger, list[str]]]:
    """Verifies one ledger or all of them, each as it was at one moment."""
    found = []
    async with steps() as shown:
        for known in await ledgers.all_ledgers(connection):
            if name not in {None, known.name}:
                continue
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                if ledger := await ledgers.find(connection, known.name):
                    shown.advance(f"verifying {ledger.name}")
                    found.append((ledger, await ledger_totals.verify(connection, ledger)))
    return found


def run_delete(options: argparse.Namespace) -> int:
    """Deletes a ledger."""

    async def delete(connection: Connection) -> bool:
        async with steps() as shown:
            shown.advance("deleting")
            return await ledgers.delete(connection, options.ledger)

    if not on_database(delete, existing=True):
        raise CommandError(f"there is no ledger {options.ledger}")
    print(f"{options.ledger}: deleted")
    return 0
