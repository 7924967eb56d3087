"""Signals that end a command: each is an interruption, so that whatever it started is stopped on the way out."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final

ENDING: Final = tuple(
    number for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT") if (number := getattr(signal, name, None)) is not None
)


@contextlib.contextmanager
def on_signals(handle: Callable[[int], None]) -> Iterator[None]:
    """Calls a function on each signal that ends a process, as long as the block lasts.

    A SIGHUP that is ignored stays so: that is what nohup is for. Only the main thread has signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handler(number: int, _: FrameType | None) -> None:
        handle(number)

    hangup = getattr(signal, "SIGHUP", None)
    numbers = [number for number in ENDING if number != hangup or signal.getsignal(number) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before if before is not None else signal.SIG_DFL)


@contextlib.contextmanager
def interruptible() -> Iterator[list[int]]:
    """Makes every signal that ends a process a KeyboardInterrupt; lists those that came.

    All of them go the way of SIGINT, which asyncio turns into the cancellation of its main task.
    """
    came: list[int] = []

    def interrupt(number: int) -> None:
        came.append(number)
        signal.raise_signal(signal.SIGINT)

    with on_signals(interrupt):
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.default_int_handler)
        yield came
