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

# The cache of valid bodies: their number, and the maximum size of each.
MAX_CACHED_BODIES: Final = 256
MAX_CACHED_BYTES: Final = 4 * 1024


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ParsedBody:
    """A body after validation by its schema alone, with the errors found so far."""

    report: ReportType | None
    ledger: str | None
    data: dict[str, Any]
    errors: tuple[dict[str, str], ...]
    cached: bool = False
    """Whether the next body of the same bytes gets the same object."""

    def has_error(self, name: str) -> bool:
        """Whether an error of a member has been found."""
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
    """A body with errors, which is not cached."""

    def __init__(self, parsed: ParsedBody) -> None:
        """Takes the parsed body with its errors."""
        self.parsed = parsed


def parse_raw(base: type[ReportRequest], raw: bytes) -> ParsedBody:
    """Parses and validates a body; short valid ones are cached, since clients repeat them."""
    if len(raw) > MAX_CACHED_BYTES:
        return parse_body(base, parse_json(raw))
    try:
        return parse_valid_body(base, raw)
    except InvalidBody as error:
        return error.parsed


@functools.lru_cache(MAX_CACHED_BODIES)
def parse_valid_body(base: type[ReportRequest], raw: bytes) -> ParsedBody:
    """Parses a valid body; lru_cache does not cache exceptions."""
    parsed = parse_body(base, parse_json(raw) if raw else {})
    if parsed.errors:
        raise InvalidBody(parsed)
    return replace(parsed, cached=True)


def parse_body(base: type[ReportRequest], body: Any) -> ParsedBody:
    """Validates a body and collects all errors."""
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
