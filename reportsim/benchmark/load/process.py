"""The process of the load generator: `python -m reportsim.benchmark.load.process`.

It reads an order from standard input, says what is to be expected of the plan, sends a block each time it is told to,
and at last makes the result out of its samples and of what the service saw. The loop is asyncio's own: uvloop's timers
fire early.
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, Final

from reportsim.benchmark.checks.model import Conditions
from reportsim.benchmark.conclusion import conclude
from reportsim.benchmark.load.block_starts import Started, list_blocks
from reportsim.benchmark.load.callback_server import CallbackConnection
from reportsim.benchmark.load.completion import ASKING, Way
from reportsim.benchmark.load.messages import CALLBACK_PATH, LONGEST_LINE, Message, Order, encode, receive
from reportsim.benchmark.load.own_service import OwnService
from reportsim.benchmark.load.process_monitor import ProcessMonitor, monitored_process, watch_arrivals
from reportsim.benchmark.load.process_setup import allow_files, collect_garbage, loop_failure, raise_priority
from reportsim.benchmark.plan import Plan
from reportsim.benchmark.pulled_plug import PulledPlug
from reportsim.benchmark.server_recorder import complete, load_columns
from reportsim.benchmark.theory.prediction import predict
from reportsim.core.json import dumps
from reportsim.tasks import start, wait_for_end

Json = dict[str, Any]
BACKLOG: Final = 4_096


class Pipes:
    """The pipes to the parent process; this process ends when that does."""

    def __init__(self, stream: asyncio.StreamReader) -> None:
        """Listens to a pipe."""
        self._stream = stream
        self._messages: asyncio.Queue[Message] = asyncio.Queue()

    async def listen(self) -> None:
        """Reads until the other side has ended."""
        with contextlib.suppress(EOFError):
            while True:
                self._messages.put_nowait(await receive(self._stream))

    async def receive_next(self) -> Message:
        """The next message."""
        return await self._messages.get()

    @staticmethod
    def send(value: dict[str, Any], *parts: bytes) -> None:
        """Sends a message."""
        sys.stdout.buffer.write(encode(value, *parts))
        sys.stdout.buffer.flush()


@contextlib.asynccontextmanager
async def listen_for_callbacks(service: OwnService, host: str) -> AsyncIterator[None]:
    """Lets callbacks come to the load of a service as long as the block lasts."""
    server = await asyncio.get_running_loop().create_server(
        lambda: CallbackConnection(service), host, 0, backlog=BACKLOG
    )
    async with server:
        address, port = server.sockets[0].getsockname()[:2]
        service.callback_base = f"http://{f'[{address}]' if ':' in address else address}:{port}{CALLBACK_PATH}"
        yield


async def serve(pipes: Pipes) -> None:
    """Runs what is ordered, and sends the result."""
    order = Order.from_json((await pipes.receive_next()).value)
    plan = Plan.from_json(order.plan)
    prediction = predict(plan)
    service = OwnService(order, plan)
    async with listen_for_callbacks(service, order.host):
        hello = {"callback_base": service.callback_base, "count": len(service.schedule)}
        pipes.send(hello, dumps(prediction))
        await pipes.receive_next()
        await service.warm_up()
        collect_garbage()
        pipes.send({})
        starts: list[Started] = []
        async with monitored_process() as monitor:
            for blocks in plan.steps:
                await pipes.receive_next()
                with raise_priority():
                    async with watch_arrivals(monitor, plan.block_s):
                        began = await service.run(blocks)
                starts += [Started(block, began) for block in blocks]
                collect_garbage()
                pipes.send({})
        ways: dict[Way, Json] = {Way.WEBHOOK: service.first_async} if service.first_async else {}
        for way in ASKING if plan.ways else ():
            await pipes.receive_next()
            with raise_priority():
                ways[way] = await service.ask_for_results(way)
            pipes.send({})
        seen = await pipes.receive_next()
        pipes.send({}, *finish(service, prediction, starts, seen, monitor, ways if plan.ways else None))


def finish(
    service: OwnService,
    prediction: dict[str, Any],
    starts: list[Started],
    seen: Message,
    monitor: ProcessMonitor,
    ways: dict[Way, Json] | None,
) -> list[bytes]:
    """The result as JSON, and both sides' samples packed."""
    samples = service.samples
    columns = load_columns(list(samples), seen.parts)
    integrals = {}
    for side in samples:
        began = [
            start.at for start in sorted(starts, key=lambda each: each.block.number) if start.block.side.name == side
        ]
        integrals[side] = complete(samples[side], columns[side], seen.value["areas"][side], began)
    server = Conditions(**seen.value["conditions"])
    conditions = replace(
        server,
        generator_loop_lag_p99_ms=monitor.lag_p99_ms,
        generator_cpu_share=monitor.cpu_share,
        gc_pause_sum_ms=server.gc_pause_sum_ms + monitor.pause_sum_ms,
        gc_pause_max_ms=max(server.gc_pause_max_ms, monitor.pause_max_ms),
    )
    pulled = PulledPlug(**seen.value["plug"]).since(starts[0].at).as_json() if seen.value["plug"] else None
    result = {"blocks": list_blocks(starts), "ways": ways, "plug": pulled} | conclude(
        service.plan, service.schedule, prediction, samples, integrals, conditions
    )
    return [dumps(result), *(each.pack() for each in samples.values())]


async def main() -> None:
    """Runs until the work is done or the parent process has ended."""
    stream = asyncio.StreamReader(limit=LONGEST_LINE)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(0, "rb"))
    pipes, failure = Pipes(stream), loop_failure()
    working, listening = start(serve(pipes), name="serve", handled=(Exception,)), start(pipes.listen(), name="listen")
    tasks: list[asyncio.Future[Any]] = [working, listening, failure]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    if failure.done():
        pipes.send({"failure": failure.result()})
    if not working.done():
        working.cancel()
    listening.cancel()
    await wait_for_end(working)


if __name__ == "__main__":
    allow_files()
    asyncio.run(main())
