"""The response schemas of what a benchmark measures of each side, and of both sides compared."""

from collections.abc import Callable
from typing import Any, Final

from marshmallow import fields, validate

from reportsim.benchmark.results.samples import Outcome
from reportsim.benchmark.results.summary import SEGMENTS
from reportsim.benchmark.statistics.percentile_levels import LEVELS
from reportsim.schemas.responses import ResponseSchema, boolean, integer, number, required

SIDES: Final = ("sync", "async", "a", "b")


def signed_number(about: str = "", **options: Any) -> Any:
    """A number that may be negative or null."""
    return required(fields.Float, about, allow_none=True, **options)


def nested(schema: Any, about: str = "", **options: Any) -> Any:
    """A required object."""
    return required(fields.Nested, about, nested=schema, **options)


def object_with(names: Any, schema: Any) -> type[ResponseSchema]:
    """A schema with an object of the same schema under each name."""
    result: type[ResponseSchema] = ResponseSchema.from_dict({str(name): nested(schema) for name in names}, name="")  # type: ignore[assignment]
    return result


def object_with_optional(names: Any, make: Callable[[], Any]) -> type[ResponseSchema]:
    """A schema with optional members; those of the run's own sides are present."""
    result: type[ResponseSchema] = ResponseSchema.from_dict({str(name): make() for name in names}, name="")  # type: ignore[assignment]
    return result


def optional_integer() -> fields.Integer:
    """A number of things that need not be there."""
    return fields.Integer(validate=validate.Range(0))


def optional_number() -> fields.Float:
    """A number from 0 on, or null, that need not be there."""
    return fields.Float(allow_none=True, validate=validate.Range(0))


class BlockEstimate(ResponseSchema):
    """An estimate with its 95 % interval, sampled by blocks; a null bound is infinite."""

    value = signed_number()
    low = signed_number()
    high = signed_number()


class Percentile(ResponseSchema):
    """A percentile or mean of the requests with a time, with its 95 % interval sampled by blocks."""

    value = number("Milliseconds; null where there is no time.", allow_none=True)
    low = signed_number("Null without a lower bound, or with fewer than four blocks.")
    high = number("Null without an upper bound.", allow_none=True)
    n = integer(
        "Number of requests with a time: those with a result, in `accept_ms` with any answer, and those that waited for"
        " it in vain."
    )
    censored = boolean("It falls on requests without a result, so the true value is at least this.")


class TimeSummary(object_with((*LEVELS, "max", "mean"), Percentile)):  # type: ignore[misc]
    """The percentiles of a time, and its mean, censored at the shorter time-out of both sides."""


class WayTimes(object_with((*LEVELS, "max"), Percentile)):  # type: ignore[misc]
    """The percentiles of the time to result of one delivery method."""


class Outcomes(ResponseSchema.from_dict({outcome.label: integer() for outcome in Outcome})):  # type: ignore[misc]
    """The number of requests by outcome; they add up to those offered."""


class Lag(ResponseSchema):
    """The schedule lag, in milliseconds: how late requests were sent."""

    p50 = number(allow_none=True)
    p99 = number(allow_none=True)
    p99_9 = number(allow_none=True)
    max = number(allow_none=True)


class Segments(ResponseSchema.from_dict({name: signed_number() for name in SEGMENTS})):  # type: ignore[misc]
    """The average parts of the time to result, in milliseconds."""


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
    duplicates = integer("Callbacks that arrived more than once.")
    sched_lag_ms = nested(Lag)
    accept_ms = nested(TimeSummary, "To the first final status.")
    time_to_result_ms = nested(TimeSummary, "Until the client has the result, from when the request was due.")
    from_send_ms = nested(TimeSummary, "The same from when the request was sent, as most tools measure it.")
    segments_ms = nested(Segments)
    shares = nested(Shares)
    goodput = number("Results within the SLO.", allow_none=True)
    goodput_interval = nested(Bounds)
    throughput = number("Results.", allow_none=True)
    throughput_interval = nested(Bounds)
    drain_s = number("From the last arrival until all work was done.")
    open_connections = nested(Occupancy)
    busy_workers_mean = number(allow_none=True)
    busy_workers_mean_interval = nested(Bounds)
    queue = nested(Occupancy)
    wasted_share = number("The share of worker time spent for clients that had given up.", allow_none=True)
    wasted_share_interval = nested(Bounds)


class Differences(ResponseSchema):
    """Async − sync (b − a in an A/A run) of requests paired by block and index, in milliseconds."""

    mean = nested(BlockEstimate)
    median = nested(BlockEstimate)


class Faster(object_with_optional(SIDES, optional_integer)):  # type: ignore[misc]
    """How often each side had its result first."""

    tie = integer()


class LevelCompared(object_with_optional(SIDES, optional_number)):  # type: ignore[misc]
    """One percentile of both sides, in milliseconds."""

    difference = signed_number()
    ratio = number(allow_none=True)


class LevelsCompared(object_with((*LEVELS, "max"), LevelCompared)):  # type: ignore[misc]
    """The percentiles of both sides."""


class Comparison(object_with_optional((f"only_{side}" for side in SIDES), optional_integer)):  # type: ignore[misc]
    """Both sides compared request by request, with the same arrival and the same service time."""

    pairs = integer("Requests that have a time on both sides.")
    neither = integer()
    difference_ms = nested(Differences)
    limit_ms = number("Times of both sides are censored at this before they are subtracted.", allow_none=True)
    faster = nested(Faster)
    tie_ms = number("Differences below this are ties.")
    accept_ms = nested(LevelsCompared)
    time_to_result_ms = nested(LevelsCompared)
