"""JSON as this service writes it."""

import json
from typing import Any, Final

ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def dumps(value: Any) -> bytes:
    """Compact JSON in UTF-8; NaN and infinities are errors, since JSON has none."""
    return ENCODER.encode(value).encode()
