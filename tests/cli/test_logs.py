"""Lines of the log: in order, few writes for many of them, and none kept back."""

import asyncio
import fcntl
import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportsim.cli.logs import JsonFormatter, LineHandler, Record
from tests.engine.jobs import until


class Stream(io.StringIO):
    """Remembers each write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []

    def write(self, text: str) -> int:
        self.writes.append(text)
        return len(text)


@pytest.fixture
def stream() -> Stream:
    return Stream()


@pytest.fixture
def log(stream: Stream) -> Iterator[logging.Logger]:
    """A logger that writes to the stream alone."""
    logger = logging.getLogger("tests.lines")
    handler = LineHandler(stream)
    logger.addHandler(handler)
    logger.propagate = False
    logger.setLevel(logging.INFO)
    yield logger
    logger.removeHandler(handler)
    handler.close()


async def written(stream: Stream, text: str) -> None:
    async def there() -> bool:
        return text in "".join(stream.writes)

    await until(there)


async def test_what_comes_together_is_one_write(log: logging.Logger, stream: Stream) -> None:
    for number in range(3):
        log.info("line %d", number)
    assert stream.writes == []
    await written(stream, "line 2")
    assert stream.writes == ["line 0\nline 1\nline 2\n"]
    log.info("later")
    await written(stream, "later")


async def test_a_warning_is_written_at_once_with_all_before_it(log: logging.Logger, stream: Stream) -> None:
    log.info("before")
    log.warning("now")
    assert stream.writes == ["before\nnow\n"]


def test_what_is_logged_outside_of_a_loop_is_written_at_once(log: logging.Logger, stream: Stream) -> None:
    log.info("now")
    assert stream.writes == ["now\n"]


def test_what_a_loop_left_when_it_ended_is_written_in_the_next_one_or_at_exit(
    log: logging.Logger, stream: Stream
) -> None:
    async def leave(line: str) -> None:
        log.info(line)

    async def wait() -> None:
        log.info("next")
        await written(stream, "next")

    asyncio.run(leave("first"))
    asyncio.run(wait())
    asyncio.run(leave("last"))
    assert stream.writes == ["first\nnext\n"]
    # As `logging` itself does at exit.
    for handler in log.handlers:
        handler.flush()
    assert stream.writes == ["first\nnext\n", "last\n"]


@given(st.integers(0, 4_000_000_000_000))
def test_a_line_of_json_has_the_time_in_utc_and_the_extra_fields(milliseconds: int) -> None:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
    values = {"created": milliseconds / 1000, "msecs": milliseconds % 1000, "levelname": "INFO", "name": "tests"}
    record = logging.makeLogRecord({**values, "msg": "%s of %d", "args": ("one", 2), "trace": None, "row": "id"})
    assert json.loads(JsonFormatter().format(record)) == {
        "time": moment.isoformat(timespec="milliseconds"),
        "level": "info",
        "logger": "tests",
        "message": "one of 2",
        "row": "id",
        "trace": None,
    }


@pytest.mark.parametrize(
    ("message", "args"), [("100 %", ()), ("%d %s", (1, "b")), ("%(n)d", ({"n": 1},)), ("%s", ({},)), ("%s", (None,))]
)
def test_a_record_has_the_message_and_the_error_of_the_standard_one(message: str, args: tuple[object, ...]) -> None:
    error = (ValueError, ValueError("a reason"), None)
    ours, standard = (
        kind("tests", logging.WARNING, "", 0, message, args, error) for kind in (Record, logging.LogRecord)
    )
    assert ours.getMessage() == standard.getMessage()
    documents = [json.loads(JsonFormatter().format(record)) for record in (ours, standard)]
    assert documents[0].pop("time") <= documents[1].pop("time")
    assert documents[0] == documents[1]
    assert "a reason" in documents[0]["exception"]
    assert logging.Formatter("%(asctime)s %(levelname)s").format(ours)


# Writes lines of one letter, many of them longer than a pipe writes at once.
WRITING = """
import logging, sys
from reportsim.cli.logs import set_up_logging
set_up_logging(debug=False, shared=int(sys.argv[1]))
for number in range(200):
    logging.info(sys.argv[2] * (20_000 if number % 2 else 10))
"""


def test_lines_of_several_processes_stay_whole() -> None:
    shared = os.memfd_create("locks")
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITING, str(shared), letter], stderr=writing, pass_fds=[shared], cwd=os.getcwd()
        )
        for letter in "abc"
    ]
    os.close(writing)
    with open(reading, encoding="ascii") as stream:
        messages = [json.loads(line)["message"] for line in stream]
    assert [process.wait() for process in processes] == [0, 0, 0]
    os.close(shared)
    assert {(message[0], len(message)) for message in messages} == {(a, size) for a in "abc" for size in (10, 20_000)}
    assert all(len(set(message)) == 1 for message in messages)
    assert len(messages) == 600
