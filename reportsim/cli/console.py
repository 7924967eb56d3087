"""Consoles for what commands print."""

from typing import Final

from rich.console import Console

# Longer than any line.
UNLIMITED: Final = 10_000


def open_console(*, stderr: bool = False) -> Console:
    """A console on standard output, or for progress on standard error; it wraps only in a terminal.

    Where a program reads, the width of a terminal that is not there must not break lines.
    """
    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=UNLIMITED)
