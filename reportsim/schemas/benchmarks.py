"""The shapes of benchmark runs and of their results: also the JSON Schema of what is exported."""

from typing import Final

from marshmallow import fields, validate

from reportsim.schemas.benchmark_results import BenchmarkResult
from reportsim.schemas.benchmark_statistics import SIDES, nested, optional, signed
from reportsim.schemas.responses import Problem, Shape, always, identifier, moment, number, path, text, yes_no

STATUSES: Final = ("PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED")


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
