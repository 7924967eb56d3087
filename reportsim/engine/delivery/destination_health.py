"""The health of a destination, and how many permits destinations of each health get."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class DestinationHealth(StrEnum):
    """The result of the last attempt at a destination."""

    NEW = "new"
    PROMPT = "prompt"
    LATE = "late"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class Limits:
    """What destinations of one health may have: connections each and in total, and deliveries in memory in total.

    No destination may hold more than a `share` of the free memory, so that there is always some for the next one.
    """

    each: int
    together: int
    held: int
    share: float


LIMITS: Final[Mapping[DestinationHealth, Limits]] = MappingProxyType(
    {
        DestinationHealth.NEW: Limits(1, 128, 2_000, 1 / 4),
        DestinationHealth.PROMPT: Limits(8, 192, 4_000, 1),
        DestinationHealth.LATE: Limits(4, 128, 1_000, 1 / 16),
        DestinationHealth.SILENT: Limits(1, 64, 1_000, 1 / 64),
    }
)
