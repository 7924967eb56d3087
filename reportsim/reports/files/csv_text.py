"""Reading what was written: records of CSV text (RFC 4180), whose quoted cells may contain line ends."""

import re
from typing import Final

CELL: Final = re.compile(r'("(?:[^"]|"")*"|[^,\n]*)[,\n]')


def count_records(text: bytes) -> int:
    """How many records a text of whole records has."""
    # Between quotes, line ends are part of a cell.
    return sum(part.count(b"\n") for part in text.split(b'"')[::2])


def last_record(text: bytes) -> list[str]:
    """The cells of the last record of a text that begins with a whole record."""
    start, quotes = len(text), 0
    while start:
        end, start = start, text.rfind(b"\n", 0, start - 1) + 1
        quotes += text.count(b'"', start, end)
        # A line end with an odd number of quotes after it is within a cell.
        if quotes % 2 == 0:
            break
    cells: list[str] = CELL.findall(text[start:].decode())
    return [cell[1:-1].replace('""', '"') if cell.startswith('"') else cell for cell in cells]
