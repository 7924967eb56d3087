"""Transactions that do not balance in a file that has other faults, so that both are known at once."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from reportsim.store.ledger_import.csv_reader import SHOWN, CsvFile, Fault, Faulty
from reportsim.store.ledger_import.formats import Format

# Where more transactions are interleaved than this, what is out of balance is found when the other faults are mended.
MOST_OPEN: Final = 10_000


@dataclass(slots=True)
class Imbalance:
    """Where a transaction begins, and its debits less its credits so far."""

    line: int
    amount: Decimal = Decimal(0)


def refuse_unbalanced(file: CsvFile, kind: Format) -> None:
    """Refuses a file in which transactions do not balance.

    Raises:
        Faulty: some do not.
    """
    if faults := find_unbalanced(file, kind):
        raise Faulty(faults)


def find_unbalanced(file: CsvFile, kind: Format) -> list[Fault]:
    """The first transactions of a file of our own format that do not balance, one more than are shown.

    A transaction with a faulty row is left out, since its amounts are not all known; and all are where a row does not
    even tell its transaction.
    """
    unbalanced: dict[int, Imbalance] = {}
    doubtful: set[int] = set()
    for line, record in file.records():
        id = transaction_id(record)
        if id is None or max(len(unbalanced), len(doubtful)) > MOST_OPEN:
            return []
        if isinstance(record, str) or kind.layout.fault(record) is not None:
            doubtful.add(id)
            continue
        cells = dict(zip(kind.columns, record, strict=True))
        state = unbalanced.setdefault(id, Imbalance(line))
        state.amount += Decimal(cells["debit"] or 0) - Decimal(cells["credit"] or 0)
        if not state.amount:
            del unbalanced[id]
    found = [(id, state) for id, state in unbalanced.items() if id not in doubtful][: SHOWN + 1]
    return [
        Fault(
            file.path,
            state.line,
            f"transaction {id} does not balance: debits less credits are {state.amount:.{kind.exponent}f}",
        )
        for id, state in found
    ]


def transaction_id(record: list[str] | str) -> int | None:
    """The transaction of a record; None where it cannot be read."""
    try:
        return None if isinstance(record, str) else int(record[1])
    except (IndexError, ValueError):
        return None
