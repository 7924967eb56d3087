"""The response schemas of benchmark runs; also the JSON Schema of exports."""

from typing import Final

from marshmallow import fields, validate

from reportsim.schemas.benchmark_results import BenchmarkResult
from reportsim.schemas.benchmark_statistics import SIDES, nested, object_with_optional, signed_number
from reportsim.schemas.responses import (
    Problem,
    ResponseSchema,
    boolean,
    date_time,
    number,
    required,
    string,
    uri_reference,
    uuid,
)

STATUSES: Final = ("PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED")


class BenchmarkLinks(ResponseSchema):
    """Related resources."""

    self = uri_reference()
    report = uri_reference("The result as a page; null until there is one.", allow_none=True)
    replay = uri_reference("A page that plays the run; null until there is a result.", allow_none=True)
    samples = uri_reference("Every request as a row of CSV; null until there is a result.", allow_none=True)


class Benchmark(ResponseSchema):
    """A run of the benchmark."""

    id = uuid()
    status = string("PENDING while it is predicted.", validate=validate.OneOf(STATUSES))
    plan = required(fields.Dict, "The parameters, completed.", keys=fields.String())
    prediction = required(fields.Dict, "Null while PENDING.", keys=fields.String(), allow_none=True)
    progress = number("From 0 to 1.")
    result = nested(BenchmarkResult, "Null until COMPLETED.", allow_none=True)
    error = nested(Problem, "Why it FAILED.", allow_none=True)
    created_at = date_time()
    started_at = date_time(allow_none=True)
    completed_at = date_time(allow_none=True)
    links = nested(BenchmarkLinks)


class PlanDifference(ResponseSchema):
    """A parameter that differs between two plans."""

    name = string()
    first = required(fields.Raw, allow_none=True)
    second = required(fields.Raw, allow_none=True)


class FigureCompared(ResponseSchema):
    """A metric of two runs; outcomes are shares of the requests offered."""

    metric = string()
    first = number(allow_none=True)
    second = number(allow_none=True)
    first_censored = boolean("Whether the first is only a lower bound.")
    second_censored = boolean("Whether the second is only a lower bound.")
    difference = signed_number("Second − first; null if one is missing or only a lower bound.")
    ratio = number(allow_none=True)
    apart = boolean("Whether the 95 % intervals are disjoint; null where one of them is missing.", allow_none=True)


class Distrust(ResponseSchema):
    """Why two runs are not to be trusted: their failed checks."""

    first = required(fields.List, cls_or_instance=fields.String())
    second = required(fields.List, cls_or_instance=fields.String())


class RunsCompared(object_with_optional(SIDES, lambda: fields.List(fields.Nested(FigureCompared)))):  # type: ignore[misc]
    """Two runs compared."""

    first = uuid("The older run.")
    second = uuid("The newer run.")
    distrust = nested(Distrust)
    same_load = boolean("Whether both had the same arrivals and service times.")
    plan = required(fields.List, "Where the plans differ.", cls_or_instance=fields.Nested(PlanDifference))


class SelfLink(ResponseSchema):
    """A link to the whole run."""

    self = uri_reference()


class BenchmarkSummary(ResponseSchema):
    """A run in the list."""

    id = uuid()
    status = string(validate=validate.OneOf(STATUSES))
    plan = required(fields.Dict, keys=fields.String())
    progress = number()
    verdict = string(allow_none=True)
    trusted = boolean(allow_none=True)
    created_at = date_time()
    completed_at = date_time(allow_none=True)
    links = nested(SelfLink)


class Benchmarks(ResponseSchema):
    """The newest runs, newest first."""

    items = required(fields.List, cls_or_instance=fields.Nested(BenchmarkSummary))
