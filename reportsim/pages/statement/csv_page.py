"""One page of the rows of a report file, read in one pass and in bounded memory."""

import asyncio
from dataclasses import dataclass
from typing import BinaryIO, Final

from reportsim.reports.files.csv_text import split_records

ROWS: Final = 200
# What is read at once while rows are passed over: less than a millisecond of the event loop.
PIECE: Final = 1 << 16
# The most that is read of one page: rows beyond it are in the file alone.
MOST_BYTES: Final = 1 << 19

Row = dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvPage:
    """The rows of a page by the names of their columns, and the rows before and after them.

    Attributes:
        cut: whether rows are missing, since they are too long.
    """

    before: Row | None
    rows: list[Row]
    after: Row | None
    cut: bool

    @property
    def is_last(self) -> bool:
        """Whether it ends with the file."""
        return self.after is None and not self.cut

    @property
    def is_whole(self) -> bool:
        """Whether it has all rows of the file."""
        return self.before is None and self.is_last


def page_count(rows: int) -> int:
    """How many pages a file of some rows has; one where it has none."""
    return max(-(-rows // ROWS), 1)


async def read_page(file: BinaryIO, number: int, rows: int) -> CsvPage:
    """A page of a file that has a header and some rows, by its number from 1 on."""
    (header,) = split_records(file.readline(), 1)
    first = (number - 1) * ROWS
    # The row before tells whether a section continues.
    lead = min(first, 1)
    await seek_record(file, 1 + first - lead)
    wanted = min(lead + ROWS + 1, rows - first + lead)
    found = [dict(zip(header, cells, strict=True)) for cells in split_records(file.read(MOST_BYTES), wanted)]
    before, shown, after = found[:lead], found[lead : lead + ROWS], found[lead + ROWS :]
    return CsvPage(
        before=before[0] if before else None,
        rows=shown,
        after=after[0] if after else None,
        cut=len(found) < wanted,
    )


async def seek_record(file: BinaryIO, number: int) -> None:
    """Moves to the start of a record, the header being number 0; others use the event loop between two pieces."""
    file.seek(0)
    position, quoted = 0, False
    while number and (piece := file.read(PIECE)):
        # Between quotes, line ends are part of a cell; two quotes within a cell change nothing.
        parts = piece.split(b'"')
        ends = sum(part.count(b"\n") for part in parts[quoted::2])
        if ends >= number:
            file.seek(position + end_of_record(piece, parts, number, quoted=quoted))
            return
        number -= ends
        position += len(piece)
        quoted ^= len(parts) % 2 == 0
        await asyncio.sleep(0)


def end_of_record(piece: bytes, parts: list[bytes], number: int, *, quoted: bool) -> int:
    """Where in a piece a number of records have ended; its parts are what is between quotes, in turn inside and out."""
    start = 0
    for part in parts:
        if not quoted:
            ends = part.count(b"\n")
            if ends >= number:
                break
            number -= ends
        start += len(part) + 1
        quoted = not quoted
    for _ in range(number):
        start = piece.index(b"\n", start) + 1
    return start
