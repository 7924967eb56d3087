"""The schema of a benchmark's plan."""

from typing import Final

from marshmallow import fields, validate

from reportsim.benchmark.plan import BOUNDS, Cancel, Plan
from reportsim.benchmark.workload import FEWEST_BLOCKS, Arrivals
from reportsim.core.model import Mode
from reportsim.reports.fields import Number, Text, Whole, YesNo
from reportsim.schemas.service_time import ServiceTime
from reportsim.schemas.submissions import ReportRequest

BENCHMARK_LEDGER: Final = "tiny"
DEFAULTS: Final = Plan()


def plan_bounds(name: str) -> validate.Range:
    """The bounds of a parameter of a plan."""
    return validate.Range(*BOUNDS[name])


class BenchmarkPlan(ReportRequest):
    """A load for both patterns. Rate times duration is at most 200,000; times run from when a request is due."""

    ledger = Text(load_default=BENCHMARK_LEDGER, validate=validate.Length(1, 100))
    rate = Number(
        load_default=DEFAULTS.rate, validate=plan_bounds("rate"), metadata={"description": "Arrivals per second."}
    )
    duration_s = Number(
        load_default=DEFAULTS.duration_s,
        validate=plan_bounds("duration_s"),
        metadata={"description": "Seconds of load per side."},
    )
    blocks = Whole(
        validate=validate.Range(FEWEST_BLOCKS, BOUNDS["blocks"][1]),
        metadata={"description": "Pairs of blocks; ten by default, fewer where a block would be under a second."},
    )
    both = fields.String(
        validate=validate.OneOf(list(Mode)),
        metadata={"description": "An A/A run: this pattern on both sides, which are then named a and b."},
    )
    arrivals = fields.String(load_default=str(DEFAULTS.arrivals), validate=validate.OneOf(list(Arrivals)))
    seed = Whole(load_default=DEFAULTS.seed, validate=plan_bounds("seed"))
    workers = Whole(load_default=DEFAULTS.workers, validate=plan_bounds("workers"))
    service_time = fields.Nested(
        ServiceTime,
        allow_none=True,
        metadata={"description": "Exponential with a mean of one second by default; null: the report's own."},
    )
    client_timeout_s = Number(
        load_default=DEFAULTS.client_timeout_s,
        allow_none=True,
        validate=plan_bounds("client_timeout_s"),
        metadata={"description": "When sync clients time out; null: never."},
    )
    slo_s = Number(
        load_default=DEFAULTS.slo_s, validate=plan_bounds("slo_s"), metadata={"description": "When a result is late."}
    )
    cancel = fields.String(
        load_default=str(DEFAULTS.cancel),
        validate=validate.OneOf(list(Cancel)),
        metadata={"description": "Which work of sync clients that timed out the server cancels."},
    )
    callback_failures = Whole(
        load_default=DEFAULTS.callback_failures,
        validate=plan_bounds("callback_failures"),
        metadata={"description": "How often the receiver answers 503 to each callback before it takes it."},
    )
    ways = YesNo(
        load_default=DEFAULTS.ways,
        metadata={
            "description": "Measure polling, long polling and SSE besides the callback; each takes a block, and needs "
            "an async side."
        },
    )
