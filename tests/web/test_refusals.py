"""What a refusal costs: its size, the loop's time and what is kept of it have bounds, and a quota is before it."""

import json
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import urlencode

import pytest

from reportsim.core.problems import LONGEST_TEXT, MOST_ERRORS
from reportsim.schemas.submission_parser import ParsedBody, parse_raw, parse_valid_body
from reportsim.schemas.submissions import Submission
from reportsim.settings import Settings
from tests.conftest import Service, serving
from tests.web.callback_time import without_a_stall

LEDGER = {"report_type": "general_ledger"}
MANY: dict[str, Any] = {f"{number:x}": 1 for number in range(6_500)}
HUGE: dict[str, dict[str, Any]] = {
    "codes that are numbers": {**LEDGER, "account_codes": [1] * 32_000},
    "codes that are lists": {**LEDGER, "account_codes": [[]] * 21_000},
    "as many wrong codes as are allowed": {**LEDGER, "account_codes": [1] * 1_000},
    "unknown members": MANY,
    "unknown members within": {"simulate": MANY},
    "unknown members further within": {"simulate": {"service_time": {"distribution": "fixed", **MANY}}},
    "steps of a script": {"script": ["x"] * 16_000},
    "a name": {"~" * 60_000: 1},
    "a text": {"ledger": "a" * 60_000, "report_type": "b" * 4_000},
    "a URL": {"callback_url": "http://" + "a" * 60_000},
}
POSTS = (
    "/api/sync",
    "/api/async",
    "/api/callbacks/simulate-failures",
    "/api/benchmark/both",
    "/api/requests/redeliver",
)


@pytest.mark.parametrize("body", HUGE.values(), ids=HUGE)
async def test_a_refusal_is_small_and_quick_and_not_kept(service: Service, body: dict[str, Any]) -> None:
    data = json.dumps(body, separators=(",", ":")).encode()
    kept = parse_valid_body.cache_info().currsize

    async def post(path: str) -> tuple[int, str]:
        async with service.client.post(path, data=data, headers={"Content-Type": "application/json"}) as answer:
            return answer.status, await answer.text()

    for path in POSTS:
        for _ in range(2):
            status, text = await without_a_stall(partial(post, path))
            assert status == 422
            assert len(text) < 32 * 1024
            errors = json.loads(text)["errors"]
            assert 1 <= len(errors) <= MOST_ERRORS
            assert all(len(value) <= LONGEST_TEXT + 1 for error in errors for value in error.values())
    assert parse_valid_body.cache_info().currsize == kept


async def test_what_is_not_listed_is_counted(service: Service) -> None:
    for body, said in [
        (
            {**LEDGER, "account_codes": [1] * 1_000},
            "1,000 values are not valid. The first 100 are listed, and 900 more",
        ),
        (MANY, "100 values are not valid."),
        ({**LEDGER, "account_codes": [1] * 32_000}, "Length must be between 1 and 1000."),
    ]:
        data = json.dumps(body, separators=(",", ":")).encode()
        async with service.client.post("/api/async", data=data, headers={"Content-Type": "application/json"}) as answer:
            problem = await answer.json()
        assert problem["detail"].startswith(said)
        if body is MANY:
            assert problem["errors"][-1] == {"detail": "And 6,401 more unknown fields.", "pointer": "#"}


async def test_a_query_of_very_many_names_is_refused_quickly(service: Service) -> None:
    async def get(path: str, names: list[str]) -> None:
        async with service.client.get(f"{path}?{urlencode([(name, '1') for name in names])}") as answer:
            assert answer.status == 422
            assert len((await answer.json())["errors"]) <= MOST_ERRORS

    for names in ([f"x{number}" for number in range(1_000)], ["limit"] * 1_000, ["x"] * 1_000):
        for path in ("/api/requests", "/api/events", "/api/ledgers", "/api/benchmark"):
            await without_a_stall(partial(get, path, names))


def test_only_short_valid_bodies_are_remembered() -> None:
    def parse(body: dict[str, Any]) -> ParsedBody:
        return parse_raw(Submission, json.dumps(body).encode())

    short, long = {"ledger": "tiny"}, {**LEDGER, "account_codes": ["x" * 60] * 900}
    assert parse(short) is parse(short)
    assert parse(long) is not parse(long)
    assert not parse(long).cached
    assert parse({"x": 1}) is not parse({"x": 1})


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/api/sync", None),
        ("/api/async", None),
        ("/api/callbacks/simulate-failures", None),
        ("/api/benchmark/both", None),
        ("/api/requests/redeliver", None),
        ("/", {"mode": "sync", "report_type": "horoscope"}),
        ("/", {"mode": "async", "report_type": "horoscope"}),
        ("/", {"mode": "race", "requests": "1"}),
        ("/benchmarks", {"rate": "-1"}),
    ],
)
async def test_what_is_parsed_costs_quota_also_where_it_is_refused(
    settings: Settings, path: str, form: dict[str, str] | None
) -> None:
    async with serving(replace(settings, sync_rate=1, async_rate=1)) as service:
        for status in (422, 429):
            sent: dict[str, Any] = {"json": {"x": 1}} if form is None else {"data": form}
            async with service.client.post(path, **sent) as answer:
                assert answer.status == status
                assert answer.headers["RateLimit"]
                assert (answer.content_type == "text/html") is (form is not None)
                await answer.read()
