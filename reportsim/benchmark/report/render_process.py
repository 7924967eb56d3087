"""A run's exports, from a process of their own: both take too long for the loop of a service.

`python -m reportsim.benchmark.report.render_process` reads a message with the run and both sides' packed samples from
standard input, and writes the page or the CSV to standard output.
"""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from enum import StrEnum
from typing import Any, Final

from reportsim.benchmark.load.messages import encode
from reportsim.benchmark.load.process_priority import lower_priority
from reportsim.benchmark.plan import Plan
from reportsim.benchmark.report.page import html_fragment, html_report
from reportsim.benchmark.results.export import samples_csv
from reportsim.benchmark.results.samples import Samples
from reportsim.benchmark.schedule import make_schedule
from reportsim.tasks import start

CHUNK: Final = 64 * 1024
SILENT_S: Final = 60.0


class Export(StrEnum):
    """What is made of a run."""

    HTML = "html"
    """A page of its own."""
    PART = "part"
    """What the page has below its heading, as a part of another."""
    CSV = "csv"


@contextlib.asynccontextmanager
async def rendering(
    kind: Export, run: dict[str, Any], samples: tuple[bytes, bytes]
) -> AsyncIterator[AsyncIterator[bytes]]:
    """An export of a run as the API shows it, in pieces."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "reportsim.benchmark.report.render_process",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if not name.startswith("REPORTSIM_")},
    )
    lower_priority(process)
    assert process.stdin is not None
    assert process.stdout is not None
    writing = start(order(process.stdin, encode({"kind": kind, "run": run}, *samples)), name="export-order")
    try:
        yield pieces(process, process.stdout)
    finally:
        writing.cancel()
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def order(stream: asyncio.StreamWriter, data: bytes) -> None:
    """Says what to make; who is killed in between does not read it to its end."""
    with contextlib.suppress(ConnectionError):
        stream.write(data)
        await stream.drain()
        stream.close()


async def pieces(process: asyncio.subprocess.Process, stream: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """What a process writes until its end.

    Raises:
        RuntimeError: it did not end well, so that what came may not be all.
    """
    while True:
        async with asyncio.timeout(SILENT_S):
            data = await stream.read(CHUNK)
        if not data:
            if await process.wait():
                raise RuntimeError("the export's process ended badly")
            return
        yield data


def made(kind: Export, run: dict[str, Any], samples: list[Samples]) -> Iterator[str]:
    """The export."""
    plan = Plan.from_json(run["plan"])
    if kind is Export.CSV:
        yield from samples_csv(plan, make_schedule(plan), samples)
        return
    found = plan, run["prediction"], run["result"], {side.side: side for side in samples}
    if kind is Export.PART:
        yield html_fragment(*found)
    else:
        yield html_report(*found, id=run["id"], finished_at=run["completed_at"])


def main() -> None:
    """Makes what standard input asks for."""
    head = json.loads(sys.stdin.buffer.readline())
    packed = [sys.stdin.buffer.read(length) for length in head["parts"]]
    order = head["value"]
    for piece in made(Export(order["kind"]), order["run"], [Samples.unpack(part) for part in packed]):
        sys.stdout.buffer.write(piece.encode())
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
