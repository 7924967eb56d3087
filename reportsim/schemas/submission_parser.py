"""Parses and validates the body of a submission; short valid bodies are cached."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from marshmallow import Schema, ValidationError

from reportsim.core.problems import flatten, invalid, pointer
from reportsim.reports.catalog import CATALOG
from reportsim.reports.report_type import ReportType
from reportsim.schemas.strict_json import parse_json
from reportsim.schemas.submissions import DEFAULT_REPORT, ReportRequest

# Bodies whose meaning is remembered: so many, valid ones, of at most so many bytes each.
MAX_CACHED_BODIES: Final = 256
MAX_CACHED_BYTES: Final = 4 * 1024


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ParsedBody:
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


@functools.cache
def schema_for(base: type[ReportRequest], report_type: str) -> Schema:
    """A submission's schema with the options of one report type."""
    combined: Schema = type(f"{base.__name__}_{report_type}", (base, CATALOG[report_type].parameters), {})()
    return combined


@functools.cache
def default_options(report_type: str) -> dict[str, Any]:
    """The options of a report type with their defaults, in the order they are shown."""
    return {name: field.load_default for name, field in CATALOG[report_type].parameters().fields.items()}


class InvalidBody(Exception):
    """A body that is not remembered, because something is wrong with it."""

    def __init__(self, parsed: ParsedBody) -> None:
        """Takes what the body came to."""
        self.parsed = parsed


def parse_raw(base: type[ReportRequest], raw: bytes) -> ParsedBody:
    """Parses and validates a body; clients repeat themselves, so short valid ones are remembered."""
    if len(raw) > MAX_CACHED_BYTES:
        return parse_body(base, parse_json(raw))
    try:
        return parse_valid_body(base, raw)
    except InvalidBody as refused:
        return refused.parsed


@functools.lru_cache(MAX_CACHED_BODIES)
def parse_valid_body(base: type[ReportRequest], raw: bytes) -> ParsedBody:
    """Parses a body that is valid; an exception is never remembered."""
    parsed = parse_body(base, parse_json(raw) if raw else {})
    if parsed.errors:
        raise InvalidBody(parsed)
    return replace(parsed, remembered=True)


def parse_body(base: type[ReportRequest], body: Any) -> ParsedBody:
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
    return ParsedBody(report=report, ledger=name if isinstance(name, str) else None, data=data, errors=tuple(errors))
