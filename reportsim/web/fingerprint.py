"""The fingerprint of a submission, which detects that an idempotency key is reused for another one."""

import hashlib
from typing import Any

from reportsim.core.json import dumps
from reportsim.schemas.submission_parser import ParsedBody, default_options


def digest_as_sent(parsed: ParsedBody) -> bytes | None:
    """The digest of a valid body by itself, independent of its ledger; None for an invalid one."""
    if parsed.errors or parsed.report is None:
        return None
    simulate = {"simulate": parsed.data["simulate"]} if "simulate" in parsed.data else {}
    named = {"report_type": parsed.report.name, "ledger": parsed.ledger}
    return digest({**named, **options_as_sent(parsed, parsed.report.name), **simulate}, parsed)


def options_as_sent(parsed: ParsedBody, report_type: str) -> dict[str, Any]:
    """The options that differ from their defaults."""
    data = parsed.data
    return {
        name: data[name]
        for name, default in default_options(report_type).items()
        if name in data and data[name] != default
    }


def failure_options(parsed: ParsedBody) -> dict[str, Any]:
    """The members that say how the demo receiver fails."""
    return {name: parsed.data[name] for name in ("failures", "fault", "status_code", "script") if name in parsed.data}


def digest(payload: dict[str, Any], parsed: ParsedBody) -> bytes:
    """The SHA-256 of a submission in canonical JSON: whole floats as integers, names sorted."""
    meaning = [payload, failure_options(parsed), parsed.data.get("callback_url")]
    return hashlib.sha256(dumps(canonical(meaning))).digest()


def canonical(value: Any) -> Any:
    """The canonical form of a JSON value."""
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
    """Whether two fingerprints are of equal submissions: as sent, or as completed at the time."""
    return stored[:32] == new[:32] or not completions(stored).isdisjoint(completions(new))


def completions(fingerprint: bytes) -> set[bytes]:
    """The digests of a completed submission: without and with the seed that was drawn for it."""
    return {fingerprint[at : at + 32] for at in range(32, len(fingerprint), 32)}
