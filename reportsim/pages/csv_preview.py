"""The first rows of a report file."""

import contextlib
import csv
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

MOST_ROWS: Final = 60
MOST_BYTES: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class Preview:
    """The header, the first rows, and whether there are more."""

    header: list[str]
    rows: list[list[str]]
    more: bool


def read_preview(source: Path | BinaryIO | None) -> Preview | None:
    """The start of a file, which is then closed; None if it is not on this replica's disk."""
    if source is None:
        return None
    with contextlib.suppress(OSError, csv.Error), source.open("rb") if isinstance(source, Path) else source as file:
        raw = file.read(MOST_BYTES + 1)
        text = raw[:MOST_BYTES].decode("utf-8", "ignore")
        lines = list(csv.reader(text.splitlines(keepends=True)))
        if len(raw) > MOST_BYTES and len(lines) > 1:
            # The last line may be incomplete.
            del lines[-1]
        if lines:
            return Preview(lines[0], lines[1 : MOST_ROWS + 1], len(raw) > MOST_BYTES or len(lines) > MOST_ROWS + 1)
    return None
