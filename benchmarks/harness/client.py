"""A load client: `python -m benchmarks.harness.client URL BODY SECONDS CLIENTS` prints what wrk would say, as JSON."""

import asyncio
import dataclasses
import functools
import json
import re
import statistics
import sys
import time
import uuid
from typing import Any, Final
from urllib.parse import urlsplit

from benchmarks.harness.load import Load
from reportsim.cli.serve.event_loop import loop_factory

LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
HEAD: Final = "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n"


class Client(asyncio.Protocol):
    """A connection that posts again as soon as it is answered."""

    def __init__(self, head: bytes, body: bytes, name: str) -> None:
        self._head, self._body, self._name = head, body, name
        self._data = b""
        self._sent = 0.0
        self.latencies: list[float] = []
        self.errors = 0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, end, body = self._data.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        if not end or len(body) < (int(length[1]) if length else 0):
            return
        self.latencies.append(1000 * (time.perf_counter() - self._sent))
        self.errors += not head.startswith(b"HTTP/1.1 2")
        self._data = b""
        self._send()

    def close(self) -> None:
        self._transport.abort()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        key = b"X-Idempotency-Key: %s-%d\r\n\r\n" % (self._name.encode(), len(self.latencies))
        self._transport.write(self._head + key + self._body)


async def load(url: str, body: str, seconds: float, clients: int) -> Load:
    """Posts for some seconds."""
    to = urlsplit(url)
    head = HEAD.format(path=to.path, host=to.netloc, length=len(body.encode())).encode()
    loop = asyncio.get_running_loop()
    connected = []
    began = time.perf_counter()
    for _ in range(clients):
        connect = functools.partial(Client, head, body.encode(), uuid.uuid4().hex)
        connected.append((await loop.create_connection(connect, to.hostname or "", to.port or 0))[1])
    await asyncio.sleep(seconds)
    took = time.perf_counter() - began
    latencies = sorted(each for client in connected for each in client.latencies)
    for client in connected:
        client.close()
    errors = sum(client.errors for client in connected)
    if not latencies:
        return Load(0, 1000 * took, 1000 * took, errors, took)
    p99 = latencies[len(latencies) * 99 // 100]
    return Load(len(latencies) / took, statistics.median(latencies), p99, errors, took)


if __name__ == "__main__":
    url, body, seconds, clients = sys.argv[1:]
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        print(json.dumps(dataclasses.asdict(runner.run(load(url, body, float(seconds), int(clients))))))
