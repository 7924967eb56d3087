"""Reading what was written: records of CSV text (RFC 4180), whose quoted cells may contain line ends."""

import itertools
import re
from collections.abc import Iterator
from typing import Final

CELL: Final = re.compile(r'("(?:[^"]|"")*"|[^,\n]*)[,\n]')
WHOLE_CELL: Final = re.compile(r'("[^"]*(?:""[^"]*)*+"|[^",\n]*+)([,\n])')


def count_records(text: bytes) -> int:
    """How many records a text of whole records has."""
    if b'"' not in text:
        return text.count(b"\n")
    # Between quotes, line ends are part of a cell.
    return b"".join(text.split(b'"')[::2]).count(b"\n")


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
    return [unquote(cell) for cell in cells]


def split_records(text: bytes, most: int) -> list[list[str]]:
    """The cells of the first records of a text, as far as those are whole; the text begins with a record."""
    return list(itertools.islice(iterate_records(text), most))


def iterate_records(text: bytes) -> Iterator[list[str]]:
    """The cells of each record of a text, up to the first that is not whole."""
    cells: list[str] = []
    for match in iterate_cells(text.decode("utf-8", "ignore")):
        cells.append(unquote(match[1]))
        if match[2] == "\n":
            yield cells
            cells = []


def iterate_cells(text: str) -> Iterator[re.Match[str]]:
    """The cells of a text with what ends them, up to the first that is not whole."""
    at = 0
    while match := WHOLE_CELL.match(text, at):
        yield match
        at = match.end()


def unquote(cell: str) -> str:
    """The text of a cell."""
    return cell[1:-1].replace('""', '"') if cell.startswith('"') else cell
