"""The samples of one side, block by block: times, outcomes, and when clients and workers were busy."""

import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from operator import sub
from typing import Final

from reportsim.benchmark.design import Design
from reportsim.benchmark.results.concurrency import Span, spans
from reportsim.benchmark.results.samples import Outcome, Samples

# Outcomes without a time: the client was notified that there will be no result.
WITHOUT_TIME: Final = frozenset({Outcome.REFUSED, Outcome.SHED, Outcome.HTTP_4XX, Outcome.HTTP_5XX, Outcome.JOB_FAILED})
# Outcomes that cut a time off: the result did not come while it was waited for.
CUT_OFF: Final = frozenset({Outcome.CLIENT_TIMEOUT, Outcome.CALLBACK_LOST})
RESULTS: Final = frozenset({Outcome.OK, Outcome.OK_LATE})


class Side:
    """The samples of one side, seen block by block."""

    def __init__(self, samples: Samples, design: Design) -> None:
        """Belongs to the side of the design that has the name of the samples."""
        self.samples = samples
        self.design = design
        own = next(side for side in design.sides if side.name == samples.side)
        self.timeout_s = own.timeout_s
        self.answer_timeout_s = own.timeout_s if own.answer_timeout_s is None else own.answer_timeout_s

    def per_block(self, values: Sequence[float]) -> "list[Sequence[float]]":
        """A column, cut into blocks."""
        return [values[block.start : block.stop] for block in self.samples.blocks]

    @cached_property
    def times(self) -> "array[float]":
        """Seconds to each result; infinite where none came in time, NaN where there is none to wait for."""
        return times_of(self.samples)

    @cached_property
    def accept_times(self) -> "array[float]":
        """Seconds to the first final status; infinite where the client left without, NaN where there was no answer."""
        samples = self.samples
        moments = zip(samples.outcomes, samples.due, samples.accepted, strict=True)
        return array(
            "d",
            (
                math.inf if math.isnan(accepted) and outcome in CUT_OFF else accepted - due
                for outcome, due, accepted in moments
            ),
        )

    @cached_property
    def from_send(self) -> "array[float]":
        """The time to result as most tools measure it, from when a request was sent; it hides the generator's lag."""
        lags = map(sub, self.samples.sent, self.samples.due)
        return array("d", (time if math.isnan(lag) else time - lag for time, lag in zip(self.times, lags, strict=True)))

    def cut_off_s(self) -> float:
        """The least that a time is known to be that was cut off: the time-out, or else the longest time to a result."""
        return least_cut_off(self.timeout_s, self.times)

    def accept_cut_off_s(self) -> float:
        """The least that a time to an answer is known to be whose client left without."""
        return least_cut_off(self.answer_timeout_s, self.accept_times)

    def count_per_block(self, wanted: "Iterable[bool]") -> list[int]:
        """How many requests of each block are wanted."""
        flags = list(wanted)
        return [sum(flags[block.start : block.stop]) for block in self.samples.blocks]

    @cached_property
    def outcomes(self) -> list[Outcome]:
        """How each request ended, with late results told apart."""
        return [self._judge(outcome, time) for outcome, time in zip(self.samples.outcomes, self.times, strict=True)]

    def _judge(self, outcome: int, time: float) -> Outcome:
        if outcome not in RESULTS:
            return Outcome(outcome)
        return Outcome.OK_LATE if time > self.design.slo_s else Outcome.OK

    def spans_per_block(self, starts: Sequence[float], ends: Sequence[float]) -> Iterator[Iterator[Span]]:
        """The spans of each block whose two moments are known."""
        for first, last in zip(self.per_block(starts), self.per_block(ends), strict=True):
            yield spans(first, last)

    def held_until(self) -> "array[float]":
        """When each client's connection ended: as the server recorded it, or else when the client had its response."""
        samples = self.samples
        answered = (
            due + self.answer_timeout_s if math.isnan(accepted) and outcome in CUT_OFF else accepted
            for due, accepted, outcome in zip(samples.due, samples.accepted, samples.outcomes, strict=True)
        )
        held = zip(samples.sent, samples.seen.held, answered, strict=True)
        return array("d", (end if math.isnan(length) else sent + length for sent, length, end in held))

    def left_queue(self) -> list[float]:
        """When each request left the queue: a worker began, or it was dropped."""
        samples = self.samples
        moments = zip(samples.seen.started, samples.seen.ended, strict=True)
        return [end if math.isnan(start) else start for start, end in moments]


def least_cut_off(timeout_s: float, times: Iterable[float]) -> float:
    """A time-out, or where there is none or it was exceeded, the longest time that is known."""
    longest = max((time for time in times if time < math.inf), default=0.0)
    return longest if math.isinf(timeout_s) else max(timeout_s, longest)


def times_of(samples: Samples) -> "array[float]":
    """Seconds to each result; infinite where none came in time, NaN where there is none to wait for."""
    moments = zip(samples.outcomes, samples.due, samples.result, strict=True)
    return array("d", (time_of(outcome, result - due) for outcome, due, result in moments))


def ordered_times(samples: Samples) -> list[float]:
    """The seconds of all requests with a time, of which percentiles are; infinite ones come last."""
    return sorted(time for time in times_of(samples) if not math.isnan(time))


def time_of(outcome: int, elapsed: float) -> float:
    """The time to result that an outcome stands for."""
    if outcome in RESULTS:
        return elapsed
    return math.inf if outcome in CUT_OFF else math.nan


def shortest_cut_off(sides: Sequence[Side]) -> float:
    """The bound of a restricted mean: the shortest time-out, or where none is known, the least that was cut off."""
    known = [side.timeout_s for side in sides if not math.isinf(side.timeout_s)]
    return min(known or [side.cut_off_s() for side in sides if math.inf in side.times], default=math.inf)


def segment_columns(samples: Samples) -> "tuple[array[float], ...]":
    """The segments of every request in seconds; those of one add up to its time to result. NaN where one is unknown."""
    moments = (samples.due, samples.sent, samples.seen.queued, samples.seen.started, samples.seen.ended, samples.result)
    return tuple(array("d", map(sub, later, earlier)) for earlier, later in pairwise(moments))
