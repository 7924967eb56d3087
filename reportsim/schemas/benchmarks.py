"""The shapes of benchmark runs and of their results: also the JSON Schema of what is exported."""

from typing import Any, Final

from marshmallow import fields, validate

from reportsim.benchmark.checks.model import Verdict
from reportsim.benchmark.load.completion import Way
from reportsim.benchmark.results.objectives import OPERATORS
from reportsim.benchmark.results.paired_comparison import Interval
from reportsim.benchmark.results.percentiles import LEVELS
from reportsim.benchmark.results.samples import Outcome
from reportsim.benchmark.results.summary import SEGMENTS
from reportsim.benchmark.results.trace_simulation import COMPARED
from reportsim.core.model import Mode
from reportsim.schemas.responses import Problem, Shape, always, identifier, moment, number, path, text, whole, yes_no

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


class Percentile(Shape):
    """A percentile over all offered requests, with its 95 % interval; null where n is too small for one."""

    value = number("Milliseconds.", allow_none=True)
    low = number(allow_none=True)
    high = number("Null where nothing bounds it from above.", allow_none=True)
    n = whole("Requests that it is over.")
    censored = yes_no("It falls on requests without a result: the true one is at least this long.")


class Percentiles(each((*LEVELS, "max"), Percentile)):  # type: ignore[misc]
    """The percentiles of a time."""


class Outcomes(Shape.from_dict({outcome.label: whole() for outcome in Outcome})):  # type: ignore[misc]
    """How many requests ended how; they add up to those offered."""


class Lag(Shape):
    """How late requests were sent, in milliseconds."""

    p50 = number(allow_none=True)
    p99 = number(allow_none=True)
    max = number(allow_none=True)


class Segments(Shape.from_dict({name: signed() for name in SEGMENTS})):  # type: ignore[misc]
    """Where the time to result went, in the mean, in milliseconds."""


class Occupancy(Shape):
    """A number over time: its integral divided by the time, and its most."""

    mean = number()
    max = whole()


class BenchmarkSide(Shape):
    """What was measured of one pattern; rates are per second until the side was empty again."""

    offered = whole()
    sent = whole()
    outcomes = nested(Outcomes)
    duplicates = whole("Callbacks that came more than once.")
    sched_lag_ms = nested(Lag)
    accept_ms = nested(Percentiles, "To the first final status.")
    time_to_result_ms = nested(Percentiles, "To the result in the client's hands, from the intended time.")
    from_send_ms = nested(Percentiles, "The same from when it was sent, as most tools measure it.")
    segments_ms = nested(Segments)
    goodput = number("Results within the SLO.")
    throughput = number("Results.")
    drain_s = number("From the last arrival until nothing was left to do.")
    open_connections = nested(Occupancy)
    busy_workers_mean = number()
    queue = nested(Occupancy)
    wasted_share = number("Of all worker time, that which went to clients that had left.")


class Difference(Shape.from_dict({name: signed() for name in Interval.__slots__})):  # type: ignore[misc]
    """An estimate and its 95 % interval, in milliseconds."""


class Differences(Shape):
    """Async − sync over the pairs."""

    mean = nested(Difference)
    median = nested(Difference)


class Faster(Shape):
    """How often which side had its result first."""

    sync = whole()
    tie = whole()
    async_ = whole(data_key="async")


class LevelCompared(Shape):
    """One percentile of both sides, in milliseconds."""

    sync = number(allow_none=True)
    async_ = number(allow_none=True, data_key="async")
    difference = signed()
    ratio = number(allow_none=True)


class LevelsCompared(each((*LEVELS, "max"), LevelCompared)):  # type: ignore[misc]
    """The percentiles of both sides."""


class Comparison(Shape):
    """Both sides against each other, request by request: the same arrival, the same service time."""

    pairs = whole("Requests whose result came on both sides.")
    only_sync = whole()
    only_async = whole()
    neither = whole()
    difference_ms = nested(Differences)
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
    """Whether the run can be believed; a failed one forbids it."""

    id = text(validate=validate.Regexp(r"H[0-9]{1,2}"))
    name = text()
    value = always(fields.Raw, allow_none=True)
    limit = always(fields.Raw, allow_none=True)
    verdict = text(validate=validate.OneOf(list(Verdict)))
    detail = text("A sentence for readers.")


class ResidualsOfSides(each(Mode, Residuals)):  # type: ignore[misc]
    """The residuals of both sides."""


class ObjectivesOfSides(each(Mode, ObjectivesJudged)):  # type: ignore[misc]
    """The objectives of both sides."""


class BlockStarted(Shape):
    """A stretch of a run in which one side had the load."""

    side = text(validate=validate.OneOf(list(Mode)))
    block = always(fields.Integer, validate=validate.Range(1))
    started_at = moment("The moment 0 of its requests.")


class WayCost(Shape):
    """One way to learn a result, and what it costs."""

    offered = whole()
    results = whole()
    time_to_result_ms = nested(Percentiles)
    requests = whole("All that went over the wire, in either direction.")
    requests_per_result = number(allow_none=True)
    connections = nested(Occupancy, "Held by clients, callbacks that come in included.")


class Ways(each(Way, WayCost)):  # type: ignore[misc]
    """The ways to learn a result, under the same load."""


class BenchmarkResult(each(Mode, BenchmarkSide)):  # type: ignore[misc]
    """The result of a run."""

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


def figures() -> Any:
    """Every figure of one side of two runs."""
    return always(fields.List, cls_or_instance=fields.Nested(FigureCompared))


class RunsCompared(Shape.from_dict({str(mode): figures() for mode in Mode})):  # type: ignore[misc]
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
