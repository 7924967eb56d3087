"""The schemas of submissions."""

from collections.abc import Mapping
from typing import Any, Final

from marshmallow import ValidationError, fields, validate, validates_schema

from reportsim.core.callback_policy.urls import LONGEST
from reportsim.reports.catalog import CATALOG
from reportsim.reports.fields import Several, Text, Whole
from reportsim.schemas.demo_receiver import STEP_PATTERN, STEPS
from reportsim.schemas.service_time import ServiceTime, share
from reportsim.schemas.strict import Strict

DEFAULT_REPORT: Final = "trial_balance"
DEFAULT_LEDGER: Final = "demo"
MAX_SEED: Final = 2**31 - 1
MAX_FAILURES: Final = 20
# The fields that a script replaces.
EXCLUDED_BY_SCRIPT: Final = ("failures", "fault", "status_code")


class Simulate(Strict):
    """Simulated service times and failures."""

    service_time = fields.Nested(ServiceTime)
    failure_rate = share()
    seed = Whole(validate=validate.Range(0, MAX_SEED))


class ReportRequest(Strict):
    """The fields of every request for a report, besides the options of the report."""

    report_type = fields.String(load_default=DEFAULT_REPORT, validate=validate.OneOf(list(CATALOG)))
    ledger = Text(load_default=DEFAULT_LEDGER, validate=validate.Length(1, 100))


class Submission(ReportRequest):
    """The fields of every submission."""

    simulate = fields.Nested(Simulate)


class AsyncSubmission(Submission):
    """A submission with an optional callback."""

    callback_url = Text(
        validate=validate.Length(1, LONGEST),
        metadata={
            "description": "Called when the request has ended; private and reserved addresses are refused.",
            "pattern": r"[Hh][Tt][Tt][Pp][Ss]?://[^\x00-\x20\x7f\\]+",
        },
    )


class FailingSubmission(Submission):
    """A submission whose callback fails as specified."""

    failures = Whole(load_default=2, validate=validate.Range(0, MAX_FAILURES))
    fault = fields.String(load_default="status", validate=validate.OneOf(["status", *STEPS]))
    status_code = Whole(
        load_default=503,
        validate=validate.Range(200, 599),
        metadata={"description": "The status of each failure; only with the fault `status`."},
    )
    script = Several(
        fields.String(validate=validate.Regexp(rf"{STEP_PATTERN}\Z")),
        validate=validate.Length(0, MAX_FAILURES),
        metadata={"description": "The steps one by one, instead of `failures`, `fault` and `status_code`."},
    )

    @validates_schema(pass_original=True, skip_on_field_errors=False)
    def check_together(self, data: dict[str, Any], original: Mapping[str, Any], **_: Any) -> None:
        """Refuses fields that a script replaces, and a status with a fault that has none."""
        errors: dict[str, list[str]] = {}
        if "script" in original:
            errors = {name: ["Not with a script."] for name in EXCLUDED_BY_SCRIPT if name in original}
        elif "status_code" in original and data.get("fault", "status") != "status":
            errors["status_code"] = ["Only with the fault status."]
        if errors:
            raise ValidationError(errors)
