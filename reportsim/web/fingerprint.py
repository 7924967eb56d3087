"""The fingerprint of a submission, which detects that an idempotency key is reused for another one."""

import hashlib
from typing import Any

from reportsim.core.json import dumps


def digest(payload: dict[str, Any], extra: dict[str, Any], callback_url: str | None) -> bytes:
    """The SHA-256 of a submission in canonical JSON: whole floats as integers, names sorted."""
    return hashlib.sha256(dumps(canonical([payload, extra, callback_url]))).digest()


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
