"""Hands connections over to the first process of a service.

The first process has what there can only be one of: the ring of events, the inboxes of the demo receiver, the benchmark
run, and the pages, which continue with its events. Another process that accepts a connection for one of them sends the
connection itself, with the bytes that it has read, before it parses any of them. The first process goes on as if it had
accepted the connection, so that nothing is copied, and the address of the client stays what it is.
"""

import asyncio
import contextlib
import os
import re
import socket
from collections.abc import Callable
from typing import Final

from yarl import URL

from reportsim.core.problems import unavailable
from reportsim.tasks import start
from reportsim.web.server.raw_responses import encode_response, raw_problem

FIRST_PATHS: Final = re.compile(
    r"/|/api/events|/api/benchmark(?:/.*)?|/webhook-test/.*|/requests/.*|/benchmarks(?:/.*)?|/predict"
)
# A whole request target; empty lines before it are permitted (RFC 9112, section 2.2).
TARGET: Final = re.compile(rb"(?:\r?\n)*[A-Za-z]+ ([^\s?#]*)[\s?#]")
AT_ONCE: Final = 64
MESSAGE: Final = b"\n"


def belongs_to_first(path: str) -> bool:
    """Whether the first process has what is at a path, or at the template of a route."""
    return FIRST_PATHS.fullmatch(path) is not None


def is_for_first(head: bytes) -> bool:
    """Whether a request that begins with some bytes is for the first process; False while that cannot be known."""
    match = TARGET.match(head)
    if match is None:
        return False
    target = match[1].decode("ascii", "replace")
    if "%" in target or not target.startswith("/"):
        with contextlib.suppress(ValueError):
            target = URL(target, encoded=True).path_safe
    return belongs_to_first(target)


def hand_over(channel: socket.socket, connection: int, received: bytes) -> bool:
    """Sends an open connection, and what was received from it, to the first process; False when it takes no more."""
    try:
        file = os.memfd_create("received")
        try:
            os.pwrite(file, received, 0)
            socket.send_fds(channel, [MESSAGE], [connection, file])
        finally:
            os.close(file)
    except OSError:
        return False
    return True


class HandoverReceiver:
    """Receives connections that other processes hand over, as long as it is open."""

    def __init__(self, channel: socket.socket, protocol: Callable[[bytes], asyncio.BaseProtocol]) -> None:
        """Takes the socket to receive from, and what makes the protocol of a connection that has received bytes."""
        self._channel = channel
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        channel.setblocking(False)
        self._loop.add_reader(channel.fileno(), self._receive)

    def close(self) -> None:
        """Receives nothing more; connections that are on their way are refused."""
        self._loop.remove_reader(self._channel.fileno())
        problem = unavailable("The service is stopping.")
        response = encode_response(problem, *raw_problem(problem))
        while (received := self._next()) is not None:
            connection, _ = received
            with connection, contextlib.suppress(OSError):
                connection.send(response)

    def _receive(self) -> None:
        for _ in range(AT_ONCE):
            received = self._next()
            if received is None:
                break
            start(self._accept(*received), name="handover", handled=(OSError,))

    async def _accept(self, connection: socket.socket, data: bytes) -> None:
        try:
            await self._loop.connect_accepted_socket(lambda: self._protocol(data), connection)
        except BaseException:
            connection.close()
            raise

    def _next(self) -> tuple[socket.socket, bytes] | None:
        """The next connection, and what was received from it; None where there is none at the moment."""
        while True:
            try:
                message, files, _, _ = socket.recv_fds(self._channel, len(MESSAGE), 2, socket.MSG_CMSG_CLOEXEC)
            except OSError:
                return None
            if len(files) == 2:
                connection = socket.socket(fileno=files[0])
                connection.setblocking(False)
                with open(files[1], "rb") as file:
                    return connection, os.pread(files[1], os.fstat(file.fileno()).st_size, 0)
            # This process may not open any more files.
            for each in files:
                os.close(each)
            if not message:
                return None
