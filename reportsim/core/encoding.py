"""JSON as this service writes it."""

import json
from typing import Any


def dumps(value: Any) -> bytes:
    """Compact JSON in UTF-8; NaN and infinities are errors, since JSON has none."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
