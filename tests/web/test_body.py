"""JSON bodies: whatever the bytes, the answer is a value or a 4xx problem."""

import json
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reportsim.core.problems import Problem
from reportsim.schemas.strict_json import MAX_DEPTH, MAX_DIGITS, parse_json

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=5),
    max_leaves=20,
)


def refused(raw: bytes) -> Problem:
    with pytest.raises(Problem) as caught:
        parse_json(raw)
    assert caught.value.status == 400
    assert caught.value.slug == "malformed-request"
    assert len(caught.value.detail) < 200
    return caught.value


@given(VALUES, st.booleans(), st.sampled_from([None, 2]))
def test_any_json_value_is_read_as_it_is(value: Any, ascii_only: bool, indent: int | None) -> None:
    raw = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    assert parse_json(raw) == value


HOSTILE = {
    "nothing": b" ",
    "half an object": b'{"a": 1',
    "two values": b"{} {}",
    "a trailing comma": b'{"a": 1,}',
    "single quotes": b"{'a': 1}",
    "a comment": b"{} // comment",
    "a byte order mark": b"\xef\xbb\xbf{}",
    "utf-16": '{"a": 1}'.encode("utf-16"),
    "a bare surrogate in utf-8": b'{"a": "\xed\xa0\x80"}',
    "an overlong slash": b'{"a": "\xc0\xaf"}',
    "a lone byte": b"\xff",
    "half a surrogate pair": b'{"a": "\\ud800"}',
    "a surrogate pair the wrong way round": b'{"a": "\\udc00\\ud800"}',
    "half a surrogate pair in a name": b'{"\\udfff": 1}',
    "a NUL": b'{"a": "\\u0000"}',
    "a NUL in a name": b'{"a\\u0000": 1}',
    "a NUL deep inside": b'{"a": [[{"b": ["\\u0000"]}]]}',
    "a raw control character": b'{"a": "\n"}',
    "NaN": b'{"a": NaN}',
    "infinity": b'{"a": Infinity}',
    "minus infinity": b"[-Infinity]",
    "a number beyond a double": b'{"a": 1e400}',
    "a negative number beyond a double": b'{"a": -1e400}',
    "a number of very many digits": b"[" + b"9" * (MAX_DIGITS + 1) + b"]",
    "a number longer than Python reads": b"[" + b"9" * 5_000 + b"]",
    "a leading zero": b"[01]",
    "a plus sign": b"[+1]",
    "a hexadecimal number": b"[0x10]",
    "digits of another script": "[٣]".encode(),
    "a name twice": b'{"a": 1, "a": 2}',
    "a name twice in two spellings": b'{"a": 1, "\\u0061": 2}',
    "a name twice deep inside": b'[{"x": {"a": 1, "a": 1}}]',
    "one level too deep": b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
    "a tower of brackets": b"[" * 60_000,
    "a tower of objects": b'{"a":' * 10_000,
    "brackets closed before they are opened": b"]" * 100 + b"[" * 60_000,
    "a quote that hides a tower": b'"\\"' + b"[" * 60_000,
    "escapes that are none": b'{"a": "\\x41"}',
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_body_is_a_problem_of_the_client(name: str) -> None:
    refused(HOSTILE[name])


@given(st.binary(max_size=300))
@example(b"\\")
@example(b'"\\')
@example(b'"' * 3)
def test_no_bytes_raise_anything_but_a_problem(raw: bytes) -> None:
    try:
        parse_json(raw)
    except Problem as problem:
        assert problem.status == 400


@given(st.lists(st.sampled_from('{}[]",:\\u0d8dF1e9-+. nulltrueNaN\n'), max_size=60).map("".join))
def test_no_jumble_of_json_raises_anything_but_a_problem(text: str) -> None:
    try:
        value = parse_json(text.encode())
    except Problem as problem:
        assert problem.status == 400
    else:
        # What is read means the same to another reader, and can be written again.
        assert json.loads(json.dumps(value, allow_nan=False)) == value
        assert value == json.loads(text)


@given(VALUES, st.data())
def test_no_damaged_body_raises_anything_but_a_problem(value: Any, data: st.DataObject) -> None:
    raw = bytearray(json.dumps(value).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        parse_json(bytes(raw))
    except Problem as problem:
        assert problem.status == 400


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b'{"a": "\\ud83d\\ude00"}', {"a": "😀"}),
        (b'  {"a": 1}\r\n\t', {"a": 1}),
        (b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, None),
        (b'"[[[[{{{{"', "[[[[{{{{"),
        (b'["' + b"[" * 1_000 + b'"]', ["[" * 1_000]),
        (b"[" + b"9" * MAX_DIGITS + b"]", [int("9" * MAX_DIGITS)]),
        (b"[1e308, 5e-324, -0]", [1e308, 5e-324, 0]),
        (b"null", None),
        (b"1", 1),
    ],
)
def test_what_is_only_unusual_is_read(raw: bytes, value: Any) -> None:
    found = parse_json(raw)
    if value is not None:
        assert found == value


def test_the_largest_number_of_digits_still_has_a_finite_size() -> None:
    [number] = parse_json(b"[" + b"9" * MAX_DIGITS + b"]")
    assert math.isfinite(number)
    assert math.isfinite(float(number))


@pytest.mark.parametrize(("raw", "words"), [(b"{", "not JSON"), (b"\xff", "UTF-8"), (b'{"a":1,"a":2}', "twice")])
def test_a_problem_says_what_is_wrong(raw: bytes, words: str) -> None:
    assert words in refused(raw).detail
