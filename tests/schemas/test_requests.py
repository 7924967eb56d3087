"""Submissions: every way to write one request has one meaning, every other request another; nonsense is a 422."""

import copy
import json
from dataclasses import replace
from datetime import date
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import Schema

from reportsim.core.callback_policy.addresses import AllowList
from reportsim.core.model import Ledger
from reportsim.core.problems import Problem
from reportsim.engine.delivery.ssrf_guard import SsrfGuard
from reportsim.engine.engine import Engine
from reportsim.reports.catalog import CATALOG
from reportsim.schemas.service_time import ServiceTime
from reportsim.schemas.submission_parser import parse_body, parse_raw
from reportsim.schemas.submissions import AsyncSubmission, FailingSubmission, Simulate, Submission
from reportsim.web.fingerprint import same_meaning
from reportsim.web.submission import ValidSubmission, complete_submission

DEMO = Ledger(
    ledger_id=1,
    name="demo",
    currency="EUR",
    exponent=2,
    version=1,
    first_on=date(2025, 1, 1),
    last_on=date(2025, 12, 31),
    lines=100,
)
TINY = replace(DEMO, ledger_id=2, name="tiny")
LEDGERS = {"demo": DEMO, "tiny": TINY}


class Ledgers:
    """The ledgers that the engine knows."""

    def __init__(self, ledgers: dict[str, Ledger]) -> None:
        self.known = ledgers

    async def get(self, name: str) -> Ledger | None:
        return self.known.get(name)

    async def read(self, name: str) -> Ledger | None:
        return self.known.get(name)

    async def all(self) -> list[Ledger]:
        return list(self.known.values())


def accepted(
    body: Any, base: type[Submission] = AsyncSubmission, *, ledgers: dict[str, Ledger] = LEDGERS
) -> ValidSubmission:
    """The submission in a body, given as a value or as its bytes."""
    engine = cast(Engine, SimpleNamespace(ledgers=Ledgers(ledgers), guard=SsrfGuard(AllowList(), [])))
    parsed = parse_raw(base, body) if isinstance(body, bytes) else parse_body(base, body)
    reading = complete_submission(engine, parsed)
    try:
        reading.send(None)
    except StopIteration as returned:
        return cast(ValidSubmission, returned.value)
    raise AssertionError("it waited")


def errors(body: Any, base: type[Submission] = AsyncSubmission) -> dict[str, str]:
    """The pointers of a refused body, each with its message."""
    with pytest.raises(Problem) as caught:
        accepted(body, base)
    assert caught.value.status == 422
    return {error["pointer"]: error["detail"] for error in caught.value.members["errors"]}


def same(one: Any, other: Any, base: type[Submission] = AsyncSubmission) -> bool:
    return same_meaning(accepted(one, base).fingerprint, accepted(other, base).fingerprint)


DATES = st.dates(date(2025, 1, 1), date(2025, 12, 30)).map(date.isoformat)
NUMBERS = st.integers(1, 60_000)
SERVICES = st.one_of(
    st.fixed_dictionaries({"distribution": st.sampled_from(["fixed", "exponential"]), "mean_ms": NUMBERS}),
    st.fixed_dictionaries(
        {"distribution": st.just("bimodal"), "fast_ms": NUMBERS, "slow_ms": NUMBERS, "slow_share": st.floats(0, 1)}
    ),
)
SIMULATIONS = st.fixed_dictionaries(
    {}, optional={"service_time": SERVICES, "failure_rate": st.floats(0, 1), "seed": st.integers(0, 2**31 - 1)}
)
SUBMISSIONS = st.fixed_dictionaries(
    {},
    optional={
        "report_type": st.just("trial_balance"),
        "ledger": st.sampled_from(["demo", "tiny"]),
        "from": DATES,
        "to": st.just("2025-12-31"),
        "include_zero": st.booleans(),
        "callback_url": st.sampled_from(["https://a.example.org/x", "https://b.example.org/x"]),
        "simulate": SIMULATIONS,
    },
)


def floats(value: Any) -> Any:
    """The same value with every whole number written with a decimal point."""
    match value:
        case bool():
            return value
        case int():
            return float(value)
        case dict():
            return {name: floats(item) for name, item in value.items()}
        case _:
            return value


def reordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: reordered(value[name]) for name in reversed(value)}
    return value


class TestMeaning:
    @given(SUBMISSIONS)
    def test_is_the_same_in_whatever_order_and_with_whatever_blanks(self, body: dict[str, Any]) -> None:
        compact = json.dumps(body, separators=(",", ":")).encode()
        airy = json.dumps(reordered(body), indent=4).encode()
        assert same(compact, airy)

    @given(SUBMISSIONS)
    def test_is_the_same_with_1_and_1_0(self, body: dict[str, Any]) -> None:
        assert same(body, floats(body))

    @given(SUBMISSIONS)
    def test_is_the_same_with_defaults_spelt_out(self, body: dict[str, Any]) -> None:
        defaults = {
            "report_type": "trial_balance",
            "ledger": "demo",
            "from": "2025-01-01",
            "to": "2026-01-01",
            "include_zero": False,
        }
        assert same(body, {**defaults, **body})

    @given(SUBMISSIONS)
    def test_is_the_same_the_second_time_although_seeds_are_drawn(self, body: dict[str, Any]) -> None:
        assert same(body, copy.deepcopy(body))

    @given(SUBMISSIONS, SUBMISSIONS)
    def test_of_two_submissions_is_the_same_only_if_they_come_to_the_same(
        self, one: dict[str, Any], other: dict[str, Any]
    ) -> None:
        def meaning(body: dict[str, Any]) -> tuple[Any, ...]:
            found = accepted(body)
            payload = {**found.payload, "simulate": body.get("simulate")}
            return payload, found.callback.url

        assert same(one, other) == (meaning(one) == meaning(other))

    @pytest.mark.parametrize(
        "change",
        [
            {"ledger": "tiny"},
            {"from": "2025-02-01"},
            {"to": "2025-06-01"},
            {"include_zero": True},
            {"callback_url": "https://receiver.example.org/hook"},
            {"callback_url": "https://receiver.example.org/"},
            {"simulate": {"seed": 1}},
            {"simulate": {"failure_rate": 0.5}},
            {"simulate": {"service_time": {"distribution": "fixed", "mean_ms": 1}}},
            {"simulate": {"service_time": {"distribution": "fixed", "mean_ms": 1.5}}},
            {"simulate": {"service_time": {"distribution": "exponential", "mean_ms": 1}}},
            *({"report_type": name} for name in CATALOG if name != "trial_balance"),
        ],
    )
    def test_changes_with_every_field(self, change: dict[str, Any]) -> None:
        seen = [{}, {"from": "2025-03-01"}, {"simulate": {"seed": 2}}, {"include_zero": True, "ledger": "tiny"}]
        for body in seen:
            if body != change:
                assert not same(body, change)

    def test_survives_a_ledger_that_has_grown(self) -> None:
        grown = {"demo": replace(DEMO, version=2, last_on=date(2026, 1, 31))}
        before, after = accepted({}), accepted({}, ledgers=grown)
        assert before.payload != after.payload
        assert same_meaning(before.fingerprint, after.fingerprint)
        spelt_out = accepted({"to": "2026-01-01"}, ledgers=grown)
        assert same_meaning(before.fingerprint, spelt_out.fingerprint)

    @pytest.mark.parametrize(
        ("one", "other", "equal"),
        [
            ({}, {"failures": 2, "fault": "status", "status_code": 503}, True),
            ({}, {"failures": 2.0}, True),
            ({"failures": 1}, {"failures": 2}, False),
            ({"fault": "timeout"}, {"fault": "reset"}, False),
            ({"status_code": 500}, {"status_code": 503}, False),
            ({"script": ["503", "200"]}, {"script": ["200", "503"]}, False),
            ({"script": []}, {}, False),
        ],
    )
    def test_of_failures_includes_the_script(self, one: Any, other: Any, equal: bool) -> None:
        assert same(one, other, FailingSubmission) is equal


class TestPayload:
    def test_of_nothing_is_a_trial_balance_of_the_demo_ledger_over_its_window(self) -> None:
        for raw in (b"", b"{}", b" {} "):
            found = accepted(raw)
            assert found.payload == {
                "report_type": "trial_balance",
                "ledger": "demo",
                "from": "2025-01-01",
                "to": "2026-01-01",
            }
            assert (found.report.name, found.ledger, found.callback.url) == ("trial_balance", DEMO, None)

    def test_keeps_what_was_asked_for_and_draws_a_seed_once(self) -> None:
        service = {"distribution": "uniform", "min_ms": 0, "max_ms": 60_000}
        found = accepted({"simulate": {"service_time": service}}).payload["simulate"]
        assert found["service_time"] == service
        assert 0 <= found["seed"] < 2**31
        again = accepted({"simulate": {"service_time": service}}).payload["simulate"]
        assert again["seed"] != found["seed"]
        assert accepted({"simulate": {"seed": 7}}).payload["simulate"] == {"seed": 7}

    def test_of_one_submission_is_not_changed_by_the_next(self) -> None:
        raw = b'{"simulate": {"failure_rate": 0.5}}'
        first = accepted(raw)
        kept = copy.deepcopy(first.payload)
        accepted(raw)
        assert first.payload == kept

    @given(SUBMISSIONS)
    def test_asks_for_the_same_when_it_is_sent_back(self, body: dict[str, Any]) -> None:
        found = accepted(body)
        url = {"callback_url": found.callback.url} if found.callback.url else {}
        again = accepted({**found.payload, **url})
        assert again.payload == found.payload
        assert same_meaning(found.fingerprint, again.fingerprint)


class TestRefused:
    @pytest.mark.parametrize("body", [[], "text", 1, 1.5, True, None, [{}]])
    def test_is_whatever_is_no_object(self, body: Any) -> None:
        assert errors(body) == {"#": "The body must be a JSON object."}

    @pytest.mark.parametrize(
        ("body", "pointer"),
        [
            ({"report_type": "profit"}, "#/report_type"),
            ({"report_type": None}, "#/report_type"),
            ({"report_type": ["trial_balance"]}, "#/report_type"),
            ({"ledger": "nowhere"}, "#/ledger"),
            ({"ledger": ""}, "#/ledger"),
            ({"ledger": "x" * 101}, "#/ledger"),
            ({"ledger": 1}, "#/ledger"),
            ({"ledger": None}, "#/ledger"),
            ({"from": "2025-02-30"}, "#/from"),
            ({"from": "2025-1-1"}, "#/from"),
            ({"from": "20250101"}, "#/from"),
            ({"from": "2025-W01-1"}, "#/from"),
            ({"from": "２０２５-01-01"}, "#/from"),
            ({"from": 20250101}, "#/from"),
            ({"from": None}, "#/from"),
            ({"from": "2025-01-01\n"}, "#/from"),
            ({"from": "0000-01-01"}, "#/from"),
            ({"from": "2025-06-01", "to": "2025-06-01"}, "#/to"),
            ({"to": "2024-06-01"}, "#/to"),
            ({"from": "2027-06-01"}, "#/from"),
            ({"include_zero": 1}, "#/include_zero"),
            ({"include_zero": "true"}, "#/include_zero"),
            ({"include_zero": None}, "#/include_zero"),
            ({"as_of": "2025-01-01"}, "#/as_of"),
            ({"unknown": 1}, "#/unknown"),
            ({"a/b~c": 1}, "#/a~1b~0c"),
            ({"callback_url": "ftp://example.org"}, "#/callback_url"),
            ({"callback_url": "http://127.0.0.1/"}, "#/callback_url"),
            ({"callback_url": "https://x.example.org/" + "x" * 2048}, "#/callback_url"),
            ({"callback_url": ""}, "#/callback_url"),
            ({"callback_url": 7}, "#/callback_url"),
            ({"callback_url": None}, "#/callback_url"),
            ({"simulate": []}, "#/simulate"),
            ({"simulate": None}, "#/simulate"),
            ({"simulate": {"seed": -1}}, "#/simulate/seed"),
            ({"simulate": {"seed": 2**31}}, "#/simulate/seed"),
            ({"simulate": {"seed": 1.5}}, "#/simulate/seed"),
            ({"simulate": {"seed": True}}, "#/simulate/seed"),
            ({"simulate": {"seed": "1"}}, "#/simulate/seed"),
            ({"simulate": {"failure_rate": 1.01}}, "#/simulate/failure_rate"),
            ({"simulate": {"failure_rate": True}}, "#/simulate/failure_rate"),
            ({"simulate": {"service_time": {}}}, "#/simulate/service_time/distribution"),
            ({"simulate": {"service_time": {"distribution": "fixed"}}}, "#/simulate/service_time/mean_ms"),
            (
                {"simulate": {"service_time": {"distribution": "fixed", "mean_ms": 60_001}}},
                "#/simulate/service_time/mean_ms",
            ),
            (
                {"simulate": {"service_time": {"distribution": "fixed", "mean_ms": 1, "sigma": 1}}},
                "#/simulate/service_time/sigma",
            ),
            (
                {"simulate": {"service_time": {"distribution": "uniform", "min_ms": 2, "max_ms": 1}}},
                "#/simulate/service_time/max_ms",
            ),
        ],
    )
    def test_says_where(self, body: Any, pointer: str) -> None:
        found = errors(body)
        assert list(found) == [pointer]
        assert found[pointer]

    def test_names_every_error_at_once(self) -> None:
        body = {
            "ledger": "nowhere",
            "from": "yesterday",
            "unknown": 1,
            "callback_url": "http://10.0.0.1/",
            "simulate": {"seed": -1, "failure_rate": 2},
        }
        assert errors(body).keys() == {
            "#/ledger",
            "#/from",
            "#/unknown",
            "#/callback_url",
            "#/simulate/seed",
            "#/simulate/failure_rate",
        }

    def test_is_a_callback_url_where_the_client_waits(self) -> None:
        assert list(errors({"callback_url": "https://receiver.example.org/"}, Submission)) == ["#/callback_url"]

    @pytest.mark.parametrize(
        ("body", "pointer"),
        [
            ({"failures": 21}, "#/failures"),
            ({"failures": -1}, "#/failures"),
            ({"failures": "2"}, "#/failures"),
            ({"fault": "explode"}, "#/fault"),
            ({"status_code": 199}, "#/status_code"),
            ({"status_code": 600}, "#/status_code"),
            ({"script": "503"}, "#/script"),
            ({"script": ["99"]}, "#/script/0"),
            ({"script": ["200", "600"]}, "#/script/1"),
            ({"script": ["503\n"]}, "#/script/0"),
            ({"script": [503]}, "#/script/0"),
            ({"script": ["503"] * 21}, "#/script"),
            ({"callback_url": "https://receiver.example.org/"}, "#/callback_url"),
        ],
    )
    def test_says_where_in_a_script_of_failures(self, body: Any, pointer: str) -> None:
        assert list(errors(body, FailingSubmission)) == [pointer]

    @pytest.mark.parametrize("name", CATALOG)
    def test_are_options_of_other_reports(self, name: str) -> None:
        own = CATALOG[name].parameters().fields.keys()
        values = {"from": "2025-01-01", "as_of": "2025-01-01", "group_by": "month", "account_codes": ["1000"]}
        for option in values.keys() - own:
            assert list(errors({"report_type": name, option: values[option]})) == [f"#/{option}"]


SCHEMAS: list[type[Schema]] = [
    AsyncSubmission,
    FailingSubmission,
    Simulate,
    ServiceTime,
    *(report.parameters for report in CATALOG.values()),
]
NAMES = st.sampled_from(sorted({name for schema in SCHEMAS for name in schema().fields} | {"", "unknown"}))
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(10**300), 10**300)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=10)
    | st.sampled_from(["demo", "2025-01-01", "trial_balance", "fixed", "lognormal", "month", "https://a.example.org/"])
)
ANYTHING = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=6), max_leaves=12
)


@given(ANYTHING, st.sampled_from([Submission, AsyncSubmission, FailingSubmission]))
def test_any_value_is_accepted_or_a_422(body: Any, base: type[Submission]) -> None:
    try:
        found = accepted(body, base)
    except Problem as problem:
        assert problem.status == 422
        assert problem.members["errors"]
    else:
        json.dumps(found.payload, allow_nan=False)


@given(st.dictionaries(NAMES, ANYTHING, max_size=8), st.sampled_from([Submission, AsyncSubmission, FailingSubmission]))
def test_any_object_is_accepted_or_a_422(body: Any, base: type[Submission]) -> None:
    try:
        accepted(body, base)
    except Problem as problem:
        assert problem.status == 422
