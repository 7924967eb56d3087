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
    nested,
    object_with,
    object_with_optional,
)
from reportsim.schemas.responses import ResponseSchema, boolean, date_time, integer, number, required, string


class Expected(ResponseSchema):
    """The expected value, and the interval that contains 95 % of runs."""

    value = number()
    low = number()
    high = number()


class Residual(ResponseSchema):
    """A metric as measured, as simulated with the load of this run, and as predicted."""

    measured = number()
    replayed = number()
    expected = nested(Expected)
    inside = boolean("Whether the interval contains the measurement.")
    explained = boolean("Whether the simulation of the run's own load agrees with what was measured.")


class Residuals(object_with(COMPARED, Residual)):  # type: ignore[misc]
    """Measurements compared with theory."""


class ObjectiveJudged(ResponseSchema):
    """One objective and its outcome."""

    metric = string()
    op = string(validate=validate.OneOf(list(OPERATORS)))
    value = number()
    measured = number(allow_none=True)
    pass_ = boolean(data_key="pass")


class ObjectivesJudged(ResponseSchema):
    """The objectives of a side."""

    pass_ = boolean(data_key="pass")
    objectives = required(fields.List, cls_or_instance=fields.Nested(ObjectiveJudged))


class HonestyCheck(ResponseSchema):
    """A check of whether the run can be trusted; one that fails makes it untrusted."""

    id = string(validate=validate.Regexp(r"H[0-9]{1,2}"))
    name = string()
    value = required(fields.Raw, allow_none=True)
    limit = required(fields.Raw, allow_none=True)
    verdict = string(validate=validate.OneOf(list(Verdict)))
    detail = string("A sentence for readers.")


class ResidualsOfSides(object_with_optional(SIDES, lambda: fields.Nested(Residuals))):  # type: ignore[misc]
    """The residuals of both sides."""


class ObjectivesOfSides(object_with_optional(SIDES, lambda: fields.Nested(ObjectivesJudged))):  # type: ignore[misc]
    """The objectives of both sides."""


class BlockStarted(ResponseSchema):
    """A period of a run in which one side had the load."""

    side = string(validate=validate.OneOf(SIDES))
    block = required(fields.Integer, validate=validate.Range(1))
    started_at = date_time("Time 0 of its requests.")


class WayCost(ResponseSchema):
    """One delivery method, and what it costs."""

    offered = integer()
    results = integer()
    time_to_result_ms = nested(WayTimes)
    requests = integer("All requests, in both directions.")
    requests_per_result = number(allow_none=True)
    connections = nested(Occupancy, "Open connections of clients, including incoming callbacks.")


class Ways(object_with(Way, WayCost)):  # type: ignore[misc]
    """The delivery methods, under the same load."""


class PulledPlug(ResponseSchema):
    """The plug was pulled in the middle of a race, for demonstration."""

    at_s = number("Seconds from the start of the race.")
    frozen_s = number("For how long the workers stood still.")


class BenchmarkResult(object_with_optional(SIDES, lambda: fields.Nested(BenchmarkSide))):  # type: ignore[misc]
    """The result of a run; the sides of an A/A run are `a` and `b`."""

    blocks = required(fields.List, "In the order in which they ran.", cls_or_instance=fields.Nested(BlockStarted))
    ways = nested(Ways, "Null unless the plan asks for it.", allow_none=True)
    plug = nested(PulledPlug, "Null unless the plug was pulled; the run is then no measurement.", allow_none=True)
    comparison = nested(Comparison)
    theory = nested(ResidualsOfSides)
    slo = nested(ObjectivesOfSides)
    checks = required(fields.List, cls_or_instance=fields.Nested(HonestyCheck))
    trusted = boolean("Whether no check failed.")
    verdict = string("What the run shows.")
