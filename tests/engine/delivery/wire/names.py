"""A DNS server and a resolver that asks it, over UDP: names lead to whatever a test says, differently every time."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp.abc import AbstractResolver, ResolveResult

A, AAAA, IN = 1, 28, 1
HEADER: Final = struct.Struct("!HHHHHH")
RECORD: Final = struct.Struct("!HHIH")
NAME_AT_THE_HEAD: Final = b"\xc0\x0c"


@dataclass
class Names(asyncio.DatagramProtocol):
    """Answers with the addresses of `script`, one entry for each time that somebody asks; the last one stays."""

    port: int = 0
    script: list[list[str]] = field(default_factory=list)
    asked: int = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, client: Any) -> None:
        number, *_ = HEADER.unpack_from(data)
        question = data[HEADER.size :]
        kind, _ = struct.unpack("!HH", question[-4:])
        if kind == A:
            self.asked += 1
        addresses = self.script[min(self.asked, len(self.script)) - 1]
        family = socket.AF_INET if kind == A else socket.AF_INET6
        found = [socket.inet_pton(family, address) for address in addresses if (":" in address) == (kind == AAAA)]
        answer = HEADER.pack(number, 0x8180, 1, len(found), 0, 0) + question
        for packed in found:
            answer += NAME_AT_THE_HEAD + RECORD.pack(kind, IN, 0, len(packed)) + packed
        self.transport.sendto(answer, client)


@contextlib.asynccontextmanager
async def serving_names() -> AsyncIterator[Names]:
    """A DNS server on a free port."""
    loop = asyncio.get_running_loop()
    transport, names = await loop.create_datagram_endpoint(Names, ("127.0.0.1", 0))
    names.port = transport.get_extra_info("sockname")[1]
    try:
        yield names
    finally:
        transport.close()


class Asking(AbstractResolver):
    """Asks a DNS server for the addresses of a name, IPv4 first."""

    def __init__(self, names: Names) -> None:
        self._server = ("127.0.0.1", names.port)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = [*await self._ask(host, A), *await self._ask(host, AAAA)]
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=socket.AI_NUMERICHOST)
            for address in found
        ]

    async def _ask(self, host: str, kind: int) -> list[str]:
        question = b"".join(bytes([len(label)]) + label.encode() for label in host.rstrip(".").split("."))
        query = HEADER.pack(7, 0x0100, 1, 0, 0, 0) + question + b"\0" + struct.pack("!HH", kind, IN)
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[bytes] = loop.create_future()

        class Client(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, addr: Any) -> None:
                answered.set_result(data)

        transport, _ = await loop.create_datagram_endpoint(Client, remote_addr=self._server)
        try:
            transport.sendto(query)
            return list(addresses_in(await answered, len(query), kind))
        finally:
            transport.close()

    async def close(self) -> None:
        pass


def addresses_in(answer: bytes, at: int, kind: int) -> list[str]:
    """The addresses of an answer's records, which start at an offset."""
    count = HEADER.unpack_from(answer)[3]
    family = socket.AF_INET if kind == A else socket.AF_INET6
    found = []
    for _ in range(count):
        *_, length = RECORD.unpack_from(answer, at + 2)
        at += 2 + RECORD.size
        found.append(socket.inet_ntop(family, answer[at : at + length]))
        at += length
    return found
