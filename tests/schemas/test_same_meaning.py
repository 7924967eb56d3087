"""Which submissions mean the same: any form of the same JSON, and defaults that are written out."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from reportsim.schemas.strict_json import parse_json
from reportsim.schemas.submission_parser import parse_body
from reportsim.schemas.submissions import AsyncSubmission
from reportsim.web.fingerprint import same_meaning
from reportsim.web.submission import build_submission
from tests.schemas.test_requests import DEMO

DEFAULTS: dict[str, Any] = {
    "report_type": "trial_balance",
    "ledger": "demo",
    "from": "2025-01-01",
    "to": "2026-01-01",
    "include_zero": False,
}
CHANGES: dict[str, Any] = {
    "from": "2025-02-01",
    "to": "2025-12-31",
    "include_zero": True,
    "callback_url": "https://example.com/hook",
    "simulate": {"seed": 2},
}
BODIES = st.fixed_dictionaries(
    {},
    optional={
        **{name: st.sampled_from([DEFAULTS[name], CHANGES[name]]) for name in ("from", "to", "include_zero")},
        "ledger": st.just("demo"),
        "report_type": st.just("trial_balance"),
        "callback_url": st.sampled_from(["https://example.com/hook", "https://example.com/other"]),
        "simulate": st.fixed_dictionaries(
            {"seed": st.integers(0, 3)}, optional={"failure_rate": st.sampled_from([0, 1])}
        ),
    },
)


def fingerprint(raw: bytes) -> bytes:
    return build_submission(parse_body(AsyncSubmission, parse_json(raw)), DEMO, None).fingerprint


def written(data: st.DataObject, body: dict[str, Any]) -> bytes:
    """A body in some order, with some blanks, with whole numbers as floats or not."""
    names = data.draw(st.permutations(list(body)))
    numbers = data.draw(st.sampled_from([int, float]))

    def form(value: Any) -> Any:
        match value:
            case dict():
                return {name: form(value[name]) for name in data.draw(st.permutations(list(value)))}
            case bool():
                return value
            case int():
                return numbers(value)
            case _:
                return value

    indent = data.draw(st.sampled_from([None, 0, 3]))
    return json.dumps({name: form(body[name]) for name in names}, indent=indent).encode()


@given(BODIES, st.sets(st.sampled_from(list(DEFAULTS))), st.data())
def test_forms_and_defaults_change_no_meaning(body: dict[str, Any], explicit: set[str], data: st.DataObject) -> None:
    complete = {**{name: DEFAULTS[name] for name in explicit}, **body}
    shortened = {name: value for name, value in body.items() if DEFAULTS.get(name) != value}
    first = fingerprint(written(data, body))
    assert same_meaning(first, fingerprint(written(data, complete)))
    assert same_meaning(first, fingerprint(written(data, shortened)))


@given(BODIES, st.sampled_from(list(CHANGES)), st.data())
def test_any_other_value_changes_the_meaning(body: dict[str, Any], name: str, data: st.DataObject) -> None:
    value = DEFAULTS.get(name) if body.get(name) == CHANGES[name] else CHANGES[name]
    changed = {key: other for key, other in {**body, name: value}.items() if other is not None}
    assert not same_meaning(fingerprint(written(data, body)), fingerprint(written(data, changed)))
