"""The shapes of benchmark runs and of their results: also the JSON Schema of what is exported."""

from collections.abc import Callable
from typing import Any, Final

from marshmallow import fields, validate

from reportsim.benchmark.checks.model import Verdict
from reportsim.benchmark.load.completion import Way
from reportsim.benchmark.results.objectives import OPERATORS
from reportsim.benchmark.results.samples import Outcome
from reportsim.benchmark.results.summary import SEGMENTS
from reportsim.benchmark.results.trace_simulation import COMPARED
from reportsim.benchmark.statistics.percentiles import LEVELS
from reportsim.schemas.responses import Problem, Shape, always, identifier, moment, number, path, text, whole, yes_no

SIDES: Final = ("sync", "async", "a", "b")
STATUSES: Final = ("PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED")


def signed(about: str = "", **options: Any) -> Any:
    """A number that may be below 0, or not be there."""
    return always(fields.Float, about, allow_none=True, **options)


def nested(shape: Any, about: str = "", **options: Any) -> Any:
    """An object that is always there."""
    return always(fields.Nested, about, nested=shape, **options)


def each(names: Any, shape: Any) -> type[Shape]:
    """A shape with the same kind of member under each of some names."""
    made: type[Shape] = Shape.from_dict({str(name): nested(shape) for name in names}, name="")  # type: ignore[assignment]
    return made


class BlockEstimate(Shape):
    """An estimate and its 95 % interval, whose units of sampling are blocks; null for an end that has no bound."""

    value = signed()
    low = signed()
    high = signed()


class Percentile(Shape):
    """A percentile or a mean over the requests with a time, with its 95 % interval from the blocks."""

    value = number("Milliseconds; null where there is no time.", allow_none=True)
    low = signed("Null where nothing bounds it from below, or with fewer than four blocks.")
    high = number("Null where nothing bounds it from above.", allow_none=True)
    n = whole("Requests that it is over: those with a result, and those whose result was waited for in vain.")
    censored = yes_no("It falls on requests without a result: the true one is at least this long.")


class TimeSummary(each((*LEVELS, "max", "mean"), Percentile)):  # type: ignore[misc]
    """The percentiles of a time, and its mean, cut off at the shorter time-out of both sides."""


class WayTimes(each((*LEVELS, "max"), Percentile)):  # type: ignore[misc]
    """The percentiles of the time to result by one way."""


class Outcomes(Shape.from_dict({outcome.label: whole() for outcome in Outcome})):  # type: ignore[misc]
    """How many requests ended how; they add up to those offered."""


class Lag(Shape):
    """How late requests were sent, in milliseconds."""

    p50 = number(allow_none=True)
    p99 = number(allow_none=True)
    p99_9 = number(allow_none=True)
    max = number(allow_none=True)


class Segments(Shape.from_dict({name: signed() for name in SEGMENTS})):  # type: ignore[misc]
    """Where the time to result went on average, in milliseconds."""


class Bounds(Shape):
    """The 95 % interval of the number beside it."""

    low = signed()
    high = signed()


class Occupancy(Shape):
    """A number over time: its mean over the arrival windows, and its maximum."""

    mean = number(allow_none=True)
    mean_interval = fields.Nested(Bounds)
    max = whole(allow_none=True)


class Shares(each((outcome.label for outcome in Outcome), BlockEstimate)):  # type: ignore[misc]
    """The share of each outcome among all requests offered."""


class BenchmarkSide(Shape):
    """What was measured of one side; rates are per second of the arrival window."""

    offered = whole()
    sent = whole()
    outcomes = nested(Outcomes)
    duplicates = whole("Callbacks that came more than once.")
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


class Differences(Shape):
    """Async − sync (b − a in an A/A run) of requests paired by block and index, in milliseconds."""

    mean = nested(BlockEstimate)
    median = nested(BlockEstimate)


def optional(names: Any, make: Callable[[], Any]) -> type[Shape]:
    """A shape with some members of which those of the run's sides are there."""
    made: type[Shape] = Shape.from_dict({str(name): make() for name in names}, name="")  # type: ignore[assignment]
    return made


class Faster(optional(SIDES, lambda: fields.Integer(validate=validate.Range(0)))):  # type: ignore[misc]
    """How often which side had its result first."""

    tie = whole()


class LevelCompared(optional(SIDES, lambda: fields.Float(allow_none=True))):  # type: ignore[misc]
    """One percentile of both sides, in milliseconds."""

    difference = signed()
    ratio = number(allow_none=True)


class LevelsCompared(each((*LEVELS, "max"), LevelCompared)):  # type: ignore[misc]
    """The percentiles of both sides."""


class Comparison(optional((f"only_{side}" for side in SIDES), lambda: fields.Integer())):  # type: ignore[misc]
    """Both sides against each other, request by request: the same arrival, the same service time."""

    pairs = whole("Requests that have a time on both sides.")
    neither = whole()
    difference_ms = nested(Differences)
    limit_ms = number("Times of both sides are cut off at this before they are subtracted.", allow_none=True)
    faster = nested(Faster)
    tie_ms = number("Differences below this are ties.")
    accept_ms = nested(LevelsCompared)
    time_to_result_ms = nested(LevelsCompared)


class Expected(Shape):
    """What to expect, and where 95 % of runs lie."""

    value = number()
    low = number()
    high = number()


class Residual(Shape):
    """A figure as it was, as the simulation has it for this very load, and as it was expected."""

    measured = number()
    replayed = number()
    expected = nested(Expected)
    inside = yes_no("Whether the band holds what was measured.")
    explained = yes_no("Whether the simulation of the run's own load agrees with what was measured.")


class Residuals(each(COMPARED, Residual)):  # type: ignore[misc]
    """Measurement beside theory."""


class ObjectiveJudged(Shape):
    """One objective and what became of it."""

    metric = text()
    op = text(validate=validate.OneOf(list(OPERATORS)))
    value = number()
    measured = number(allow_none=True)
    pass_ = yes_no(data_key="pass")


class ObjectivesJudged(Shape):
    """The objectives of a side."""

    pass_ = yes_no(data_key="pass")
    objectives = always(fields.List, cls_or_instance=fields.Nested(ObjectiveJudged))


class HonestyCheck(Shape):
    """Whether the run can be trusted; a failed one forbids it."""

    id = text(validate=validate.Regexp(r"H[0-9]{1,2}"))
    name = text()
    value = always(fields.Raw, allow_none=True)
    limit = always(fields.Raw, allow_none=True)
    verdict = text(validate=validate.OneOf(list(Verdict)))
    detail = text("A sentence for readers.")


class ResidualsOfSides(optional(SIDES, lambda: fields.Nested(Residuals))):  # type: ignore[misc]
    """The residuals of both sides."""


class ObjectivesOfSides(optional(SIDES, lambda: fields.Nested(ObjectivesJudged))):  # type: ignore[misc]
    """The objectives of both sides."""


class BlockStarted(Shape):
    """A stretch of a run in which one side had the load."""

    side = text(validate=validate.OneOf(SIDES))
    block = always(fields.Integer, validate=validate.Range(1))
    started_at = moment("The moment 0 of its requests.")


class WayCost(Shape):
    """One way to learn a result, and what it costs."""

    offered = whole()
    results = whole()
    time_to_result_ms = nested(WayTimes)
    requests = whole("All that went over the wire, in either direction.")
    requests_per_result = number(allow_none=True)
    connections = nested(Occupancy, "Held by clients, callbacks that come in included.")


class Ways(each(Way, WayCost)):  # type: ignore[misc]
    """The ways to learn a result, under the same load."""


class BenchmarkResult(optional(SIDES, lambda: fields.Nested(BenchmarkSide))):  # type: ignore[misc]
    """The result of a run; the sides of an A/A run are `a` and `b`."""

    blocks = always(fields.List, "In the order in which they ran.", cls_or_instance=fields.Nested(BlockStarted))
    ways = nested(Ways, "Null unless the plan asks for it.", allow_none=True)
    comparison = nested(Comparison)
    theory = nested(ResidualsOfSides)
    slo = nested(ObjectivesOfSides)
    checks = always(fields.List, cls_or_instance=fields.Nested(HonestyCheck))
    trusted = yes_no("Whether no check failed.")
    verdict = text("What the run shows.")


class BenchmarkLinks(Shape):
    """Where to go on."""

    self = path()
    report = path("The result as a page; null until there is one.", allow_none=True)
    samples = path("Every request as a row of CSV; null until there is a result.", allow_none=True)


class Benchmark(Shape):
    """A run of the benchmark."""

    id = identifier()
    status = text("PENDING while it is predicted.", validate=validate.OneOf(STATUSES))
    plan = always(fields.Dict, "The parameters, completed.", keys=fields.String())
    prediction = always(fields.Dict, "What to expect of it; null while PENDING.", keys=fields.String(), allow_none=True)
    progress = number("From 0 to 1.")
    result = nested(BenchmarkResult, "Null until it has COMPLETED.", allow_none=True)
    error = nested(Problem, "Why it FAILED.", allow_none=True)
    created_at = moment()
    started_at = moment(allow_none=True)
    completed_at = moment(allow_none=True)
    links = nested(BenchmarkLinks)


class PlanDifference(Shape):
    """A parameter that two plans do not share."""

    name = text()
    first = always(fields.Raw, allow_none=True)
    second = always(fields.Raw, allow_none=True)


class FigureCompared(Shape):
    """A figure of two runs; outcomes are shares of what was offered."""

    metric = text()
    first = number(allow_none=True)
    second = number(allow_none=True)
    first_censored = yes_no("Whether the first is only a lower bound.")
    second_censored = yes_no("Whether the second is only a lower bound.")
    difference = signed("Second − first; null where one is not there, or only a lower bound.")
    ratio = number(allow_none=True)
    apart = yes_no("Whether the 95 % intervals of two percentiles have nothing in common.", allow_none=True)


class RunsCompared(optional(SIDES, lambda: fields.List(fields.Nested(FigureCompared)))):  # type: ignore[misc]
    """Two runs beside each other."""

    first = identifier()
    second = identifier()
    same_load = yes_no("Whether both had the same arrivals and service times.")
    plan = always(fields.List, "Where the plans differ.", cls_or_instance=fields.Nested(PlanDifference))


class SelfLink(Shape):
    """Where the whole is."""

    self = path()


class BenchmarkSummary(Shape):
    """A run in the list."""

    id = identifier()
    status = text(validate=validate.OneOf(STATUSES))
    plan = always(fields.Dict, keys=fields.String())
    progress = number()
    verdict = text(allow_none=True)
    trusted = yes_no(allow_none=True)
    created_at = moment()
    completed_at = moment(allow_none=True)
    links = nested(SelfLink)


class Benchmarks(Shape):
    """The newest runs, newest first."""

    items = always(fields.List, cls_or_instance=fields.Nested(BenchmarkSummary))
