"""A webhook receiver in a process of its own that does as little as possible: it counts, notes when, and says 204.

`running` starts one, which also speaks TLS at a second port. Below `/slow` it never answers.
"""

import asyncio
import contextlib
import json
import re
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
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
    """A running sink, on every loopback address; who trusts the certificate may call 127.0.0.1 by TLS."""

    port: int
    tls_port: int
    certificate: Path

    def url(self, path: str = "hook", *, host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.tls_port if scheme == 'https' else self.port}/{path}"

    def take(self) -> Arrivals:
        """What arrived since the last time."""
        with urllib.request.urlopen(self.url("stats"), timeout=30) as answer:
            stats = json.load(answer)
        at, paths, ended = zip(*stats["arrivals"], strict=True) if stats["arrivals"] else ((), (), ())
        return Arrivals(list(at), list(paths), list(ended), stats["body"])


@contextlib.contextmanager
def running() -> Iterator[Running]:
    """Starts a sink and ends it."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="reportsim-bench-sink-")))
        key, certificate = folder / "key.pem", folder / "certificate.pem"
        certify(key, certificate)
        probes = [stack.enter_context(socket.create_server(("0.0.0.0", 0))) for _ in range(2)]
        port, tls_port = (probe.getsockname()[1] for probe in probes)
        for probe in probes:
            probe.close()
        command = [sys.executable, "-m", "benchmarks.sink", str(port), str(tls_port), str(certificate), str(key)]
        process = subprocess.Popen(command)
        stack.callback(process.wait, 10)
        stack.callback(process.terminate)
        sink = Running(port, tls_port, certificate)
        for _ in range(200):
            with contextlib.suppress(OSError):
                sink.take()
                break
            time.sleep(0.05)
        yield sink


def certify(key: Path, certificate: Path) -> None:
    """Makes a certificate of 127.0.0.1 that signs itself."""
    made = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"]
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", *made, *subject, *files], check=True, capture_output=True)


async def serve(port: int, tls_port: int, certificate: str, key: str) -> None:
    """Takes callbacks for ever."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    loop = asyncio.get_running_loop()
    await loop.create_server(Sink, "0.0.0.0", tls_port, backlog=4096, ssl=context)
    server = await loop.create_server(Sink, "0.0.0.0", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    from reportsim.cli.serve.event_loop import loop_factory

    with asyncio.Runner(loop_factory=loop_factory()) as runner, contextlib.suppress(KeyboardInterrupt):
        runner.run(serve(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]))
