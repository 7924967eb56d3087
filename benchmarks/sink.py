"""A webhook receiver in a process of its own that does as little as possible: it counts, notes when, and says 204.

`running` starts one. Below `/slow` it never answers.
"""

import asyncio
import contextlib
import json
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
CREATED: Final = re.compile(rb'"completed_at":"([^"]+)"')
OK: Final = b"HTTP/1.1 204 No Content\r\n\r\n"


class Sink(asyncio.Protocol):
    """One connection."""

    arrivals: Final[list[tuple[float, str, str]]] = []
    last_body = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.data = b""

    def data_received(self, data: bytes) -> None:
        self.data += data
        head, end, body = self.data.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        if not end or len(body) < (int(length[1]) if length else 0):
            return
        self.data = b""
        method, path, _ = head.split(b" ", 2)
        if method == b"GET":
            self.transport.write(self.stats())
        elif path.startswith(b"/slow"):
            return
        else:
            ended = CREATED.search(body)
            self.arrivals.append((time.time(), path.decode(), ended[1].decode() if ended else ""))
            Sink.last_body = body
            self.transport.write(OK)

    def stats(self) -> bytes:
        """What arrived since the last time."""
        body = json.dumps({"arrivals": self.arrivals, "body": self.last_body.decode()}).encode()
        self.arrivals.clear()
        return b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


@dataclass(frozen=True)
class Arrivals:
    """What a sink got, in its order: when, where, and when the request had ended that it is about."""

    at: list[float]
    paths: list[str]
    ended: list[str]
    body: str


@dataclass(frozen=True)
class Running:
    """A running sink, on every loopback address."""

    port: int

    def url(self, path: str = "hook", *, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}/{path}"

    def take(self) -> Arrivals:
        """What arrived since the last time."""
        with urllib.request.urlopen(self.url("stats"), timeout=30) as answer:
            stats = json.load(answer)
        at, paths, ended = zip(*stats["arrivals"], strict=True) if stats["arrivals"] else ((), (), ())
        return Arrivals(list(at), list(paths), list(ended), stats["body"])


@contextlib.contextmanager
def running() -> Iterator[Running]:
    """Starts a sink and ends it."""
    with socket.create_server(("0.0.0.0", 0)) as probe:
        port = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.sink", str(port)])
    try:
        sink = Running(port)
        for _ in range(200):
            with contextlib.suppress(OSError):
                sink.take()
                break
            time.sleep(0.05)
        yield sink
    finally:
        process.terminate()
        process.wait(10)


async def serve(port: int) -> None:
    """Takes callbacks for ever."""
    server = await asyncio.get_running_loop().create_server(Sink, "0.0.0.0", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    from reportsim.cli.serve import loop_factory

    with asyncio.Runner(loop_factory=loop_factory()) as runner, contextlib.suppress(KeyboardInterrupt):
        runner.run(serve(int(sys.argv[1])))
