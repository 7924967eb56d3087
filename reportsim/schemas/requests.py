"""The shapes of what clients send, and what their values come to."""

import functools
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from marshmallow import RAISE, Schema, ValidationError, fields, pre_load, validate, validates_schema

from reportsim.benchmark.plan import BOUNDS, FEWEST_BLOCKS, Arrivals, Cancel, Plan
from reportsim.core.callback_policy.urls import LONGEST, CallbackTarget, Refusal
from reportsim.core.json import dumps
from reportsim.core.model import Ledger, Mode
from reportsim.core.problems import MOST_ERRORS, Problem, flatten, invalid, pointer
from reportsim.engine.engine import DEMO_PATH, Engine
from reportsim.reports.catalog import CATALOG
from reportsim.reports.fields import Number, Several, Text, Whole, YesNo
from reportsim.reports.report_type import ReportType
from reportsim.web.body import parse_json

DEFAULT_REPORT: Final = "trial_balance"
DEFAULT_LEDGER: Final = "demo"
BENCHMARK_LEDGER: Final = "tiny"
DEFAULTS: Final = Plan()
LARGEST_SEED: Final = 2**31 - 1
LONGEST_MS: Final = 60_000
MOST_FAILURES: Final = 20
# Bodies whose meaning is remembered: so many, valid ones, of at most so many bytes each.
REMEMBERED: Final = 256
REMEMBERED_BYTES: Final = 4 * 1024
STEPS: Final = ("timeout", "reset", "slow")
STEP: Final = rf"(?:[2-5][0-9]{{2}}|{'|'.join(STEPS)})"

milliseconds = functools.partial(Number, validate=validate.Range(0, LONGEST_MS))
share = functools.partial(Number, validate=validate.Range(0, 1))

PARAMETERS_OF_DISTRIBUTION: Final = {
    "fixed": {"mean_ms"},
    "exponential": {"mean_ms"},
    "uniform": {"min_ms", "max_ms"},
    "lognormal": {"median_ms", "sigma", "max_ms"},
    "bimodal": {"fast_ms", "slow_ms", "slow_share"},
}


def within(name: str) -> validate.Range:
    """The bounds of a parameter of a plan."""
    return validate.Range(*BOUNDS[name])


class Strict(Schema):
    """A schema that refuses what it does not know."""

    class Meta:
        """marshmallow's options."""

        unknown = RAISE

    @pre_load
    def check_names(self, data: Any, **_: Any) -> Any:
        """Refuses very many unknown names at once; marshmallow's own time for them grows with their square."""
        if self.unknown == RAISE and isinstance(data, Mapping) and len(data) > MOST_ERRORS:
            known = {field.data_key or name for name, field in self.load_fields.items()}
            unknown = [name for name in data if name not in known]
            if len(unknown) >= MOST_ERRORS:
                errors = {name: ["Unknown field."] for name in unknown[: MOST_ERRORS - 1]}
                raise ValidationError(
                    {**errors, "_schema": [f"And {len(unknown) - len(errors):,} more unknown fields."]}
                )
        return data


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


class ReportRequest(Strict):
    """What every request for a report says, beside the options of the report."""

    report_type = fields.String(load_default=DEFAULT_REPORT, validate=validate.OneOf(list(CATALOG)))
    ledger = Text(load_default=DEFAULT_LEDGER, validate=validate.Length(1, 100))


class Submission(ReportRequest):
    """The fields that every submission may have."""

    simulate = fields.Nested(Simulate)


class AsyncSubmission(Submission):
    """A submission that may be called back."""

    callback_url = Text(
        validate=validate.Length(1, LONGEST),
        metadata={
            "description": "Called when the request has ended; not at addresses that are private or reserved.",
            "pattern": r"[Hh][Tt][Tt][Pp][Ss]?://[^\x00-\x20\x7f\\]+",
        },
    )


# What a script says all of.
INSTEAD_OF_SCRIPT: Final = ("failures", "fault", "status_code")


class FailingSubmission(Submission):
    """A submission whose callback fails as asked for."""

    failures = Whole(load_default=2, validate=validate.Range(0, MOST_FAILURES))
    fault = fields.String(load_default="status", validate=validate.OneOf(["status", *STEPS]))
    status_code = Whole(
        load_default=503,
        validate=validate.Range(200, 599),
        metadata={"description": "What each failure answers; with the fault `status` alone."},
    )
    script = Several(
        fields.String(validate=validate.Regexp(rf"{STEP}\Z")),
        validate=validate.Length(0, MOST_FAILURES),
        metadata={"description": "Step by step, instead of `failures`, `fault` and `status_code`."},
    )

    @validates_schema(pass_original=True, skip_on_field_errors=False)
    def check_together(self, data: dict[str, Any], original: Mapping[str, Any], **_: Any) -> None:
        """A script says everything; a status is the answer of one fault only."""
        errors: dict[str, list[str]] = {}
        if "script" in original:
            errors = {name: ["Not with a script."] for name in INSTEAD_OF_SCRIPT if name in original}
        elif "status_code" in original and data.get("fault", "status") != "status":
            errors["status_code"] = ["Only with the fault status."]
        if errors:
            raise ValidationError(errors)


class BenchmarkPlan(ReportRequest):
    """A load for both patterns. Rate times duration is at most 200,000; times run from when a request is due."""

    ledger = Text(load_default=BENCHMARK_LEDGER, validate=validate.Length(1, 100))
    rate = Number(load_default=DEFAULTS.rate, validate=within("rate"), metadata={"description": "Arrivals a second."})
    duration_s = Number(
        load_default=DEFAULTS.duration_s,
        validate=within("duration_s"),
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
    seed = Whole(load_default=DEFAULTS.seed, validate=within("seed"))
    workers = Whole(load_default=DEFAULTS.workers, validate=within("workers"))
    service_time = fields.Nested(
        ServiceTime,
        allow_none=True,
        metadata={"description": "An exponential second by default; null: the report's own."},
    )
    client_timeout_s = Number(
        load_default=DEFAULTS.client_timeout_s,
        allow_none=True,
        validate=within("client_timeout_s"),
        metadata={"description": "When sync clients leave; null: never."},
    )
    slo_s = Number(
        load_default=DEFAULTS.slo_s, validate=within("slo_s"), metadata={"description": "When a result is late."}
    )
    cancel = fields.String(
        load_default=str(DEFAULTS.cancel),
        validate=validate.OneOf(list(Cancel)),
        metadata={"description": "What the server stops of the work for sync clients that left."},
    )
    ways = YesNo(
        load_default=DEFAULTS.ways,
        metadata={"description": "Measure polling, long polling and SSE beside the callback; each takes a block."},
    )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Parsed:
    """A body as far as it can be judged by itself."""

    report: ReportType | None
    ledger: str | None
    data: dict[str, Any]
    errors: tuple[dict[str, str], ...]
    remembered: bool = False
    """Whether the same object stands for the next body of the same bytes."""

    def faults(self, name: str) -> bool:
        """Whether a member is wrong already."""
        return any(error["pointer"] == pointer(name) for error in self.errors)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A valid submission: the payload to store, and what it means."""

    payload: dict[str, Any]
    report: ReportType
    ledger: Ledger
    callback_url: str | None
    callback_origin: str | None
    callback_demo: bool
    extra: dict[str, Any]
    fingerprint: bytes


@functools.cache
def schema_for(base: type[ReportRequest], report_type: str) -> Schema:
    """A submission's schema with the options of one report type."""
    combined: Schema = type(f"{base.__name__}_{report_type}", (base, CATALOG[report_type].parameters), {})()
    return combined


@functools.cache
def options_of(report_type: str) -> dict[str, Any]:
    """The options of a report type with their defaults, in the order they are shown."""
    return {name: field.load_default for name, field in CATALOG[report_type].parameters().fields.items()}


class Invalid(Exception):
    """A body that is not remembered, because something is wrong with it."""

    def __init__(self, parsed: Parsed) -> None:
        """Takes what the body came to."""
        self.parsed = parsed


def parse_raw(base: type[ReportRequest], raw: bytes) -> Parsed:
    """Parses and validates a body; clients repeat themselves, so short valid ones are remembered."""
    if len(raw) > REMEMBERED_BYTES:
        return parse(base, parse_json(raw))
    try:
        return parse_valid(base, raw)
    except Invalid as refused:
        return refused.parsed


@functools.lru_cache(REMEMBERED)
def parse_valid(base: type[ReportRequest], raw: bytes) -> Parsed:
    """Parses a body that is valid; an exception is never remembered."""
    parsed = parse(base, parse_json(raw) if raw else {})
    if parsed.errors:
        raise Invalid(parsed)
    return replace(parsed, remembered=True)


def parse(base: type[ReportRequest], body: Any) -> Parsed:
    """Validates a body, all of it at once."""
    if not isinstance(body, Mapping):
        raise invalid([{"detail": "The body must be a JSON object.", "pointer": "#"}])
    errors: list[dict[str, str]] = []
    data: dict[str, Any] = {}
    named = body.get("report_type", DEFAULT_REPORT)
    report = CATALOG.get(named) if isinstance(named, str) else None
    schema = schema_for(base, report.name if report else DEFAULT_REPORT)
    try:
        data = schema.load(body)
    except ValidationError as error:
        errors += flatten(error.messages)
        data = {name: body[name] for name in ("callback_url",) if isinstance(body.get(name), str)}
    name = body.get("ledger", schema.fields["ledger"].load_default)
    return Parsed(report=report, ledger=name if isinstance(name, str) else None, data=data, errors=tuple(errors))


async def read_submission(engine: Engine, parsed: Parsed, *, fresh: bool = False) -> Accepted:
    """Holds a body against the ledgers and the callback policy, and fills in what was left open.

    `fresh` reads the ledger now. Without it the ledger may be out of date, of which the insert takes care.

    Raises:
        Problem: 422 with every error.
    """
    errors = list(parsed.errors)
    find = engine.ledgers.read if fresh else engine.ledgers.get
    ledger = await find(parsed.ledger) if parsed.ledger is not None else None
    if ledger is None and not parsed.faults("ledger"):
        errors.append({"detail": "There is no such ledger.", "pointer": "#/ledger"})
    url, target = parsed.data.get("callback_url"), None
    if url is not None and not parsed.faults("callback_url"):
        checked = engine.guard.check_url(url)
        if isinstance(checked, Refusal):
            errors.append({"detail": checked.detail, "pointer": "#/callback_url", "reason": checked.reason})
        else:
            target = checked
    if errors or parsed.report is None or ledger is None:
        raise invalid(errors)
    # The meaning of a body that is not remembered would only be kept for nobody.
    complete = accept if parsed.remembered else accept.__wrapped__
    try:
        accepted = complete(parsed, parsed.report, ledger, target)
    except Problem:
        # An interval that is empty in the window as remembered may not be in that of now.
        if fresh:
            raise
        return await read_submission(engine, parsed, fresh=True)
    simulate = accepted.payload.get("simulate")
    if simulate is None or "seed" in simulate:
        return accepted
    seeded = {**accepted.payload, "simulate": {"seed": secrets.randbelow(LARGEST_SEED + 1), **simulate}}
    return replace(accepted, payload=seeded, fingerprint=accepted.fingerprint + digest(seeded, accepted))


@functools.lru_cache(REMEMBERED)
def accept(parsed: Parsed, report: ReportType, ledger: Ledger, target: CallbackTarget | None) -> Accepted:
    """Separates what the report is asked for from how it is delivered, and completes it."""
    data = parsed.data
    options = {
        name: data[name] for name, default in options_of(report.name).items() if name in data and data[name] != default
    }
    simulate = {"simulate": data["simulate"]} if "simulate" in data else {}
    named = {"report_type": report.name, "ledger": ledger.name}
    try:
        payload = {**named, **report.complete(options, ledger), **simulate}
    except ValidationError as error:
        raise invalid(flatten(error.messages)) from None
    demo = target is not None and target.own and target.path.startswith(DEMO_PATH)
    accepted = Accepted(
        payload=payload,
        report=report,
        ledger=ledger,
        callback_url=data.get("callback_url"),
        # Every inbox of the demo receiver is a destination.
        callback_origin=f"{target.origin}{target.path if demo else ''}" if target is not None else None,
        callback_demo=demo,
        extra={name: data[name] for name in ("failures", "fault", "status_code", "script") if name in data},
        fingerprint=b"",
    )
    asked = digest({**named, **options, **simulate}, accepted)
    return replace(accepted, fingerprint=asked + digest(payload, accepted))


def digest(payload: dict[str, Any], accepted: Accepted) -> bytes:
    """The SHA-256 of a submission in canonical JSON: whole floats as integers, names sorted."""
    meaning = [payload, accepted.extra, accepted.callback_url]
    return hashlib.sha256(dumps(canonical(meaning))).digest()


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
    return stored[:32] == new[:32] or not completions(stored).isdisjoint(completions(new))


def completions(fingerprint: bytes) -> set[bytes]:
    """The digests of a completed submission: without a seed that was drawn for it, and with that seed."""
    return {fingerprint[at : at + 32] for at in range(32, len(fingerprint), 32)}
