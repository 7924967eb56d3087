"""The shapes of what clients send, and what their values come to."""

import functools
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from marshmallow import RAISE, Schema, ValidationError, fields, validate, validates_schema

from reportsim.core.callback_urls import LONGEST, Refusal, check_url
from reportsim.core.encoding import dumps
from reportsim.core.model import Ledger
from reportsim.core.problems import flatten, invalid
from reportsim.engine.engine import Engine
from reportsim.reports.catalog import CATALOG
from reportsim.reports.fields import Number, Whole
from reportsim.reports.report_type import ReportType

DEFAULT_REPORT: Final = "trial_balance"
DEFAULT_LEDGER: Final = "demo"
LARGEST_SEED: Final = 2**31 - 1
LONGEST_MS: Final = 60_000
MOST_FAILURES: Final = 20
STEPS: Final = ("timeout", "reset", "slow")

milliseconds = functools.partial(Number, validate=validate.Range(0, LONGEST_MS))
share = functools.partial(Number, validate=validate.Range(0, 1))

PARAMETERS_OF_DISTRIBUTION: Final = {
    "fixed": {"mean_ms"},
    "exponential": {"mean_ms"},
    "uniform": {"min_ms", "max_ms"},
    "lognormal": {"median_ms", "sigma", "max_ms"},
    "bimodal": {"fast_ms", "slow_ms", "slow_share"},
}


class Strict(Schema):
    """A schema that refuses what it does not know."""

    class Meta:
        """marshmallow's options."""

        unknown = RAISE


class ServiceTime(Strict):
    """A distribution of service times, in milliseconds."""

    distribution = fields.String(required=True, validate=validate.OneOf(list(PARAMETERS_OF_DISTRIBUTION)))
    mean_ms = milliseconds()
    min_ms = milliseconds()
    max_ms = milliseconds()
    median_ms = milliseconds()
    sigma = Number(validate=validate.Range(0, 10))
    fast_ms = milliseconds()
    slow_ms = milliseconds()
    slow_share = share()

    @validates_schema(skip_on_field_errors=True)
    def check_parameters(self, data: dict[str, Any], **_: Any) -> None:
        """Each distribution has exactly its own parameters."""
        wanted = PARAMETERS_OF_DISTRIBUTION[data["distribution"]]
        given = data.keys() - {"distribution"}
        errors = {name: ["Missing data for required field."] for name in sorted(wanted - given)}
        errors |= {name: [f"Not a parameter of {data['distribution']}."] for name in sorted(given - wanted)}
        if not errors and data["distribution"] == "uniform" and data["min_ms"] > data["max_ms"]:
            errors["max_ms"] = ["Must not be below min_ms."]
        if errors:
            raise ValidationError(errors)


class Simulate(Strict):
    """Work and failures on demand."""

    service_time = fields.Nested(ServiceTime)
    failure_rate = share()
    seed = Whole(validate=validate.Range(0, LARGEST_SEED))


class Submission(Strict):
    """The fields that every submission may have."""

    report_type = fields.String(load_default=DEFAULT_REPORT, validate=validate.OneOf(list(CATALOG)))
    ledger = fields.String(load_default=DEFAULT_LEDGER, validate=validate.Length(1, 100))
    simulate = fields.Nested(Simulate)


class AsyncSubmission(Submission):
    """A submission that may be called back."""

    callback_url = fields.String(validate=validate.Length(1, LONGEST))


class FailingSubmission(Submission):
    """A submission whose callback fails as asked for."""

    failures = Whole(load_default=2, validate=validate.Range(0, MOST_FAILURES))
    fault = fields.String(load_default="status", validate=validate.OneOf(["status", *STEPS]))
    status_code = Whole(load_default=503, validate=validate.Range(200, 599))
    script = fields.List(
        fields.String(validate=validate.Regexp(r"(?:[2-5][0-9]{2}|timeout|reset|slow)\Z")),
        validate=validate.Length(0, MOST_FAILURES),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A valid submission: the payload to store, and what it means."""

    payload: dict[str, Any]
    report: ReportType
    ledger: Ledger
    callback_url: str | None
    callback_demo: bool
    extra: dict[str, Any]
    fingerprint: bytes


@functools.cache
def schema_for(base: type[Submission], report_type: str) -> Schema:
    """A submission's schema with the options of one report type."""
    combined: Schema = type(f"{base.__name__}_{report_type}", (base, CATALOG[report_type].parameters), {})()
    return combined


async def read_submission(engine: Engine, base: type[Submission], body: Any) -> Accepted:
    """Validates a submission, all of it at once, and fills in what was left open.

    Raises:
        Problem: 422 with every error.
    """
    if not isinstance(body, Mapping):
        raise invalid([{"detail": "The body must be a JSON object.", "pointer": "#"}])
    errors: list[dict[str, str]] = []
    data: dict[str, Any] = {}
    named = body.get("report_type", DEFAULT_REPORT)
    report = CATALOG.get(named) if isinstance(named, str) else None
    try:
        data = schema_for(base, report.name if report else DEFAULT_REPORT).load(body)
    except ValidationError as error:
        errors += flatten(error.messages)
    name = body.get("ledger", DEFAULT_LEDGER)
    ledger = await engine.ledgers.get(name) if isinstance(name, str) else None
    if ledger is None and isinstance(name, str) and not any(e["pointer"] == "#/ledger" for e in errors):
        errors.append({"detail": "There is no such ledger.", "pointer": "#/ledger"})
    url, demo = body.get("callback_url"), False
    if isinstance(url, str) and not any(e["pointer"] == "#/callback_url" for e in errors):
        target = check_url(url, engine.guard.allow, engine.guard.own)
        if isinstance(target, Refusal):
            errors.append({"detail": target.detail, "pointer": "#/callback_url", "reason": target.reason})
        else:
            demo = target.own
    if errors or report is None or ledger is None:
        raise invalid(errors)
    return accept(data, report, ledger, demo)


def accept(data: dict[str, Any], report: ReportType, ledger: Ledger, demo: bool) -> Accepted:
    """Separates what the report is asked for from how it is delivered, and completes it."""
    options = {
        name: data[name]
        for name, field in report.parameters().fields.items()
        if name in data and data[name] != field.load_default
    }
    asked = {"report_type": report.name, "ledger": ledger.name, **options}
    delivery: dict[str, Any] = {
        name: data[name] for name in ("failures", "fault", "status_code", "script") if name in data
    }
    url = data.get("callback_url")
    try:
        payload = {"report_type": report.name, "ledger": ledger.name, **report.complete(options, ledger)}
    except ValidationError as error:
        raise invalid(flatten(error.messages)) from None
    if "simulate" in data:
        asked["simulate"] = data["simulate"]
        payload["simulate"] = {"seed": secrets.randbelow(LARGEST_SEED + 1), **data["simulate"]}
    return Accepted(
        payload=payload,
        report=report,
        ledger=ledger,
        callback_url=url,
        callback_demo=demo,
        extra=delivery,
        fingerprint=digest(asked, delivery, url) + digest(payload, delivery, url),
    )


def digest(*parts: Any) -> bytes:
    """The SHA-256 of values in canonical JSON: whole floats as integers, names sorted."""
    return hashlib.sha256(dumps(canonical(list(parts)))).digest()


def canonical(value: Any) -> Any:
    """A value in the one form that all ways to write it share."""
    match value:
        case dict():
            return {name: canonical(value[name]) for name in sorted(value)}
        case list():
            return [canonical(item) for item in value]
        case float() if value.is_integer():
            return int(value)
        case _:
            return value


def same_meaning(stored: bytes, new: bytes) -> bool:
    """Whether two fingerprints stand for the same request: as asked for, or as completed at the time."""
    return stored[:32] == new[:32] or stored[32:] == new[32:]
