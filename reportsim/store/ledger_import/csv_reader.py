"""Strict CSV (RFC 4180), read in pieces of bounded size.

One regular expression says whether a piece of whole records is right, and that is all a good file costs. Only a file
that is not right is read again, record by record, to say in words and with line numbers what is wrong.
"""

import contextlib
import csv
import io
import re
import stat
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

LONGEST: Final = 65_536
SHOWN: Final = 20
BOM: Final = b"\xef\xbb\xbf"

# Atomic groups, since possessive ones do not give back what they tried before Python 3.11.5.
CELL: Final = r'(?:"[^"]*+(?>(?:""[^"]*+)*)"|[^",\r\n]*+)'
RECORD: Final = re.compile(rf"{CELL}(?>(?:,{CELL})*)(?:\r?\n)?")
OPEN: Final = re.compile(rf'(?>(?:{CELL},)*)"[^"]*+(?>(?:""[^"]*+)*)')


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong in which line of which file; line 0 is the file as a whole."""

    path: Path
    line: int
    what: str

    def __str__(self) -> str:
        """One line, as compilers write it; what a terminal would obey is taken out."""
        place = f"{self.path}:{self.line}" if self.line else f"{self.path}"
        text = f"{place}: {self.what}"
        return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


class Faulty(Exception):
    """A file cannot be imported; nothing was changed."""

    def __init__(self, faults: Sequence[Fault], *, more: bool = False) -> None:
        """Keeps the first faults; `more` says that there are others."""
        super().__init__("; ".join(str(fault) for fault in faults[:SHOWN]))
        self.faults: Final = list(faults[:SHOWN])
        self.more: Final = more or len(faults) > SHOWN


@dataclass(slots=True)
class FaultCollector:
    """The faults of several checks that do not depend on each other, so that all of them are reported at once."""

    faults: list[Fault] = field(default_factory=list)
    more: bool = False

    @contextlib.contextmanager
    def collecting(self) -> Iterator[None]:
        """Keeps the faults with which the block ends."""
        try:
            yield
        except Faulty as error:
            self.faults += error.faults
            self.more |= error.more

    def refuse(self) -> None:
        """Reports what was collected.

        Raises:
            Faulty: There is something.
        """
        if self.faults:
            raise Faulty(self.faults, more=self.more)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a file.

    Attributes:
        name: as the header has it.
        pattern: what a right cell matches, quotes and all.
        fault: says what is wrong with the value of a cell, None for nothing.
    """

    name: str
    pattern: str
    fault: Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of a file, and what must hold between the cells of a row."""

    columns: tuple[Column, ...]
    row_fault: Callable[[Mapping[str, str]], str | None] = lambda row: None
    skipped: tuple[Column, ...] = ()
    """What a row that is left out looks like."""

    def fault(self, cells: Sequence[str]) -> str | None:
        """What is wrong with a row, in words."""
        if cells == [""]:
            return "an empty line"
        if len(cells) != len(self.columns):
            return f"cells: {len(cells)}, columns in the header: {len(self.columns)}"
        if self.skipped and not any(column.fault(cell) for column, cell in zip(self.skipped, cells, strict=True)):
            return None
        pairs = zip(self.columns, cells, strict=True)
        if found := [f"{column.name}: {what}" for column, cell in pairs if (what := column.fault(cell)) is not None]:
            return "; ".join(found)
        return self.row_fault({column.name: cell for column, cell in zip(self.columns, cells, strict=True)})


class Irregular(Exception):
    """A piece of a file is not right; reading it again says why."""


@dataclass(slots=True)
class CsvFile:
    """A CSV file on disk, its header read.

    Attributes:
        header: the names of the columns.
        size: in bytes.
        newline: what ends the header's line, and so must end every line.
    """

    path: Path
    header: list[str] = field(init=False)
    size: int = field(init=False)
    newline: str = field(init=False)
    _start: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        try:
            found = self.path.stat()
            if not stat.S_ISREG(found.st_mode):
                raise Faulty([Fault(self.path, 0, "not a regular file")])
            self.size = found.st_size
            with self._open() as handle:
                self._read_header(handle)
        except OSError as error:
            raise Faulty([Fault(self.path, 0, f"cannot be read: {error.strerror or error}")]) from None

    def pieces(self, layout: Layout) -> Iterator[bytes]:
        """The records after the header in pieces of whole records, each checked against the layout.

        Raises:
            Irregular: a record is not right.
        """
        row = ",".join(column.pattern for column in layout.columns)
        if layout.skipped:
            row = f"(?:{row}|{','.join(column.pattern for column in layout.skipped)})"
        rows = re.compile(f"(?:{row}{self.newline})*+")
        for piece in self._whole_records():
            try:
                match = rows.fullmatch(piece.decode())
            except UnicodeDecodeError:
                raise Irregular from None
            if match is None:
                raise Irregular
            yield piece

    def faults(self, layout: Layout) -> list[Fault]:
        """The first faults, one more than are shown."""
        found: list[Fault] = []
        for line, record in self.records():
            what = record if isinstance(record, str) else layout.fault(record)
            if what is not None:
                found.append(Fault(self.path, line, what))
            if len(found) > SHOWN:
                break
        return found

    def lines(self, numbers: Collection[int]) -> dict[int, int]:
        """The lines in which some records begin; the first after the header is number 1."""
        last = max(numbers, default=0)
        found = {}
        for number, (line, _) in enumerate(self.records(), start=1):
            if number in numbers:
                found[number] = line
            if number >= last:
                break
        return found

    def records(self) -> Iterator[tuple[int, list[str] | str]]:
        """Every record after the header with the line it begins in: its cells, or what is wrong with it.

        After a line that is too long, or a quote that is never closed, there is no going on.
        """
        with self._open() as handle:
            handle.seek(self._start)
            line = 1
            while raw := handle.readline(LONGEST + 1):
                line, begun = line + 1, line + 1
                opened = is_open(raw)
                while opened and len(raw) <= LONGEST:
                    more = handle.readline(LONGEST + 1)
                    if not more:
                        yield begun, "a quote is opened here and never closed"
                        return
                    raw, line = raw + more, line + 1
                    opened = b'"' not in more or is_open(raw)
                if len(raw) > LONGEST:
                    several = " (is a quote opened here and never closed?)" if line > begun else ""
                    yield begun, f"more than {LONGEST:,} bytes in one record{several}"
                    return
                yield begun, self._cells(raw)

    def quick_records(self) -> Iterator[list[str]]:
        """The cells of every record after the header, up to the first that is not right."""
        with contextlib.suppress(Irregular, UnicodeDecodeError, csv.Error):
            for piece in self._whole_records():
                yield from csv.reader(io.StringIO(piece.decode(), newline=""))

    def _cells(self, raw: bytes) -> list[str] | str:
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            return f"not UTF-8: byte 0x{raw[error.start]:02x} at place {error.start + 1}"
        if "\0" in text:
            return f"a NUL byte at place {raw.index(0) + 1}"
        if not RECORD.fullmatch(text):
            if '"' in text:
                return "a quote in the wrong place: a cell with quotes is quoted as a whole, quotes in it are doubled"
            return "a carriage return that ends no line"
        if text.endswith("\n") and text.endswith("\r\n") != (self.newline == "\r\n"):
            return "this line ends another way than the header: CRLF and LF are mixed"
        return next(csv.reader(io.StringIO(text.removesuffix("\n").removesuffix("\r"), newline="")), [""])

    def _open(self) -> BinaryIO:
        return self.path.open("rb")

    def _read_header(self, handle: BinaryIO) -> None:
        raw = handle.readline(LONGEST + 1)
        self._start, raw = len(raw), raw.removeprefix(BOM)
        self.newline = "\r\n" if raw.endswith(b"\r\n") else "\n"
        if not raw.strip():
            raise Faulty([Fault(self.path, 1, "no header" if self.size else "an empty file")])
        cells = self._cells(raw) if len(raw) <= LONGEST else f"more than {LONGEST:,} bytes in one line"
        if isinstance(cells, str):
            raise Faulty([Fault(self.path, 1, cells)])
        self.header = cells

    def _whole_records(self) -> Iterator[bytes]:
        with self._open() as handle:
            handle.seek(self._start)
            rest = b""
            while block := handle.read(LONGEST):
                block = rest + block
                end = end_of_records(block)
                rest = block[end:]
                if len(rest) > LONGEST:
                    raise Irregular
                if end:
                    yield block[:end]
            if rest:
                yield rest + self.newline.encode()


def is_open(raw: bytes) -> bool:
    """Whether a record goes on in the next line, within quotes."""
    return raw.count(b'"') % 2 == 1 and OPEN.fullmatch(raw.decode(errors="replace")) is not None


def end_of_records(block: bytes) -> int:
    """Where the last whole record of a block ends; the block begins with a record."""
    end = block.rfind(b"\n") + 1
    quotes = block.count(b'"', 0, end)
    while quotes % 2:
        # This newline is within quotes, so the record began in an earlier line than the last quote is in.
        line = block.rfind(b"\n", 0, block.rfind(b'"', 0, end)) + 1
        quotes -= block.count(b'"', line, end)
        end = line
    return end
