"""How the service and the generator's process talk: headers on the requests, lines and packed samples over pipes."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

RUN_HEADER: Final = "X-Benchmark-Run"
"""Carries the run's token, which lifts the rate limits for this run alone."""
INDEX_HEADER: Final = "X-Benchmark-Index"
"""Carries the request's index in its side; none in the warm-up."""
CALLBACK_PATH: Final = "/callback/"
WARM_UP: Final = 20
"""Requests per side before anything is measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the generator is told at its start."""

    url: str
    token: str
    secrets: list[str]
    plan: dict[str, Any]
    drain_s: float

    def encode(self) -> bytes:
        """The order as one line."""
        return line(asdict(self))

    @classmethod
    def decode(cls, text: bytes) -> Self:
        """The order in a line."""
        return cls(**json.loads(text))


def line(value: Any) -> bytes:
    """One JSON value on a line of its own."""
    return json.dumps(value).encode() + b"\n"
