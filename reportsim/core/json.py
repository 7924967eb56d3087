"""JSON as this service writes it."""

import json
from typing import Any, Final

import orjson

WIDE: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def dumps(value: Any) -> bytes:
    """Compact JSON in UTF-8; NaN and infinities, which JSON has not, are written as null.

    Raises:
        TypeError: for what JSON cannot say.
    """
    try:
        return orjson.dumps(value)
    except TypeError:
        # The sums of 64-bit amounts may be wider than orjson's integers.
        return WIDE.encode(value).encode()
