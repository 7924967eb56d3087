"""The files that can be imported, known by their headers: their columns, and the temporary tables that COPY fills."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from itertools import count
from typing import Final

from reportsim.store.ledger_import.columns import (
    CODE_LENGTH,
    LARGEST,
    NAME_LENGTH,
    SECTIONS,
    TEXT_LENGTH,
    TYPES,
    cash_fault,
    choice,
    commodity,
    commodity_fault,
    day,
    ignored,
    is_virtual,
    number,
    sides,
    sides_fault,
    signed,
    text,
    virtual,
)
from reportsim.store.ledger_import.csv_reader import Column, CsvFile, Fault, Faulty, Layout

OWN_HEADER: Final = "date,transaction_id,line_no,account_code,account_name,account_type,debit,credit,description"
ACCOUNTS_HEADER: Final = "account_code,account_name,account_type,is_cash,cf_section"
HLEDGER_HEADER: Final = "hledger print -O csv"
HLEDGER_NEEDED: Final = frozenset({"txnidx", "date", "description", "account", "amount", "commodity"})
HLEDGER_MOST: Final = 40
# The first line of a plain-text journal: a transaction, a comment or a directive (hledger, Ledger, Beancount).
JOURNAL: Final = re.compile(
    r"[0-9]{4}[-/.][0-9]{1,2}[-/.][0-9]{1,2}([ =].*)?$|[;#*] |(account|commodity|include|option|decimal-mark) |[~=] "
)
SEPARATORS: Final = {"semicolons": ";", "tabs": "\t", "bars": "|"}

# A table made in the same transaction is filled from its first page on, so the order of ctid is that of the records:
# numbering them with a sequence would cost as much as reading them.
CREATE_OWN: Final = """
CREATE TEMPORARY TABLE import_entries (
    date date NOT NULL, transaction_id bigint NOT NULL, line_no integer NOT NULL,
    account text COLLATE "C" NOT NULL, name text COLLATE "C" NOT NULL, type text COLLATE "C" NOT NULL,
    debit numeric, credit numeric, description text NOT NULL,
    amount bigint GENERATED ALWAYS AS (CASE
        WHEN credit IS NULL THEN (debit * {unit})::bigint
        WHEN debit IS NULL THEN -(credit * {unit})::bigint
        ELSE -((credit - debit) * {unit})::bigint END) STORED NOT NULL CHECK (amount <> 0)
) ON COMMIT DROP
"""
OWN_ENTRIES: Final = "(SELECT *, ctid AS at FROM import_entries)"

CREATE_HLEDGER: Final = """
CREATE TEMPORARY TABLE import_entries (
    {columns},
    amount bigint GENERATED ALWAYS AS (CASE WHEN left(account, 1) IN ('(', '[') THEN 0
        ELSE (replace(quantity, ',', '.')::numeric * {unit})::bigint END) STORED NOT NULL,
    CHECK (amount >= -{largest}), CHECK ({bare} OR commodity <> '' OR amount = 0)
) ON COMMIT DROP
"""
HLEDGER_COLUMNS: Final = {
    "txnidx": "transaction_id bigint NOT NULL",
    "date": "date date NOT NULL",
    "description": "description text NOT NULL",
    "account": 'account text COLLATE "C" NOT NULL',
    "amount": "quantity text NOT NULL",
    "commodity": "commodity text NOT NULL",
}
# hledger keeps postings of zero, for balance assertions for example: they say nothing in any report. Virtual postings
# that are left out are zero here, too.
HLEDGER_ENTRIES: Final = """(
    SELECT *, ctid AS at, '' AS name, '' AS type,
        (row_number() OVER (PARTITION BY transaction_id ORDER BY ctid))::integer AS line_no
    FROM import_entries WHERE amount <> 0)"""

CREATE_CHART: Final = """
CREATE TEMPORARY TABLE import_chart (
    code text COLLATE "C" NOT NULL, name text NOT NULL, type text NOT NULL, is_cash boolean, cf_section text,
    CHECK (is_cash = (cf_section = 'cash'))
) ON COMMIT DROP
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A kind of file, and the table it is read into.

    Attributes:
        create: makes the table.
        columns: those of the table, in the order of the file.
        nullable: where an empty cell, quoted or not, means nothing.
        entries: the rows of the table that are entries, as a subquery: date, transaction_id, line_no, account, name,
            type, amount, description, and `at`, which orders them as the file does.
        hledger: accounts have full names, and the files no line numbers of their own.
    """

    layout: Layout
    currency: str = ""
    exponent: int = 0
    table: str = "import_entries"
    create: str
    columns: tuple[str, ...]
    nullable: tuple[str, ...] = ()
    entries: str = ""
    hledger: bool = False


def own_format(currency: str, exponent: int) -> Format:
    """Our own CSV of entries."""
    layout = Layout(
        (
            day("date"),
            number("transaction_id", LARGEST),
            number("line_no", 2**31 - 1),
            text("account_code", least=1, most=CODE_LENGTH),
            text("account_name", most=NAME_LENGTH),
            choice("account_type", TYPES),
            *sides(currency, exponent),
            text("description", most=TEXT_LENGTH, control=True),
        ),
        sides_fault,
    )
    return Format(
        layout=layout,
        currency=currency,
        exponent=exponent,
        create=CREATE_OWN.format(unit=10**exponent),
        columns=("date", "transaction_id", "line_no", "account", "name", "type", "debit", "credit", "description"),
        nullable=("debit", "credit"),
        entries=OWN_ENTRIES,
    )


def hledger_format(
    header: list[str],
    currency: str,
    exponent: int,
    *,
    bare: bool,
    grouped: bool = False,
    skip_virtual: bool = False,
) -> Format:
    """What `hledger print -O csv` writes; the order of its columns differs between versions.

    `bare`: the file names no commodity at all. `grouped`: a comma may group digits. `skip_virtual` leaves out virtual
    postings, of which only the date and the transaction must be right.
    """
    used: dict[str, Column] = {
        "txnidx": number("txnidx", LARGEST),
        "date": day("date", old=True),
        "description": text("description", most=TEXT_LENGTH, control=True),
        "account": text("account", least=1, most=CODE_LENGTH, refused="(["),
        "amount": signed("amount", currency, exponent, grouped=grouped),
        "commodity": commodity("commodity", "" if bare else currency),
    }
    left_out = {"txnidx": used["txnidx"], "date": used["date"], "account": virtual("account")} if skip_virtual else {}
    places = count(1)
    columns = [HLEDGER_COLUMNS.get(name) or f"ignored_{next(places)} text" for name in header]
    return Format(
        layout=Layout(
            tuple(used.get(name) or ignored(name) for name in header),
            (lambda row: None) if bare else commodity_fault,
            tuple(left_out.get(name) or ignored(name) for name in header) if skip_virtual else (),
        ),
        currency=currency,
        exponent=exponent,
        create=CREATE_HLEDGER.format(columns=", ".join(columns), unit=10**exponent, largest=LARGEST, bare=bare),
        columns=tuple(column.partition(" ")[0] for column in columns),
        entries=HLEDGER_ENTRIES,
        hledger=True,
    )


def accounts_format() -> Format:
    """Our CSV of accounts."""
    layout = Layout(
        (
            text("account_code", least=1, most=CODE_LENGTH),
            text("account_name", least=1, most=NAME_LENGTH),
            choice("account_type", TYPES, empty=False),
            choice("is_cash", ("0", "1", "true", "false"), ignore_case=True),
            choice("cf_section", SECTIONS),
        ),
        cash_fault,
    )
    return Format(
        layout=layout,
        table="import_chart",
        create=CREATE_CHART,
        columns=("code", "name", "type", "is_cash", "cf_section"),
        nullable=("is_cash", "cf_section"),
    )


def is_hledger(file: CsvFile) -> bool:
    """Whether a file of entries is hledger's, and not our own.

    Raises:
        Faulty: it is neither.
    """
    names = file.header
    if "txnidx" not in names:
        require_header(file, OWN_HEADER)
        return False
    missing = HLEDGER_NEEDED.difference(names)
    if missing or len(set(names)) < len(names) or len(names) > HLEDGER_MOST:
        raise Faulty([header_fault(file, HLEDGER_HEADER, missing)])
    return True


def require_header(file: CsvFile, wanted: str) -> None:
    """Refuses a file that has another header.

    Raises:
        Faulty: it has.
    """
    if ",".join(file.header) != wanted:
        raise Faulty([header_fault(file, wanted, set(wanted.split(",")).difference(file.header))])


def header_fault(file: CsvFile, wanted: str, missing: Collection[str]) -> Fault:
    """What is wrong with a header; where it is that of another kind of file, what to do."""
    line = ",".join(file.header)
    if JOURNAL.match(line):
        return Fault(file.path, 1, f"this looks like a journal: convert it with {HLEDGER_HEADER}")
    for name, separator in SEPARATORS.items():
        if separator in line and separator not in wanted and "," not in line:
            return Fault(file.path, 1, f"this looks separated by {name}: separate by commas, with the header {wanted}")
    lacks = f"; missing: {', '.join(sorted(missing))}" if missing else ""
    return Fault(file.path, 1, f"the header is not that of {wanted}{lacks}")


def hledger_commodity(file: CsvFile) -> str:
    """The first commodity that a file names, or nothing; a row that is not right ends the search."""
    place, account = file.header.index("commodity"), file.header.index("account")
    for _, cells in file.records():
        if isinstance(cells, str) or len(cells) != len(file.header):
            break
        if cells[place] and not is_virtual(cells[account]):
            return cells[place]
    return ""
