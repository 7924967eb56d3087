"""The two reports that are compared, to the byte as the service makes them; entries are added up for every request."""

import csv
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from benchmarks.peers.plain.tables import Account, Ledger, Posting

FORMULA: Final = tuple("=+-@\t\r")
AMOUNTS: Final = tuple(f"{part}_{side}" for part in ("opening", "period", "closing") for side in ("debit", "credit"))
Row = Sequence[Any]


class ReportError(Exception):
    """A report does not add up."""


@dataclass(frozen=True)
class Job:
    """A ledger at a version, and the interval from `first` up to the day before `after`."""

    ledger: Ledger
    version: int
    first: date
    after: date

    def money(self, amount: int) -> str:
        """Minor units as major units."""
        return f"{Decimal(amount).scaleb(-self.ledger.exponent):.{self.ledger.exponent}f}"


def cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(FORMULA) else text


def sides(amount: int) -> tuple[int, int]:
    """A signed amount as debit and credit."""
    return max(amount, 0), max(-amount, 0)


def trial_balance(session: Session, job: Job) -> tuple[Row, list[Row], dict[str, int]]:
    """Every account's opening, movement and closing."""
    in_period = Posting.posted_on >= job.first
    moves = (
        select(
            Posting.account_id,
            func.coalesce(func.sum(Posting.amount).filter(~in_period), 0).label("opening"),
            func.coalesce(func.sum(Posting.amount).filter(in_period, Posting.amount > 0), 0).label("debit"),
            func.coalesce(-func.sum(Posting.amount).filter(in_period, Posting.amount < 0), 0).label("credit"),
        )
        .where(Posting.ledger_id == job.ledger.ledger_id, Posting.version <= job.version, Posting.posted_on < job.after)
        .group_by(Posting.account_id)
        .subquery()
    )
    found = session.execute(
        select(Account.code, Account.name, Account.type, moves.c.opening, moves.c.debit, moves.c.credit)
        .join(moves, moves.c.account_id == Account.account_id)
        .where(Account.ledger_id == job.ledger.ledger_id, Account.version <= job.version)
        .order_by(Account.code)
    ).all()
    rows: list[Row] = []
    totals = dict.fromkeys(AMOUNTS, 0)
    for code, name, kind, *sums in found:
        # PostgreSQL adds up whole numbers as decimals.
        opening, debit, credit = map(int, sums)
        amounts = (*sides(opening), debit, credit, *sides(opening + debit - credit))
        for title, amount in zip(totals, amounts, strict=True):
            totals[title] += amount
        rows.append((cell(code), cell(name), kind, *map(job.money, amounts)))
    for part in ("opening", "period", "closing"):
        if totals[f"{part}_debit"] != totals[f"{part}_credit"]:
            raise ReportError(f"{part} debits do not equal credits")
    header = ("account_code", "account_name", "account_type", *AMOUNTS)
    return header, rows, {"accounts": len(rows), **totals}


def general_ledger(session: Session, job: Job) -> tuple[Row, list[Row], dict[str, int]]:
    """Every entry of every account, with a running balance."""
    of_ledger = (Posting.ledger_id == job.ledger.ledger_id, Posting.version <= job.version)
    opening = session.execute(
        select(Posting.account_id, func.sum(Posting.amount))
        .where(*of_ledger, Posting.posted_on < job.first)
        .group_by(Posting.account_id)
    )
    balances = {account: int(total) for account, total in opening}
    found = session.execute(
        select(
            Posting.account_id,
            Account.code,
            Account.name,
            Posting.posted_on,
            Posting.transaction_id,
            Posting.amount,
            Posting.description,
        )
        .join(Account, (Account.ledger_id == Posting.ledger_id) & (Account.account_id == Posting.account_id))
        .where(*of_ledger, Posting.posted_on >= job.first, Posting.posted_on < job.after)
        .order_by(Account.code, Posting.posted_on, Posting.transaction_id, Posting.line_no)
    )
    header = ("account_code", "account_name", "date", "transaction_id", "debit", "credit", "running_balance")
    rows: list[Row] = []
    debits = credits = 0
    for account, code, name, day, transaction, amount, description in found:
        debit, credit = sides(amount)
        debits, credits = debits + debit, credits + credit
        balances[account] = balance = balances.get(account, 0) + amount
        money = map(job.money, (debit, credit, balance))
        rows.append((cell(code), cell(name), day.isoformat(), transaction, *money, cell(description)))
    if debits != credits:
        raise ReportError("debits do not equal credits")
    return (*header, "description"), rows, {"debit": debits, "credit": credits}


REPORTS: Final[dict[str, Callable[[Session, Job], tuple[Row, list[Row], dict[str, int]]]]] = {
    "trial_balance": trial_balance,
    "general_ledger": general_ledger,
}


class Hashing:
    """A text file for `csv` whose bytes are hashed and counted while they are written."""

    def __init__(self, lines: Iterable[Row], path: Path) -> None:
        self.hash = hashlib.sha256()
        self.size = 0
        with path.open("wb") as self._file:
            csv.writer(self, lineterminator="\n").writerows(lines)

    def write(self, text: str) -> None:
        """Takes a line of `csv`."""
        data = text.encode()
        self.hash.update(data)
        self.size += len(data)
        self._file.write(data)


def make_report(session: Session, name: str, job: Job, path: Path) -> dict[str, Any]:
    """Writes a report into a file; returns what the request's result says of it."""
    header, rows, totals = REPORTS[name](session, job)

    def lines() -> Iterator[Row]:
        yield header
        yield from rows

    written = Hashing(lines(), path)
    return {
        "report_type": name,
        "currency": job.ledger.currency,
        "exponent": job.ledger.exponent,
        "rows": len(rows),
        "bytes": written.size,
        "sha256": written.hash.hexdigest(),
        "totals": totals,
    }
