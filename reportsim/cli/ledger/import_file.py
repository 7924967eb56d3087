"""`reportsim ledger import`: a ledger of one's own from a file, whole or not at all."""

import argparse
import contextlib
import re
import sys
from pathlib import Path

import asyncpg

from reportsim.cli.errors import CommandError
from reportsim.cli.ledger.progress import on_database, steps
from reportsim.core.model import Ledger
from reportsim.settings import user_path
from reportsim.store.errors import OUTAGES
from reportsim.store.ledger_import.csv_reader import Faulty
from reportsim.store.ledger_import.currencies import MOST as MOST_DECIMALS
from reportsim.store.ledger_import.importer import Import, ImportRefused, has_investing, import_ledger
from reportsim.store.ledger_totals import TotalsDiffer
from reportsim.store.ledgers import LedgerExists
from reportsim.store.pool import Connection

FORMATS = """
FILE is either CSV with the header
  date,transaction_id,line_no,account_code,account_name,account_type,debit,credit,description
or what `hledger print -O csv` writes. --accounts names a CSV with the header
  account_code,account_name,account_type,is_cash,cf_section
"""
NAME_LENGTH = 100
NO_INVESTING = "no account is investing: all but equity and loans is operating; --accounts says which are"


def add_import(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = FORMATS
    parser.add_argument("file", type=user_path, metavar="FILE")
    parser.add_argument("--ledger", required=True, type=ledger_name, metavar="NAME")
    parser.add_argument(
        "--accounts", type=user_path, metavar="FILE", help="names, types, cash flow sections of accounts"
    )
    parser.add_argument("--currency", type=currency, metavar="CODE", help="of amounts without one (EUR)")
    parser.add_argument("--decimals", type=decimals, metavar="N", help="of amounts, where ISO 4217 or the file mislead")
    parser.add_argument("--skip-virtual", action="store_true", help="leave out the virtual postings of hledger")
    parser.add_argument("--append", action="store_true", help="add to the ledger, as its next version")
    parser.set_defaults(run=run)


def ledger_name(text: str) -> str:
    """A name that requests can ask for."""
    if not 1 <= len(text) <= NAME_LENGTH or not text.isprintable():
        raise argparse.ArgumentTypeError(f"must be 1 to {NAME_LENGTH} printable characters")
    return text


def currency(text: str) -> str:
    """A currency as ISO 4217 writes it."""
    if not re.fullmatch("[A-Z]{3}", text):
        raise argparse.ArgumentTypeError("must be three capital letters, like EUR")
    return text


def decimals(text: str) -> int:
    """A number of decimals that a ledger can have."""
    if not re.fullmatch("[0-9]{1,2}", text, re.ASCII) or int(text) > MOST_DECIMALS:
        raise argparse.ArgumentTypeError(f"must be from 0 to {MOST_DECIMALS}")
    return int(text)


def size_of(*paths: Path | None) -> int:
    """The size of the files, as far as they are there."""
    return sum(path.stat().st_size for path in paths if path is not None and path.is_file())


def run(options: argparse.Namespace) -> int:
    """Imports a file; what is wrong with it is said line by line."""
    wanted = Import(
        path=options.file,
        ledger=options.ledger,
        accounts=options.accounts,
        currency=options.currency,
        decimals=options.decimals,
        skip_virtual=options.skip_virtual,
        append=options.append,
    )

    async def imported(connection: Connection) -> tuple[Ledger, bool]:
        async with steps(size_of(options.file, options.accounts)) as shown:
            ledger = await import_ledger(connection, wanted, shown.advance)
        # Of a ledger that is there, it was said when that was imported.
        if not wanted.append:
            # The ledger is written: that this cannot be asked is no failure of the import.
            with contextlib.suppress(*OUTAGES, OSError, asyncpg.PostgresError):
                return ledger, await has_investing(connection, ledger)
        return ledger, True

    try:
        ledger, invests = on_database(imported)
    except Faulty as error:
        print(*error.faults, sep="\n", file=sys.stderr)
        shown = f"the first {len(error.faults)} faults are shown" if error.more else f"faults: {len(error.faults)}"
        raise CommandError(f"nothing was imported; {shown}") from None
    except LedgerExists:
        raise CommandError(f"there is a ledger {wanted.ledger} already; --append adds to it") from None
    except (ImportRefused, TotalsDiffer) as error:
        raise CommandError(str(error)) from None
    if not invests:
        print(NO_INVESTING, file=sys.stderr)
    print(f"{ledger.name}: {ledger.lines:,} lines in {ledger.currency}, version {ledger.version}")
    return 0
