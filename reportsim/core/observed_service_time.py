"""Service times as they were observed, drawn again with replacement (the bootstrap of their distribution)."""

import math
from array import array
from bisect import bisect_right
from dataclasses import dataclass
from random import Random
from typing import ClassVar

from reportsim.core.service_time import ServiceTime


@dataclass(frozen=True, slots=True, eq=False)
class ObservedServiceTime:
    """The empirical distribution of some service times; as `ServiceTime`, but for the parameters."""

    times_s: "array[float]"
    """Ascending, at least one."""

    symbol: ClassVar[str] = "G"
    exponential: ClassVar[bool] = False

    @property
    def mean_s(self) -> float:
        """The mean in seconds."""
        return math.fsum(self.times_s) / len(self.times_s)

    def quantile_s(self, share: float) -> float:
        """The time in seconds that this share (0 < share < 1) of all service times does not exceed."""
        return self.times_s[math.ceil(share * len(self.times_s)) - 1]

    def survival(self, milliseconds: float) -> float:
        """P(S > t)."""
        return 1 - bisect_right(self.times_s, milliseconds / 1000) / len(self.times_s)

    def draws_s(self, count: int, source: Random) -> "array[float]":
        """So many service times in seconds."""
        return array("d", source.choices(self.times_s, k=count))


Distribution = ServiceTime | ObservedServiceTime
