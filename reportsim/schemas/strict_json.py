"""Parses JSON strictly: bounded in depth and in the length of numbers, and unambiguous."""

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
    """Parses JSON that every parser reads the same way.

    Refuses invalid UTF-8, duplicate names, NaN and infinities, numbers beyond the range of a double or of more than 300
    digits, NUL and lone surrogates in strings, and nesting deeper than 32.
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
    # UTF-8 has no surrogates and JSON no literal NUL: only an escape can produce them.
    if "\\u" in text:
        check_strings(value)
    return value


def malformed(detail: str) -> Problem:
    """The 400 for a body that cannot be parsed."""
    return Problem("malformed-request", detail)


def nesting_depth(text: str) -> int:
    """The depth of nested brackets, outside of strings."""
    depth = deepest = 0
    for match in BRACKET.finditer(text):
        if match[0] in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif match[0] in "]}":
            depth -= 1
    return deepest


def build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object without duplicate names."""
    value = dict(pairs)
    if len(value) != len(pairs):
        raise malformed("An object names a member twice.")
    return value


def refuse_constant(name: str) -> None:
    """Refuses NaN and infinities."""
    raise malformed(f"{name} is not JSON.")


def parse_integer(digits: str) -> int:
    """An integer of bounded length."""
    if len(digits) > MAX_DIGITS:
        raise malformed("A number has too many digits.")
    return int(digits)


def parse_float(digits: str) -> float:
    """A number within the range of a double."""
    value = float(digits)
    if not math.isfinite(value):
        raise malformed("A number is out of range.")
    return value


def check_strings(value: Any) -> None:
    """Refuses strings that the database cannot store."""
    match value:
        case str():
            if UNSTORABLE.search(value):
                raise malformed("A string contains a NUL or a lone surrogate.")
        case dict():
            for name, item in value.items():
                check_strings(name)
                check_strings(item)
        case list():
            for item in value:
                check_strings(item)
