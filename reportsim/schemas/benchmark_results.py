"""The response schema of a benchmark's result: theory, objectives, checks, delivery methods."""

from marshmallow import fields, validate

from reportsim.benchmark.checks.model import Verdict
from reportsim.benchmark.load.completion import Way
from reportsim.benchmark.results.objectives import OPERATORS
from reportsim.benchmark.results.trace_simulation import COMPARED
from reportsim.schemas.benchmark_statistics import (
    SIDES,
    BenchmarkSide,
    Comparison,
    Occupancy,
    WayTimes,
    each,
    nested,
    optional,
)
from reportsim.schemas.responses import Shape, always, moment, number, text, whole, yes_no


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
