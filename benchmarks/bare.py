"""A bare aiohttp client that posts a body again and again, as many at once as one destination gets of the service.

`python -m benchmarks.bare URL COUNT AT_ONCE < BODY` prints posts a second, and microseconds of CPU for each. The client
keeps its connections, as it does by itself.
"""

import asyncio
import sys
import time

import aiohttp

from reportsim.cli.serve.event_loop import loop_factory

HEADERS = {
    "Content-Type": "application/json",
    "webhook-id": "msg_01a20c91c1a17fd7920b3855ecc1c5ff_1",
    "webhook-timestamp": "1795507208",
    "webhook-signature": "v1,WzMWjs42j0klWE/2pxuUf8W2xwfjQqSzXlhcVPk2Pgk=",
    "webhook-attempt": "1",
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
}


async def rate(url: str, body: bytes, count: int, at_once: int) -> tuple[float, float]:
    """Posts a number of times, some at once; says how many a second, and how much CPU time each took."""
    left = iter(range(count))
    async with aiohttp.ClientSession() as session:

        async def post() -> None:
            for _ in left:
                async with session.post(url, data=body, headers=HEADERS) as answer:
                    assert answer.status == 204
                    await answer.read()

        began, cpu = time.monotonic(), time.process_time()
        await asyncio.gather(*(post() for _ in range(at_once)))
        return count / (time.monotonic() - began), (time.process_time() - cpu) / count * 1e6


if __name__ == "__main__":
    _, url, count, at_once = sys.argv
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        print(*runner.run(rate(url, sys.stdin.buffer.read(), int(count), int(at_once))))
