"""Logging: plain lines on a terminal, one JSON object a line elsewhere."""

import asyncio
import contextlib
import functools
import logging
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import orjson

from reportsim.processes.locks import ProcessLock
from reportsim.processes.member import LOG_LOCK

GATHER_S: Final = 0.02
# Who writes to a pipe that is full waits as well.
LOCK_WAIT_S: Final = 1.0
STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class Record(logging.LogRecord):
    """A record that knows neither from where it was logged nor by whom: nobody reads that here, and it takes time."""

    def __init__(
        self, name: str, level: int, pathname: str, lineno: int, msg: object, args: Any, exc_info: Any, *_: Any
    ) -> None:
        """Takes what a logger says, a single mapping in place of the arguments as well."""
        self.name, self.levelno, self.levelname = name, level, logging.getLevelName(level)
        is_mapping = args and len(args) == 1 and isinstance(args[0], Mapping) and args[0]
        self.msg, self.args = msg, args[0] if is_mapping else args
        self.exc_info, self.exc_text, self.stack_info = exc_info, None, None
        self.created = time.time()
        self.msecs = self.created % 1 * 1000


class JsonFormatter(logging.Formatter):
    """A record as one JSON object; `extra` fields become members."""

    def format(self, record: logging.LogRecord) -> str:
        """The record in one line."""
        document: dict[str, Any] = {
            "time": f"{format_second(int(record.created))}.{int(record.msecs):03}+00:00",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        document |= {name: value for name, value in vars(record).items() if name not in STANDARD}
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(document, default=str).decode()


@functools.lru_cache(1)
def format_second(timestamp: int) -> str:
    """A second in UTC; cached, since a busy service logs many lines in it."""
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%dT%H:%M:%S")


class LineHandler(logging.StreamHandler[TextIO]):
    """A stream handler for an event loop: what is logged within a few milliseconds is one write.

    A warning, and whatever is logged outside of a loop, is written at once, with all that came before it. The stream
    itself is buffered by line or not at all.
    """

    def __init__(self, stream: TextIO, shared: int | None = None) -> None:
        """Writes to a stream; where other processes do, too, under a lock on a file that is open in all of them."""
        super().__init__(stream)
        self._process_lock = None if shared is None else ProcessLock(shared, LOCK_WAIT_S)
        self._lines: list[str] = []
        # The loop that has been asked to write them.
        self._asked: asyncio.AbstractEventLoop | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Formats a record now, and has it written soon."""
        try:
            self._lines.append(self.format(record))
            loop = asyncio._get_running_loop()
            if loop is None or record.levelno >= logging.WARNING:
                self.flush()
            elif loop is not self._asked:
                self._asked = loop
                loop.call_later(GATHER_S, self.flush)
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        """Writes what has gathered."""
        with self.lock or contextlib.nullcontext():
            self._asked = None
            if self._lines:
                text = "".join(f"{line}\n" for line in self._lines)
                self._lines.clear()
                # A terminal that was closed, or a full disk: the service is more than its log.
                with contextlib.suppress(OSError):
                    self._write(text)

    def _write(self, text: str) -> None:
        lock = self._process_lock
        locked = lock is not None and lock.acquire(LOG_LOCK)
        try:
            self.stream.write(text)
        finally:
            if lock is not None and locked:
                lock.release(LOG_LOCK)


def set_up_logging(*, debug: bool, shared: int | None = None) -> None:
    """Logs to standard error; DEBUG and terminals get plain text. Processes of one service share a file for locks."""
    handler = LineHandler(sys.stderr, shared)
    if debug or sys.stderr.isatty():
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))
    else:
        handler.setFormatter(JsonFormatter())
    logging._srcfile = None  # logging's own advice on optimization
    logging.setLogRecordFactory(Record)
    logging.basicConfig(level=logging.DEBUG if debug else logging.INFO, handlers=[handler], force=True)
    logging.getLogger("asyncio").setLevel(logging.INFO)
