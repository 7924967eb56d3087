"""How many decimals the amounts of a file have, where no standard says how many their commodity has."""

import re
from dataclasses import dataclass
from typing import Final

from reportsim.store.ledger_import.columns import is_virtual
from reportsim.store.ledger_import.csv_reader import CsvFile
from reportsim.store.ledger_import.currencies import MOST, USUAL

AMOUNT: Final = re.compile(r"-?([0-9]+)([.,])([0-9]+)")


@dataclass(frozen=True, slots=True)
class Decimals:
    """What the amounts of a file look like.

    Attributes:
        most: digits after the decimal mark, at least the usual two and at most those that a ledger may have.
        grouped: amounts like 1,000 may be thousands, as no other amount shows that a comma is the decimal mark.
    """

    most: int
    grouped: bool


def find_decimals(file: CsvFile, columns: tuple[str, ...]) -> Decimals:
    """Reads the amounts in some columns, up to a record that is wrong; virtual postings do not count."""
    places = [file.header.index(name) for name in columns]
    account = file.header.index("account") if "account" in file.header else None
    most = {".": USUAL, ",": USUAL}
    decimal_comma = False
    for cells in file.quick_records():
        if len(cells) != len(file.header) or (account is not None and is_virtual(cells[account])):
            continue
        for place in places:
            if (match := AMOUNT.fullmatch(cells[place])) is None:
                continue
            whole, mark, fraction = match.groups()
            digits = len(fraction) if len(fraction) <= MOST else len(fraction.rstrip("0"))
            most[mark] = max(most[mark], min(digits, MOST))
            decimal_comma |= mark == "," and (len(fraction) != 3 or len(whole) > 3)
    return Decimals(max(most["."], most[","] if decimal_comma else USUAL), grouped=not decimal_comma)
