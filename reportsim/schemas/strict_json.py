"""Parses JSON strictly: bounded in depth and in the length of numbers, and never ambiguous."""

import json
import math
import re
from typing import Any, Final

from reportsim.core.problems import Problem

MAX_DEPTH: Final = 32
MAX_DIGITS: Final = 300
BRACKET: Final = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[\]{}]', re.DOTALL)
UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")


def parse_json(raw: bytes) -> Any:
    """Parses JSON text that means the same to everyone.

    Refused are invalid UTF-8, duplicate names, NaN and infinities, numbers beyond a double's range or of more than 300
    digits, NUL and lone surrogates in texts, and nesting deeper than 32.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise malformed("The body is not valid UTF-8.") from None
    if nesting_depth(text) > MAX_DEPTH:
        raise malformed(f"The body is nested deeper than {MAX_DEPTH} levels.")
    try:
        value = json.loads(
            text,
            object_pairs_hook=build_object,
            parse_constant=refuse_constant,
            parse_int=parse_integer,
            parse_float=parse_float,
        )
    except json.JSONDecodeError as error:
        raise malformed(f"The body is not JSON: {error.msg} at character {error.pos}.") from None
    # UTF-8 has no surrogates and JSON no bare NUL: only an escape can make one.
    if "\\u" in text:
        check_strings(value)
    return value


def malformed(detail: str) -> Problem:
    """The 400 for a body that cannot be read."""
    return Problem("malformed-request", detail)


def nesting_depth(text: str) -> int:
    """How deep brackets nest, looking away inside texts."""
    depth = deepest = 0
    for match in BRACKET.finditer(text):
        if match[0] in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif match[0] in "]}":
            depth -= 1
    return deepest


def build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose names are all different."""
    value = dict(pairs)
    if len(value) != len(pairs):
        raise malformed("An object names a member twice.")
    return value


def refuse_constant(name: str) -> None:
    """NaN and infinities are not JSON."""
    raise malformed(f"{name} is not JSON.")


def parse_integer(digits: str) -> int:
    """An integer of a bearable length."""
    if len(digits) > MAX_DIGITS:
        raise malformed("A number has too many digits.")
    return int(digits)


def parse_float(digits: str) -> float:
    """A number within a double's range."""
    value = float(digits)
    if not math.isfinite(value):
        raise malformed("A number is out of range.")
    return value


def check_strings(value: Any) -> None:
    """Refuses texts that no database can keep."""
    match value:
        case str():
            if UNSTORABLE.search(value):
                raise malformed("A text has a NUL or half a surrogate pair.")
        case dict():
            for name, item in value.items():
                check_strings(name)
                check_strings(item)
        case list():
            for item in value:
                check_strings(item)
