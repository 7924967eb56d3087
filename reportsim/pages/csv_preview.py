"""The first rows of a report's file, for a page."""

import contextlib
import csv
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

MOST_ROWS: Final = 8
MOST_BYTES: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class Preview:
    """The header and the first rows; whether there are more."""

    header: list[str]
    rows: list[list[str]]
    more: bool


def preview(source: Path | BinaryIO | None) -> Preview | None:
    """The start of a file, which is closed; None where it is not on this replica's disk."""
    if source is None:
        return None
    with contextlib.suppress(OSError, csv.Error), source.open("rb") if isinstance(source, Path) else source as file:
        raw = file.read(MOST_BYTES + 1)
        text = raw[:MOST_BYTES].decode("utf-8", "ignore")
        lines = list(csv.reader(text.splitlines(keepends=True)))
        if len(raw) > MOST_BYTES and len(lines) > 1:
            # The last line may be a part of one.
            del lines[-1]
        if lines:
            return Preview(lines[0], lines[1 : MOST_ROWS + 1], len(raw) > MOST_BYTES or len(lines) > MOST_ROWS + 1)
    return None
