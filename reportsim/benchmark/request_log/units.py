"""Durations as logs write them, and their units.

A unit behind the number counts (`120ms`), else the one that was asked for, else the one in the name of the column or
key (`duration_ms`). A number without any of them is refused: a guess would be wrong by a factor of 1,000.
"""

import re
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from reportsim.benchmark.request_log.errors import LineError, excerpt

LONGEST_S: Final = 86_400.0


class Unit(StrEnum):
    """The units that can be asked for."""

    S = "s"
    MS = "ms"
    US = "us"
    NS = "ns"


SECONDS: Final = MappingProxyType({Unit.S: 1.0, Unit.MS: 1e-3, Unit.US: 1e-6, Unit.NS: 1e-9})
SPELLINGS: Final = MappingProxyType(
    {
        **{name: Unit.S for name in ("s", "sec", "secs", "second", "seconds")},
        **{name: Unit.MS for name in ("ms", "msec", "millis", "millisecond", "milliseconds")},
        **{name: Unit.US for name in ("us", "µs", "μs", "usec", "micros", "microsecond", "microseconds")},
        **{name: Unit.NS for name in ("ns", "nsec", "nanos", "nanosecond", "nanoseconds")},
    }
)
DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]{1,3})?|\.[0-9]+)\s*([A-Za-zµμ]*)")
HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
BETWEEN_WORDS: Final = re.compile(r"[\s_.-]+")


def normalize(name: str) -> str:
    """The name of a column or key as lower-case words with `_` between them."""
    return BETWEEN_WORDS.sub("_", HUMP.sub("_", name.strip())).strip("_").lower()


def split_unit(name: str) -> tuple[str, Unit | None]:
    """A normalized name without its unit, and the unit."""
    stem, _, last = name.rpartition("_")
    unit = SPELLINGS.get(last)
    return (name, None) if unit is None else (stem, unit)


def parse_duration(text: str, unit: Unit | None) -> float:
    """The seconds of a duration, whose unit is `unit` where it has none itself.

    Raises:
        LineError: It is no duration, or has no unit.
    """
    match = DURATION.fullmatch(text.strip())
    if match is None:
        raise LineError(f"expected a duration, such as 0.12, 120ms or 1.5s, found {excerpt(text)}")
    number, written = match.groups()
    if written:
        unit = SPELLINGS.get(written.lower())
        if unit is None:
            raise LineError(f"expected the unit s, ms, us or ns, found {excerpt(written)}")
    return to_seconds(float(number), unit)


def to_seconds(number: float, unit: Unit | None) -> float:
    """The seconds of a number in a unit.

    Raises:
        LineError: It has no unit, or is no duration of a request.
    """
    if unit is None:
        raise LineError(
            f"{number:g} has no unit: write {number:g}s or {number:g}ms, name the column duration_s or duration_ms, "
            "or say the unit (--unit)"
        )
    seconds = number * SECONDS[unit]
    if not 0 <= seconds <= LONGEST_S:
        raise LineError(f"expected a duration from 0 to a day, found {number:g} {unit}")
    return seconds
