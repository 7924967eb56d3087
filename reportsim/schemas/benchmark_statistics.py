"""The response schemas of what a benchmark measures of each side, and of both sides compared."""

from collections.abc import Callable
from typing import Any, Final

from marshmallow import fields, validate

from reportsim.benchmark.results.percentiles import LEVELS
from reportsim.benchmark.results.samples import Outcome
from reportsim.benchmark.results.summary import SEGMENTS
from reportsim.schemas.responses import ResponseSchema, boolean, integer, number, required

SIDES: Final = ("sync", "async", "a", "b")


def signed_number(about: str = "", **options: Any) -> Any:
    """A number that may be below 0, or not be there."""
    return required(fields.Float, about, allow_none=True, **options)


def nested(shape: Any, about: str = "", **options: Any) -> Any:
    """An object that is always there."""
    return required(fields.Nested, about, nested=shape, **options)


def object_with(names: Any, shape: Any) -> type[ResponseSchema]:
    """A shape with the same kind of member under each of some names."""
    made: type[ResponseSchema] = ResponseSchema.from_dict({str(name): nested(shape) for name in names}, name="")  # type: ignore[assignment]
    return made


def object_with_optional(names: Any, make: Callable[[], Any]) -> type[ResponseSchema]:
    """A shape with some members of which those of the run's sides are there."""
    made: type[ResponseSchema] = ResponseSchema.from_dict({str(name): make() for name in names}, name="")  # type: ignore[assignment]
    return made


class BlockEstimate(ResponseSchema):
    """An estimate and its 95 % interval, whose units of sampling are blocks; null for an end that has no bound."""

    value = signed_number()
    low = signed_number()
    high = signed_number()


class Percentile(ResponseSchema):
    """A percentile or a mean over the requests with a time, with its 95 % interval from the blocks."""

    value = number("Milliseconds; null where there is no time.", allow_none=True)
    low = signed_number("Null where nothing bounds it from below, or with fewer than four blocks.")
    high = number("Null where nothing bounds it from above.", allow_none=True)
    n = integer("Requests that it is over: those with a result, and those whose result was waited for in vain.")
    censored = boolean("It falls on requests without a result: the true one is at least this long.")


class TimeSummary(object_with((*LEVELS, "max", "mean"), Percentile)):  # type: ignore[misc]
    """The percentiles of a time, and its mean, cut off at the shorter time-out of both sides."""


class WayTimes(object_with((*LEVELS, "max"), Percentile)):  # type: ignore[misc]
    """The percentiles of the time to result by one way."""


class Outcomes(ResponseSchema.from_dict({outcome.label: integer() for outcome in Outcome})):  # type: ignore[misc]
    """How many requests ended how; they add up to those offered."""


class Lag(ResponseSchema):
    """How late requests were sent, in milliseconds."""

    p50 = number(allow_none=True)
    p99 = number(allow_none=True)
    p99_9 = number(allow_none=True)
    max = number(allow_none=True)


class Segments(ResponseSchema.from_dict({name: signed_number() for name in SEGMENTS})):  # type: ignore[misc]
    """Where the time to result went on average, in milliseconds."""


class Bounds(ResponseSchema):
    """The 95 % interval of the number beside it."""

    low = signed_number()
    high = signed_number()


class Occupancy(ResponseSchema):
    """A number over time: its mean over the arrival windows, and its maximum."""

    mean = number(allow_none=True)
    mean_interval = fields.Nested(Bounds)
    max = integer(allow_none=True)


class Shares(object_with((outcome.label for outcome in Outcome), BlockEstimate)):  # type: ignore[misc]
    """The share of each outcome among all requests offered."""


class BenchmarkSide(ResponseSchema):
    """What was measured of one side; rates are per second of the arrival window."""

    offered = integer()
    sent = integer()
    outcomes = nested(Outcomes)
    duplicates = integer("Callbacks that came more than once.")
    sched_lag_ms = nested(Lag)
    accept_ms = nested(TimeSummary, "To the first final status.")
    time_to_result_ms = nested(TimeSummary, "To the result in the client's hands, from when the request was due.")
    from_send_ms = nested(TimeSummary, "The same from when it was sent, as most tools measure it.")
    segments_ms = nested(Segments)
    shares = nested(Shares)
    goodput = number("Results within the SLO.", allow_none=True)
    goodput_interval = nested(Bounds)
    throughput = number("Results.", allow_none=True)
    throughput_interval = nested(Bounds)
    drain_s = number("From the last arrival until nothing was left to do.")
    open_connections = nested(Occupancy)
    busy_workers_mean = number(allow_none=True)
    busy_workers_mean_interval = nested(Bounds)
    queue = nested(Occupancy)
    wasted_share = number("Of all worker time, that which went to clients that had left.", allow_none=True)
    wasted_share_interval = nested(Bounds)


class Differences(ResponseSchema):
    """Async − sync (b − a in an A/A run) of requests paired by block and index, in milliseconds."""

    mean = nested(BlockEstimate)
    median = nested(BlockEstimate)


class Faster(object_with_optional(SIDES, lambda: fields.Integer(validate=validate.Range(0)))):  # type: ignore[misc]
    """How often which side had its result first."""

    tie = integer()


class LevelCompared(object_with_optional(SIDES, lambda: fields.Float(allow_none=True))):  # type: ignore[misc]
    """One percentile of both sides, in milliseconds."""

    difference = signed_number()
    ratio = number(allow_none=True)


class LevelsCompared(object_with((*LEVELS, "max"), LevelCompared)):  # type: ignore[misc]
    """The percentiles of both sides."""


class Comparison(object_with_optional((f"only_{side}" for side in SIDES), lambda: fields.Integer())):  # type: ignore[misc]
    """Both sides against each other, request by request: the same arrival, the same service time."""

    pairs = integer("Requests that have a time on both sides.")
    neither = integer()
    difference_ms = nested(Differences)
    limit_ms = number("Times of both sides are cut off at this before they are subtracted.", allow_none=True)
    faster = nested(Faster)
    tie_ms = number("Differences below this are ties.")
    accept_ms = nested(LevelsCompared)
    time_to_result_ms = nested(LevelsCompared)
