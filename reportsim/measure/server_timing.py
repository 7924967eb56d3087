"""The service time that a server reports in `Server-Timing` (W3C)."""

import math
import re
from collections.abc import Mapping
from typing import Final

from reportsim.benchmark.results.samples import Samples, nothing

HEADER: Final = "Server-Timing"
LONGEST: Final = 4_096
NUMBER: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
# The names under which servers report all of their time; elsewhere the longest counts.
WHOLE: Final = ("service", "app", "total")
LONGEST_S: Final = 86_400.0


def service_s(headers: Mapping[str, str]) -> float:
    """The reported seconds: those of the metric that stands for the whole, or else the longest; NaN where none is."""
    durations: dict[str, float] = {}
    for metric in headers.get(HEADER, "")[:LONGEST].split(","):
        name, *parameters = (part.strip() for part in metric.split(";"))
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            number = value.strip().strip('"')
            if key.strip().lower() == "dur" and NUMBER.fullmatch(number):
                durations.setdefault(name.lower(), float(number) / 1000)
    whole = next((durations[name] for name in WHOLE if name in durations), None)
    found_s = max(durations.values(), default=math.nan) if whole is None else whole
    return found_s if found_s <= LONGEST_S else math.nan


def note_service(samples: Samples, index: int, headers: Mapping[str, str]) -> None:
    """Notes what a server reports of a request, if it does."""
    if HEADER in headers and not math.isnan(seconds := service_s(headers)):
        if samples.reported is None:
            samples.reported = nothing(len(samples))
        samples.reported[index] = seconds
