"""Signals that end a process, where a start or a stop of the server must not be torn in the middle."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final

SIGNALS: Final = frozenset(
    number for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT") if (number := getattr(signal, name, None))
)


@contextlib.contextmanager
def ignore_signals() -> Iterator[None]:
    """Ignore the signals that end a process while the block runs, which is short."""
    with _handled(lambda *_: None):
        yield


@contextlib.contextmanager
def defer_signals() -> Iterator[None]:
    """Handle the signals that end a process after the block, which is short."""
    came: list[int] = []
    with _handled(lambda number, _: came.append(number)):
        yield
    if came:
        signal.raise_signal(came[0])


@contextlib.contextmanager
def _handled(handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before if before is not None else signal.SIG_DFL)
