"""How the service and the generator's process talk: headers on the requests, messages over pipes.

A message is a line of JSON and as many bytes behind it as its `parts` say.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, NamedTuple, Self

RUN_HEADER: Final = "X-Benchmark-Run"
"""Carries the run's token, which lifts the rate limits for this run alone."""
INDEX_HEADER: Final = "X-Benchmark-Index"
"""Carries the name of the side and the request's index in it, as in `sync-12`; none in the warm-up."""
CALLBACK_PATH: Final = "/callback/"
WARM_UP: Final = 20
"""Requests per side at most, before anything is measured."""
LONGEST_LINE: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The instructions that the generator gets at its start."""

    run: str
    host: str
    port: int
    host_header: str
    token: str
    secrets: list[str]
    plan: dict[str, Any]

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """The order in a message."""
        return cls(**value)

    def as_json(self) -> dict[str, Any]:
        """The order as a message."""
        return asdict(self)


class Message(NamedTuple):
    """What came over a pipe."""

    value: dict[str, Any]
    parts: list[bytes]


def encode(value: Mapping[str, Any], *parts: bytes) -> bytes:
    """A message as it is written to a pipe."""
    head = json.dumps({"value": value, "parts": [len(part) for part in parts]})
    return b"".join((head.encode(), b"\n", *parts))


async def receive(stream: asyncio.StreamReader) -> Message:
    """The next message.

    Raises:
        EOFError: the other side has ended.
    """
    line = await stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError("the other side has ended")
    head = json.loads(line)
    return Message(head["value"], [await stream.readexactly(length) for length in head["parts"]])
