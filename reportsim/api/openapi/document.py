"""Builds the OpenAPI 3.1 document from the routes, the docstrings of their handlers, the operations and schemas."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final

from aiohttp import web
from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.common import make_schema_key
from marshmallow import Schema, fields

from reportsim import __version__
from reportsim.api.openapi.operation import JSON, RATE_LIMIT_HEADERS, Operation, ResponseSpec
from reportsim.api.openapi.operations import OPERATIONS
from reportsim.api.openapi.parameters import (
    CALLBACK_HEADERS,
    HEADERS_OF_PROBLEM,
    HEADERS_OF_STATUS,
    PATH_PARAMETERS,
    REQUEST_HEADERS,
    RESPONSE_HEADERS,
    TEXT,
    pattern,
)
from reportsim.core.problems import KINDS
from reportsim.reports.catalog import CATALOG
from reportsim.reports.fields import Text
from reportsim.schemas import benchmarks
from reportsim.schemas import responses as schemas
from reportsim.schemas.benchmark_plan import BenchmarkPlan
from reportsim.schemas.redelivery import Redelivery
from reportsim.schemas.service_time import PARAMETERS_OF_DISTRIBUTION, ServiceTime
from reportsim.schemas.strict import Strict
from reportsim.schemas.submission_parser import schema_for
from reportsim.schemas.submissions import (
    DEFAULT_REPORT,
    EXCLUDED_BY_SCRIPT,
    AsyncSubmission,
    FailingSubmission,
    ReportRequest,
    Submission,
)
from reportsim.web.responses import PROBLEM_JSON

Json = dict[str, Any]

PAGE: Final = "text/html"
DESCRIPTION: Final = """\
Financial reports over a double-entry ledger, two ways: block and wait, or answer 202 and call back.

Errors are problem documents (RFC 9457); their `type` is also a page that explains them. Every response has an
`X-Request-Id`, which is also in the log. Submissions may carry an idempotency key: a repetition gets the first
response again, byte for byte."""

# The problems of every request, and of every POST.
COMMON_PROBLEMS: Final = (
    *("malformed-request", "uri-too-long", "expectation-failed", "misdirected", "header-too-large"),
    *("internal-error", "unavailable"),
)
POST_PROBLEMS: Final = ("forbidden-origin", "own-callback")
# The statuses that are decided before the rate limit, and have no RateLimit headers.
BEFORE_LIMITS: Final = frozenset({403, 414, 417, 421, 431})
# The operations on a request, or a benchmark, by its id.
LINKED_OPERATIONS: Final[Mapping[type[Schema], tuple[str, ...]]] = {
    schemas.Request: ("get_request", "get_callback_logs", "cancel_request", "redeliver"),
    benchmarks.Benchmark: (
        "get_benchmark",
        "cancel_benchmark",
        "show_report",
        "download_replay",
        "download_samples",
        "download_percentiles",
    ),
}
# Failures are given as a script, or by the other fields.
SCRIPT_DEPENDENCIES: Final = {
    "script": {"properties": dict.fromkeys(EXCLUDED_BY_SCRIPT, False)},
    "status_code": {"properties": {"fault": {"const": "status"}}},
}


def document(app: web.Application, receiver: str) -> Json:
    """The document of an application; `receiver` is the URL of its demo receiver, for examples."""
    plugin = MarshmallowPlugin()
    spec = APISpec(
        title="reportsim",
        version=__version__,
        openapi_version="3.1.0",
        plugins=[plugin],
        info={"description": DESCRIPTION, "license": {"name": "MIT", "identifier": "MIT"}},
    )
    converter = plugin.converter
    assert converter is not None
    converter.add_attribute_function(make_portable)  # type: ignore[no-untyped-call]
    for name, header in RESPONSE_HEADERS.items():
        spec.components.header(name, header)
    add_service_time(spec, converter)
    for base in (Submission, AsyncSubmission, FailingSubmission, BenchmarkPlan):
        add_submission(spec, converter, base)
    for route in app.router.routes():
        operation = OPERATIONS.get((route.method, route.resource.canonical)) if route.resource else None
        if operation is not None and route.resource is not None:
            described = describe_operation(route, operation, converter, receiver)
            spec.path(path=route.resource.canonical, operations={route.method.lower(): described})
    return spec.to_dict()


def make_portable(_: Any, field: fields.Field[Any], ret: Json) -> Json:
    """Converts patterns to JSON Schema; a string without one must not contain NUL."""
    if "pattern" in ret:
        return {"pattern": pattern(ret["pattern"])}
    return {"pattern": "^[^\\u0000]*$"} if isinstance(field, Text) and "enum" not in ret else {}


def add_service_time(spec: APISpec, converter: Any) -> None:
    """Adds each distribution with exactly its own parameters."""
    converter.refs[make_schema_key(ServiceTime())] = "ServiceTime"
    properties = converter.fields2jsonschema(ServiceTime().fields)["properties"]
    kinds = [
        {
            "type": "object",
            "title": distribution,
            "properties": {
                "distribution": {"const": distribution},
                **{name: properties[name] for name in properties if name in names},
            },
            "required": ["distribution", *sorted(names)],
            "additionalProperties": False,
        }
        for distribution, names in PARAMETERS_OF_DISTRIBUTION.items()
    ]
    spec.components.schema("ServiceTime", {"oneOf": kinds, "description": single_line(ServiceTime.__doc__)})


def add_submission(spec: APISpec, converter: Any, base: type[ReportRequest]) -> None:
    """Adds a submission, with one variant per report that has only the options of that report."""
    refs = []
    for report in CATALOG.values():
        variant = converter.schema2jsonschema(schema_for(base, report.name))
        # Code generators name their classes after titles.
        variant["title"] = f"{base.__name__}: {report.title}"
        shared = {"report_type": {"const": report.name}, "ledger": variant["properties"]["ledger"]}
        variant["properties"] = shared | {
            name: variant["properties"][name] for name in variant["properties"] if name not in shared
        }
        if report.name != DEFAULT_REPORT:
            variant["required"] = ["report_type"]
        if base is FailingSubmission:
            variant["dependentSchemas"] = SCRIPT_DEPENDENCIES
        name = f"{base.__name__}.{report.name}"
        spec.components.schema(name, variant)
        refs.append({"$ref": f"#/components/schemas/{name}"})
    spec.components.schema(base.__name__, {"oneOf": refs, "description": single_line(base.__doc__)})


def describe_operation(route: web.AbstractRoute, operation: Operation, converter: Any, receiver: str) -> Json:
    """One operation object."""
    assert route.resource is not None
    first, _, rest = (route.handler.__doc__ or "").strip().partition("\n")
    described: Json = {
        "operationId": route.handler.__name__,
        "tags": [operation.tag],
        "summary": first.rstrip("."),
        "parameters": list(parameters(route.resource.canonical, operation, converter)),
        "responses": responses(route.method, operation),
    }
    if rest.strip():
        described["description"] = re.sub(r"\s+", " ", rest).strip()
    if operation.body:
        described["requestBody"] = {
            "content": {
                JSON: {
                    "schema": schema_of(operation.body),
                    "examples": examples(operation.body, receiver),
                }
            }
        }
    if operation.has_callback:
        described["callbacks"] = {"ended": {"{$request.body#/callback_url}": {"post": callback()}}}
    return described


def schema_of(body: type[Strict]) -> Json | type[Strict]:
    """The schema of a body; submissions are referenced as components."""
    return {"$ref": f"#/components/schemas/{body.__name__}"} if issubclass(body, ReportRequest) else body


def parameters(path: str, operation: Operation, converter: Any) -> Iterable[Json]:
    """The parameters in the path, the query and the headers."""
    for name in re.findall(r"{(\w+)}", path):
        yield {"in": "path", "name": name, "required": True, **PATH_PARAMETERS[name]}
    if operation.query:
        yield from converter.schema2parameters(operation.query(), location="query")
    for name in operation.headers:
        yield {"in": "header", "name": name, **REQUEST_HEADERS[name]}


def responses(method: str, operation: Operation) -> Json:
    """The responses by status; a status may have both a response and problems."""
    found: Json = {}
    for response in operation.responses:
        content = {response.media_type: {"schema": response.schema or TEXT}} if response.media_type else {}
        if response.html:
            content[PAGE] = {"schema": TEXT}
        found[str(response.status)] = {
            "description": response.description,
            "headers": header_refs("X-Request-Id", *response.headers),
            **({"content": content} if content else {}),
            **({"links": links(response)} if response.schema in LINKED_OPERATIONS else {}),
        }
    kinds = defaultdict(list)
    for slug in dict.fromkeys((*operation.problems, *COMMON_PROBLEMS, *(POST_PROBLEMS if method == "POST" else ()))):
        kinds[KINDS[slug].status].append(KINDS[slug])
    for status, group in sorted(kinds.items()):
        limited = RATE_LIMIT_HEADERS if operation.rate_limited and status not in BEFORE_LIMITS else ()
        entry = found.setdefault(str(status), {"description": "", "headers": {}, "content": {}})
        titles = [f"{kind.title} (`{kind.slug}`)." for kind in group]
        entry["description"] = " ".join(filter(None, [entry["description"], *titles]))
        own = [name for kind in group for name in HEADERS_OF_PROBLEM.get(kind.slug, ())]
        entry["headers"] |= header_refs("X-Request-Id", *HEADERS_OF_STATUS.get(status, ()), *own, *limited)
        types = {"properties": {"type": {"enum": [kind.type for kind in group]}}}
        entry["content"][PROBLEM_JSON] = {"schema": {"allOf": [schemas.Problem, types]}}
        if (scripted := found.get("default")) is not None:
            entry["content"] |= scripted["content"]
    return dict(sorted(found.items()))


def links(response: ResponseSpec) -> Json:
    """The links of a request or a benchmark."""
    assert response.schema is not None
    id = "$response.body#/id"
    found = {name: {"id": id} for name in LINKED_OPERATIONS[response.schema]}
    if response.schema is schemas.Request and response.status == 200:
        found["download"] = {"file": "$response.body#/result_payload/file"}
    if response.schema is benchmarks.Benchmark:
        found["compare_benchmarks"] = {"id": id, "with": id}
    return {name: {"operationId": name, "parameters": parameters} for name, parameters in found.items()}


def header_refs(*names: str) -> Json:
    """References to header components."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def examples(body: type[Strict], receiver: str) -> Json:
    """Example bodies."""
    if body is Redelivery:
        value = {"callback_status": "FAILED", "origin": "https://receiver.example.org", "limit": 100}
        return {"receiver": {"summary": "What one receiver has missed, oldest first", "value": value}}
    if body is BenchmarkPlan:
        overload = {"rate": 48, "duration_s": 10, "workers": 8, "client_timeout_s": 1, "slo_s": 1}
        service = {"distribution": "exponential", "mean_ms": 200}
        return {
            "minute": {"summary": "A minute per side at 80 % load", "value": {}},
            "overload": {"summary": "Ten seconds per side in overload", "value": {**overload, "service_time": service}},
        }
    slow = {"service_time": {"distribution": "fixed", "mean_ms": 800}, "failure_rate": 0.1}
    found: dict[str, tuple[str, Json]] = {
        "nothing": ("A trial balance of the demo ledger over its whole window", {}),
        "months": (
            "An income statement by month",
            {"report_type": "income_statement", "from": "2025-01-01", "to": "2025-07-01", "group_by": "month"},
        ),
        "slow": ("A report that takes 0.8 s, and fails one time in ten", {"ledger": "tiny", "simulate": slow}),
    }
    if body is AsyncSubmission:
        found["callback"] = ("With a callback to the demo receiver", {"callback_url": f"{receiver}mine"})
    if body is FailingSubmission:
        found["fault"] = ("Two attempts whose connection is reset, then success", {"failures": 2, "fault": "reset"})
        found["script"] = ("Two different failures", {"script": ["503", "reset"]})
    return {name: {"summary": summary, "value": value} for name, (summary, value) in found.items()}


def callback() -> Json:
    """The request that a receiver of callbacks gets."""
    return {
        "operationId": "receive_callback",
        "summary": "The request has ended",
        "parameters": [
            {"in": "header", "name": name, "required": True, "description": about, "schema": TEXT}
            for name, about in CALLBACK_HEADERS.items()
        ],
        "requestBody": {"required": True, "content": {JSON: {"schema": schemas.CallbackEvent}}},
        "responses": {
            "2XX": {"description": "Delivered."},
            "410": {"description": "No longer wanted: the series ends at once."},
            "default": {"description": "Failed, and retried later; 429 and 503 may say when in Retry-After."},
        },
    }


def single_line(text: str | None) -> str:
    """A docstring on a single line."""
    return re.sub(r"\s+", " ", text or "").strip()
