"""Logging: plain lines on a terminal, one JSON object a line elsewhere."""

import logging
import sys
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import orjson

STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """A record as one JSON object; `extra` fields become members."""

    def format(self, record: logging.LogRecord) -> str:
        """The record in one line."""
        document: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        values = vars(record)
        if len(values) > len(STANDARD) - 3:
            document |= {name: value for name, value in values.items() if name not in STANDARD}
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(document, default=str).decode()


class LineHandler(logging.StreamHandler[TextIO]):
    """A stream handler that leaves flushing to the stream, which is buffered by line or not at all."""

    def flush(self) -> None:
        """Nothing: a record is one line, and one line is one write."""


def set_up_logging(*, debug: bool) -> None:
    """Logs to standard error; DEBUG and terminals get plain text."""
    handler = LineHandler(sys.stderr)
    if debug or sys.stderr.isatty():
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))
    else:
        handler.setFormatter(JsonFormatter())
    # What records would cost to know and nobody reads here (logging's own advice on optimization).
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None
    logging.basicConfig(level=logging.DEBUG if debug else logging.INFO, handlers=[handler], force=True)
    logging.getLogger("asyncio").setLevel(logging.INFO)
