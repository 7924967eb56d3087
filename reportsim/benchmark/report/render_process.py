"""A run's exports, from a process of their own: they take too long for an event loop.

`python -m reportsim.benchmark.report.render_process` reads a message with the run and its sides' packed samples from
standard input, and writes the export to standard output.
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from enum import StrEnum
from typing import Any, Final

from reportsim.benchmark.helper_process import end_process, lower_priority, spawn_helper
from reportsim.benchmark.load.messages import encode
from reportsim.benchmark.plan import Plan
from reportsim.benchmark.report.page import html_fragment, html_report
from reportsim.benchmark.report.replay import html_replay
from reportsim.benchmark.results.export import hgrm, samples_csv
from reportsim.benchmark.results.samples import Samples
from reportsim.tasks import start

CHUNK: Final = 64 * 1024
SILENT_S: Final = 60.0


class Export(StrEnum):
    """The kinds of exports."""

    HTML = "html"
    """A complete page."""
    PART = "part"
    """What the page has below its heading, as a part of another."""
    REPLAY = "replay"
    """A page that plays the run."""
    CSV = "csv"
    """The samples of both sides."""
    HGRM = "hgrm"
    """The percentile distribution of one side."""


@contextlib.asynccontextmanager
async def render_export(
    kind: Export, run: dict[str, Any], samples: Sequence[bytes]
) -> AsyncIterator[AsyncIterator[bytes]]:
    """An export of a run as the API shows it, in pieces; `samples` are those of the sides that it is about."""
    process = await spawn_helper("reportsim.benchmark.report.render_process")
    lower_priority(process)
    assert process.stdin is not None
    assert process.stdout is not None
    writing = start(write_order(process.stdin, encode({"kind": kind, "run": run}, *samples)), name="export-order")
    try:
        yield read_pieces(process, process.stdout)
    finally:
        writing.cancel()
        await end_process(process)


async def write_order(stream: asyncio.StreamWriter, data: bytes) -> None:
    """Sends what to render; a process that is killed meanwhile does not read all of it."""
    with contextlib.suppress(ConnectionError):
        stream.write(data)
        await stream.drain()
        stream.close()


async def read_pieces(process: asyncio.subprocess.Process, stream: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """The output of a process.

    Raises:
        RuntimeError: it failed, so that its output may be incomplete.
    """
    while True:
        async with asyncio.timeout(SILENT_S):
            data = await stream.read(CHUNK)
        if not data:
            if await process.wait():
                raise RuntimeError("the export's process ended badly")
            return
        yield data


def render(kind: Export, run: dict[str, Any], samples: list[Samples]) -> Iterator[str]:
    """The export."""
    plan = Plan.from_json(run["plan"])
    if kind is Export.CSV:
        yield from samples_csv(plan, samples)
        return
    if kind is Export.HGRM:
        yield from (hgrm(plan, side) for side in samples)
        return
    by_side = {side.side: side for side in samples}
    shown = {"id": run["id"], "finished_at": run["completed_at"]}
    if kind is Export.REPLAY:
        yield html_replay(plan, run["result"], by_side, **shown)
        return
    found = plan, run["prediction"], run["result"], by_side
    if kind is Export.PART:
        yield html_fragment(*found)
    else:
        yield html_report(*found, **shown)


def main() -> None:
    """Makes what standard input asks for."""
    head = json.loads(sys.stdin.buffer.readline())
    packed = [sys.stdin.buffer.read(length) for length in head["parts"]]
    order = head["value"]
    for piece in render(Export(order["kind"]), order["run"], [Samples.unpack(part) for part in packed]):
        sys.stdout.buffer.write(piece.encode())
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
