"""What a submission may say: every mistake is named at once, before any work."""

from typing import Any

import pytest

from tests.conftest import Service

ENDPOINTS = ["/api/sync", "/api/async", "/api/callbacks/simulate-failures"]


async def refused(service: Service, path: str, body: Any) -> dict[str, dict[str, Any]]:
    """The errors of a 422 by pointer; nothing may have been done."""
    async with service.client.post(path, json=body) as answer:
        assert answer.status == 422
        assert answer.content_type == "application/problem+json"
        problem = await answer.json()
    assert problem["type"] == "/problems/invalid-parameters"
    assert problem["status"] == 422
    async with service.client.get("/api/requests") as answer:
        assert (await answer.json())["items"] == []
    errors = {error["pointer"]: error for error in problem["errors"]}
    assert len(errors) == len(problem["errors"])
    return errors


@pytest.mark.parametrize("path", ENDPOINTS)
async def test_every_mistake_is_named_at_once_with_a_json_pointer(service: Service, path: str) -> None:
    errors = await refused(
        service,
        path,
        {
            "from": "2025-02-30",
            "to": 3,
            "include_zero": "yes",
            "ledger": "nobody's",
            "surprise": 1,
            "a/b~c": 2,
            "simulate": {"service_time": {"distribution": "fixed", "mean_ms": 60_001}, "failure_rate": 1.5, "seed": -1},
        },
    )
    assert errors.keys() == {
        "#/from",
        "#/to",
        "#/include_zero",
        "#/ledger",
        "#/surprise",
        "#/a~1b~0c",
        "#/simulate/service_time/mean_ms",
        "#/simulate/failure_rate",
        "#/simulate/seed",
    }
    assert errors["#/surprise"]["detail"] == "Unknown field."
    assert all(error["detail"] for error in errors.values())


async def test_a_value_out_of_bounds_or_of_another_type_is_refused(service: Service, subtests: pytest.Subtests) -> None:
    for body, pointer in [
        ({"report_type": "tax_return"}, "#/report_type"),
        ({"report_type": 7}, "#/report_type"),
        ({"report_type": ["trial_balance"]}, "#/report_type"),
        ({"report_type": None}, "#/report_type"),
        ({"ledger": ""}, "#/ledger"),
        ({"ledger": "x" * 101}, "#/ledger"),
        ({"ledger": 1}, "#/ledger"),
        ({"from": "2025-1-1"}, "#/from"),
        ({"from": "2025-01-01T00:00:00Z"}, "#/from"),
        ({"to": "２０２５-01-01"}, "#/to"),
        ({"to": "0000-01-01"}, "#/to"),
        ({"include_zero": 1}, "#/include_zero"),
        ({"simulate": []}, "#/simulate"),
        ({"simulate": {"seed": 1.5}}, "#/simulate/seed"),
        ({"simulate": {"seed": True}}, "#/simulate/seed"),
        ({"simulate": {"seed": "1"}}, "#/simulate/seed"),
        ({"simulate": {"seed": 2**31}}, "#/simulate/seed"),
        ({"simulate": {"failure_rate": "0.5"}}, "#/simulate/failure_rate"),
        ({"simulate": {"surprise": 1}}, "#/simulate/surprise"),
        ({"simulate": {"service_time": {}}}, "#/simulate/service_time/distribution"),
        ({"simulate": {"service_time": {"distribution": "fixed"}}}, "#/simulate/service_time/mean_ms"),
        (
            {"simulate": {"service_time": {"distribution": "fixed", "mean_ms": 1, "max_ms": 2}}},
            "#/simulate/service_time/max_ms",
        ),
        (
            {"simulate": {"service_time": {"distribution": "uniform", "min_ms": 2, "max_ms": 1}}},
            "#/simulate/service_time/max_ms",
        ),
    ]:
        with subtests.test(body=body):
            assert (await refused(service, "/api/async", body)).keys() == {pointer}


async def test_a_body_that_is_no_object_is_refused(service: Service, subtests: pytest.Subtests) -> None:
    for body in [b"[]", b'"text"', b"1", b"null", b"true"]:
        with subtests.test(body=body):
            headers = {"Content-Type": "application/json"}
            async with service.client.post("/api/sync", data=body, headers=headers) as answer:
                assert answer.status == 422
                assert [error["pointer"] for error in (await answer.json())["errors"]] == ["#"]


@pytest.mark.parametrize("interval", [("2025-03-01", "2025-03-01"), ("2025-03-02", "2025-03-01")])
async def test_an_empty_or_reversed_interval_is_refused(service: Service, interval: tuple[str, str]) -> None:
    first, after = interval
    errors = await refused(service, "/api/sync", {"from": first, "to": after})
    assert errors.keys() == {"#/to"}


async def test_an_option_of_another_report_is_refused(service: Service) -> None:
    errors = await refused(
        service, "/api/sync", {"report_type": "trial_balance", "as_of": "2025-01-31", "group_by": "month"}
    )
    assert errors.keys() == {"#/as_of", "#/group_by"}


async def test_a_callback_url_on_sync_is_refused(service: Service) -> None:
    errors = await refused(service, "/api/sync", {"callback_url": f"{service.url}/webhook-test/inbox"})
    assert errors.keys() == {"#/callback_url"}


async def test_a_callback_url_is_a_text_of_bounded_length(service: Service, subtests: pytest.Subtests) -> None:
    for url in [None, 7, "", "https://example.com/" + "x" * 2048]:
        with subtests.test(url=url):
            errors = await refused(service, "/api/async", {"callback_url": url})
            assert errors.keys() == {"#/callback_url"}


async def test_failures_to_simulate_have_bounds(service: Service) -> None:
    path = "/api/callbacks/simulate-failures"
    errors = await refused(service, path, {"failures": 21, "fault": "explosion", "callback_url": "x"})
    assert errors.keys() == {"#/failures", "#/fault", "#/callback_url"}
    assert (await refused(service, path, {"status_code": 600})).keys() == {"#/status_code"}
    assert (await refused(service, path, {"script": ["503", "nonsense"]})).keys() == {"#/script/1"}


async def test_whole_floats_are_whole_numbers(service: Service) -> None:
    body = {"ledger": "tiny", "simulate": {"seed": 7.0}}
    async with service.client.post("/api/sync", json=body) as answer:
        assert answer.status == 200
        assert (await answer.json())["input_payload"]["simulate"]["seed"] == 7
