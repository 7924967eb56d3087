"""/openapi.json: valid, complete, and made from what validates and answers."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from aiohttp import web
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from reportsim.api.openapi.document import document
from reportsim.api.openapi.operations import OPERATIONS
from reportsim.app import build_app
from reportsim.core.model import callback_event
from reportsim.core.problems import KINDS
from reportsim.reports.catalog import CATALOG
from reportsim.schemas import responses as shapes
from reportsim.schemas.service_time import PARAMETERS_OF_DISTRIBUTION
from reportsim.settings import Settings
from reportsim.store import requests as store
from tests.api.calls import FAILING, TINY, held_for, logs_of, processing, read, submit
from tests.conftest import Service, serving

# For people, not for programs; and the document itself.
# Where the handlers of what is for people are, not for programs.
PAGES = ("reportsim.pages.", "reportsim.api.openapi.page")
# What no endpoint answers by itself: another method, a row that failed so, a page's problem.
NOWHERE = {"method-not-allowed", "gave-up", "benchmark-failed"}
# What every answer of any server may have, or every one of ours has.
GENERAL = {
    "Cache-Control",
    "Connection",
    "Content-Length",
    "Content-Security-Policy",
    "Content-Type",
    "Cross-Origin-Resource-Policy",
    "Date",
    "Referrer-Policy",
    "Server",
    "Transfer-Encoding",
    "X-Content-Type-Options",
}


@pytest.fixture
async def app(tmp_path: Path) -> web.Application:
    return build_app(Settings(database_url="postgresql://localhost/nowhere", data_dir=tmp_path))


@pytest.fixture
def spec(app: web.Application) -> Any:
    return json.loads(json.dumps(document(app, "http://127.0.0.1:8080/webhook-test/")))


def operations(spec: Any) -> Iterator[tuple[str, str, Any]]:
    for path, item in spec["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


def test_it_is_valid(spec: Any) -> None:
    errors = [error.message for error in OpenAPIV31SpecValidator(spec).iter_errors()]
    assert errors == []
    assert spec["openapi"] == "3.1.0"


def test_every_endpoint_is_described(app: web.Application, spec: Any) -> None:
    routes = {
        (route.resource.canonical, route.method.lower())
        for route in app.router.routes()
        if route.resource is not None and route.method != "HEAD" and not route.handler.__module__.startswith(PAGES)
    }
    described = {(path, method) for path, method, _ in operations(spec)}
    assert described == routes
    assert len(described) == len(OPERATIONS)


def test_every_operation_has_a_name_a_summary_and_a_tag(spec: Any) -> None:
    found = list(operations(spec))
    names = [operation["operationId"] for _, _, operation in found]
    assert len(set(names)) == len(names)
    for _, _, operation in found:
        assert operation["summary"]
        assert operation["tags"]
        assert all(answer["description"] for answer in operation["responses"].values())


def test_every_kind_of_problem_is_declared_where_it_can_happen(spec: Any) -> None:
    declared = set()
    for _, _, operation in operations(spec):
        for status, answer in operation["responses"].items():
            problem = answer.get("content", {}).get("application/problem+json")
            if problem is not None:
                types = problem["schema"]["allOf"][1]["properties"]["type"]["enum"]
                assert {kind.status for kind in KINDS.values() if kind.type in types} == {int(status)}
                declared |= set(types)
    assert declared == {kind.type for slug, kind in KINDS.items() if slug not in NOWHERE}


def test_a_link_gives_an_operation_what_it_needs(spec: Any) -> None:
    declared = {
        operation["operationId"]: {each["name"]: each.get("required", False) for each in operation["parameters"]}
        for _, _, operation in operations(spec)
    }
    leading = set()
    for _, _, operation in operations(spec):
        for answer in operation["responses"].values():
            for link in answer.get("links", {}).values():
                known = declared[link["operationId"]]
                assert {name for name, required in known.items() if required} <= set(link["parameters"]) <= set(known)
                leading.add(link["operationId"])
    by_id = {operation["operationId"] for path, _, operation in operations(spec) if "{id}" in path}
    assert leading == {*by_id, "download"}


def test_a_download_declares_every_condition_that_it_heeds(spec: Any) -> None:
    declared = {
        each["name"] for each in spec["paths"]["/api/reports/{file}"]["get"]["parameters"] if each["in"] == "header"
    }
    conditions = {"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range"}
    assert declared == {*conditions, "Range"}


def test_each_report_has_its_own_options_and_none_of_the_others(spec: Any) -> None:
    components = spec["components"]["schemas"]
    for base, extra in {
        "Submission": set(),
        "AsyncSubmission": {"callback_url"},
        "FailingSubmission": {"failures", "fault", "status_code", "script"},
    }.items():
        references = [entry["$ref"] for entry in components[base]["oneOf"]]
        assert references == [f"#/components/schemas/{base}.{name}" for name in CATALOG]
        for name, report in CATALOG.items():
            variant = components[f"{base}.{name}"]
            options = set(report.parameters().fields)
            assert variant["properties"].keys() == {"report_type", "ledger", "simulate"} | extra | options
            assert variant["additionalProperties"] is False
            assert variant["properties"]["report_type"] == {"const": name}


def titles(value: Any) -> Iterator[str]:
    """Every title of a schema, wherever it stands."""
    if isinstance(value, dict):
        if isinstance(value.get("title"), str) and ("type" in value or "oneOf" in value):
            yield value["title"]
        for item in value.values():
            yield from titles(item)
    elif isinstance(value, list):
        for item in value:
            yield from titles(item)


def test_no_two_schemas_have_one_title(spec: Any) -> None:
    """Generators name classes after titles, and components after their names without signs."""
    components = spec["components"]["schemas"]
    found = [re.sub(r"\W", "", title).lower() for title in titles(components)]
    assert len(found) > 20
    assert len(set(found)) == len(found)
    names = [re.sub(r"\W", "", name).lower() for name in components]
    assert len(set(names)) == len(names)


def test_no_operation_has_two_parameters_that_programs_write_alike(spec: Any) -> None:
    for path, _, operation in operations(spec):
        for kind in ("path", "query", "header"):
            names = [each["name"] for each in operation["parameters"] if each["in"] == kind]
            assert len({re.sub(r"\W|_", "", name).lower() for name in names}) == len(names), path


def test_each_distribution_has_exactly_its_parameters(spec: Any) -> None:
    kinds = spec["components"]["schemas"]["ServiceTime"]["oneOf"]
    assert {kind["title"]: set(kind["required"]) - {"distribution"} for kind in kinds} == PARAMETERS_OF_DISTRIBUTION
    for kind in kinds:
        assert set(kind["required"]) == kind["properties"].keys()
        assert all("maximum" in value for name, value in kind["properties"].items() if name != "distribution")


def test_bounds_are_those_that_validate(spec: Any) -> None:
    components = spec["components"]["schemas"]
    assert components["Simulate"]["properties"]["seed"] == {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
    (limit,) = (p for p in spec["paths"]["/api/requests"]["get"]["parameters"] if p["name"] == "limit")
    assert limit["schema"] == {"type": "integer", "default": 50, "minimum": 1, "maximum": 200}
    codes = components["Submission.general_ledger"]["properties"]["account_codes"]
    assert (codes["type"], codes["minItems"], codes["maxItems"]) == ("array", 1, 1_000)


def test_a_pattern_has_what_is_refused_in_every_callback_url(spec: Any) -> None:
    (pattern,) = {
        component["properties"]["callback_url"]["pattern"]
        for name, component in spec["components"]["schemas"].items()
        if name.startswith("AsyncSubmission.")
    }
    for url in ("https://example.com/", "HTTP://bücher.example:8080/?a=%20"):
        assert re.search(pattern, url)
    for url in ("ftp://example.com/", "https://", *(f"https://example.com/{bad}x" for bad in "\0\t\n \x7f\\")):
        assert not re.search(pattern, url)


@pytest.mark.parametrize(
    ("failures", "possible"),
    [
        ({"failures": 1}, True),
        ({"fault": "reset", "failures": 3}, True),
        ({"status_code": 502}, True),
        ({"status_code": 502, "fault": "status"}, True),
        ({"status_code": 502, "fault": "reset"}, False),
        ({"script": ["503", "slow"]}, True),
        ({"script": ["503"], "failures": 1}, False),
        ({"script": ["503"], "fault": "status"}, False),
        ({"script": [], "status_code": 502}, False),
    ],
)
async def test_failures_are_said_in_one_way(
    service: Service, spec: Any, failures: dict[str, Any], possible: bool
) -> None:
    schema = {**spec, "$ref": "#/components/schemas/FailingSubmission"}
    body = {**TINY, **failures}
    assert Draft202012Validator(schema).is_valid(body) is possible
    async with service.client.post("/api/callbacks/simulate-failures", json=body) as answer:
        assert answer.status == (202 if possible else 422)


async def test_what_a_script_asks_for_is_declared(service: Service, spec: Any) -> None:
    responses = spec["paths"]["/webhook-test/{inbox}"]["post"]["responses"]
    for script in ("200", "201", "303", "404", "422", "500", "503", "599"):
        async with service.client.post(f"/webhook-test/mine?script={script}", allow_redirects=False) as answer:
            assert str(answer.status) == script
            declared = responses.get(script, responses["default"])
            schema = {**spec, **declared["content"][answer.content_type]["schema"]}
            Draft202012Validator(schema).validate(await answer.json())
            assert {name.lower() for name in answer.headers} <= {name.lower() for name in declared["headers"]} | {
                name.lower() for name in GENERAL
            }


def test_the_callback_is_described(spec: Any) -> None:
    (callback,) = spec["paths"]["/api/async"]["post"]["callbacks"].values()
    post = callback["{$request.body#/callback_url}"]["post"]
    assert {parameter["name"] for parameter in post["parameters"]} == {
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
        "webhook-attempt",
    }
    assert post["requestBody"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/CallbackEvent"
    }


async def test_shapes_have_exactly_the_members_that_are_answered(service: Service) -> None:
    id = await submit(service, "/api/async", {**TINY, "callback_url": f"{service.url}/webhook-test/shapes"})
    ended = await service.ended(id)
    (log,) = await logs_of(service, id)
    inbox = await read(service, "/webhook-test/shapes")
    async with service.client.post("/api/requests/redeliver", json={"callback_status": "SUCCESS"}) as answer:
        redelivered = await answer.json()
        assert redelivered["ids"] == [id]
    row = await store.get_one(service.engine.pool, UUID(id))
    assert row is not None
    for shape, answered in [
        (shapes.Request, ended),
        (shapes.Result, ended["result_payload"]),
        (shapes.Links, ended["links"]),
        (shapes.CallbackLog, log),
        (shapes.Inbox, inbox),
        (shapes.Arrival, inbox["items"][0]),
        (shapes.Redelivered, redelivered),
        (shapes.Ledger, (await read(service, "/api/ledgers"))["items"][0]),
        (shapes.RequestPage, await read(service, "/api/requests")),
        (shapes.Readiness, await read(service, "/readyz")),
        (shapes.Health, await read(service, "/healthz")),
        (shapes.CallbackEvent, callback_event(row, "")),
    ]:
        members = {field.data_key or name: field for name, field in shape().fields.items()}
        assert set(answered) <= members.keys(), shape
        assert {name for name, field in members.items() if field.required} <= set(answered), shape


async def test_every_header_of_an_answer_is_declared(settings: Settings) -> None:
    async with serving(replace(settings, workers=1, sync_timeout=0.1, sync_rate=11)) as service:
        spec = await read(service, "/openapi.json")
        answers: set[tuple[str, str, int]] = set()

        async def ask(method: str, template: str, *, body: Any = None, **headers: str) -> Any:
            headers = {name.replace("_", "-"): value for name, value in headers.items()}
            path = template.format(id=id, file=f"{id}.csv", inbox="mine")
            async with service.client.request(method, path, json=body, headers=headers) as answer:
                await answer.read()
            declared = spec["paths"][template.split("?")[0]][method.lower()]["responses"][str(answer.status)]
            known = {name.lower() for name in declared["headers"].keys() | GENERAL}
            assert {name.lower() for name in answer.headers} <= known, (template, answer.status)
            required = {name for name in declared["headers"] if spec["components"]["headers"][name].get("required")}
            assert required <= answer.headers.keys(), (template, answer.status)
            answers.add((method, template, answer.status))
            return answer

        id = await submit(service, "/api/sync", TINY)
        await ask("POST", "/api/sync", body=TINY, X_Idempotency_Key="once")
        await ask("POST", "/api/sync", body=TINY, X_Idempotency_Key="once")
        await ask("POST", "/api/sync", body=TINY, Prefer="respond-async")
        await ask("POST", "/api/sync", body={"surprise": 1})
        await ask("POST", "/api/sync", body=TINY, Content_Type="text/plain")
        await ask("POST", "/api/sync", body=TINY, Content_Encoding="compress")
        for _ in range(2):
            await ask("POST", "/api/sync", body=FAILING, X_Idempotency_Key="failing")
        await ask("POST", "/api/async", body=TINY, Prefer="wait=5")
        await ask("POST", "/api/async", body=TINY, Idempotency_Key="x")
        await ask("GET", "/api/requests?limit=1")
        await ask("GET", "/api/requests/{id}", traceparent=f"00-{'1' * 32}-{'1' * 16}-01")
        await ask("POST", "/api/requests/{id}/cancel")
        await ask("GET", "/api/reports/{file}")
        await ask("GET", "/api/reports/{file}", Range="bytes=0-9")
        await ask("GET", "/api/reports/{file}", Range="bytes=999999-")
        await ask("GET", "/api/reports/{file}", If_None_Match="*")
        await ask("GET", "/api/reports/{file}", If_Match='"other"')
        await ask("GET", "/metrics")
        slow = await submit(service, "/api/async", held_for(60_000))
        await processing(service, slow)
        await ask("POST", "/api/sync", body=TINY)
        for _ in range(3):
            await ask("POST", "/api/sync", body=TINY)
        async with service.client.post(f"/api/requests/{slow}/cancel") as answer:
            await answer.read()
        assert {status for _, _, status in answers} >= {200, 202, 206, 304, 409, 412, 415, 416, 422, 429, 500, 503}


@pytest.mark.parametrize(
    "folder",
    [Path(shapes.__file__).parents[1] / "static" / "vendor", Path(__file__).parents[2] / "browser" / "vendor"],
    ids=["service", "tests"],
)
def test_vendored_files_are_what_their_package_has(folder: Path) -> None:
    listed = {folder / "vendor.json"}
    for package in json.loads((folder / "vendor.json").read_text()):
        assert package.keys() == {"name", "version", "licence", "integrity", "files"}
        assert package["integrity"].startswith("sha512-")
        assert any(name.startswith("LICENSE") for name in package["files"])
        for name, integrity in package["files"].items():
            file = folder / f"{package['name']}-{package['version']}" / name
            digest = base64.b64encode(hashlib.sha384(file.read_bytes()).digest()).decode()
            assert integrity == f"sha384-{digest}"
            listed.add(file)
    assert {file for file in folder.rglob("*") if file.is_file()} == listed


async def test_it_is_made_before_anybody_asks(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("it is made while somebody waits")

    monkeypatch.setattr("reportsim.api.openapi.page.document", refuse)
    async with service.client.get("/openapi.json") as answer:
        text = await answer.text()
    assert f"{service.url}/webhook-test/mine" in text
    assert "demo-receiver.invalid" not in text
