"""A check of our own: what the configuration allows more than the defaults, it allows for its reason alone."""

import ast
import functools
import json
import threading
from typing import Any

import schemathesis

# CPython 3.11 counts the depth of all threads' parsing together, and then says "recursion depth mismatch".
ONE_AT_A_TIME = threading.RLock()
parse = ast.parse


@functools.wraps(parse)
def parse_alone(*given: Any, **named: Any) -> Any:
    with ONE_AT_A_TIME:
        return parse(*given, **named)


ast.parse = parse_alone

ASKED_FOR = "/problems/report-failed"
FULL = {"/problems/no-capacity", "/problems/unavailable"}
BEYOND_SCHEMAS = {
    400: {"/problems/invalid-cursor", "/problems/invalid-idempotency-key"},
    404: {"/problems/not-found"},
    409: {"/problems/conflict", "/problems/cancelled", "/problems/idempotency-in-progress"},
    412: {"/problems/precondition-failed"},
    422: {"/problems/invalid-parameters", "/problems/idempotency-mismatch"},
}


@schemathesis.check
def only_for_a_reason(ctx: Any, response: Any, case: Any) -> None:
    """A 5xx that was asked for or says that the service is full; a 4xx on good data for what no schema says."""
    status = response.status_code
    problem = json.loads(response.content or b"{}") if status >= 400 else {}
    kind = problem.get("type")
    if status == 500:
        assert kind == ASKED_FOR, problem
        assert case.body.get("simulate", {}).get("failure_rate", 0) > 0, problem
        assert problem["simulated"] is True, problem
    elif status >= 500:
        assert status == 503, problem
        assert kind in FULL, problem
    elif status >= 400 and case.meta and case.meta.generation.mode.is_positive and is_ours(response, case):
        assert kind in BEYOND_SCHEMAS.get(status, ()), problem


def is_ours(response: Any, case: Any) -> bool:
    """Whether the operation itself was asked, not another method of its path."""
    return bool(response.request.method == case.operation.method.upper())
