"""What schemathesis is told beside its configuration: how good data are made, and which answers they may get.

Some rules are about what is stored, or about two values together, and no schema can say them. Good data are made to
keep these rules before they are sent, so that every refusal that is left has a reason. Bad data are sent as they are.
"""

import ast
import functools
import json
import os
import re
import threading
from collections import deque
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import schemathesis

# CPython 3.11 counts the depth of all threads' parsing together, and then says "recursion depth mismatch".
ONE_AT_A_TIME = threading.RLock()
parse = ast.parse


@functools.wraps(parse)
def parse_alone(*given: Any, **named: Any) -> Any:
    with ONE_AT_A_TIME:
        return parse(*given, **named)


ast.parse = parse_alone

SYNC: Final = "/api/sync"
RUN: Final = "/api/benchmark/both"
SUBMISSIONS: Final = {SYNC, "/api/async", "/api/callbacks/simulate-failures", RUN}
LIST: Final = "/api/requests"
LOGS: Final = "/api/requests/{id}/callback-logs"
# The first page of a log of two attempts, which the test has made, and the cursor of the second.
LOG_ID: Final = os.environ.get("SCHEMATHESIS_LOG_ID", "")
LOG_CURSOR: Final = os.environ.get("SCHEMATHESIS_LOG_CURSOR", "")
DOWNLOAD: Final = "/api/reports/{file}"
EXPORTS: Final = {
    f"/api/benchmark/{{id}}/{name}" for name in ("report.html", "replay.html", "samples.csv", "percentiles.hgrm")
}
PERCENTILES: Final = "/api/benchmark/{id}/percentiles.hgrm"
RUNS: Final = "/api/benchmark"
COMPARISON: Final = "/api/benchmark/{id}/comparison"
RECEIVER: Final = "/webhook-test/{inbox}"

PLAIN_KEY: Final = "X-Idempotency-Key"
STANDARD_KEY: Final = "Idempotency-Key"
LEDGERS: Final = {"demo", "tiny"}
RANGE: Final = re.compile(r"bytes=\d*-(\d*)", re.ASCII | re.IGNORECASE)
SCRIPT: Final = re.compile("(?:[2-5][0-9]{2}|timeout|reset|slow)(?:,(?:[2-5][0-9]{2}|timeout|reset|slow))*", re.ASCII)
FAR_OFF: Final = "Fri, 31 Dec 9999 23:59:59 GMT"

# Where answers led to: the queries of pages that come next, files, and runs of the benchmark.
pages: Final[deque[dict[str, Any]]] = deque(maxlen=100)
files: Final[deque[str]] = deque(maxlen=100)
runs: Final[deque[str]] = deque(maxlen=100)
# The submission that each idempotency key was first sent with.
keys: Final[dict[str, str]] = {}


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    """Remembers where an answer leads to."""
    if response.status_code != 200 or not is_positive(case) or not is_ours(response, case):
        return
    if case.operation.path == LIST:
        url = json.loads(response.content)["next"]
        if url is not None:
            (cursor,) = parse_qs(urlsplit(url).query)["cursor"]
            pages.append({**case.query, "cursor": cursor})
    elif case.operation.path == SYNC:
        files.extend(re.findall(r"/api/reports/([0-9a-f-]+\.csv)", response.text))
    elif case.operation.path == RUNS:
        runs.extend(run["id"] for run in json.loads(response.content)["items"])


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Makes good data keep the rules that no schema can say, in new containers, as cases may share theirs."""
    path = case.operation.path
    owns_key = claim_key(case) if path in SUBMISSIONS else True
    if path == RECEIVER:
        play_successes(case)
    if not is_positive(case):
        return
    if path == LIST and "cursor" in case.query:
        follow_a_page(case)
    elif path == LOGS and "cursor" in case.query:
        case.path_parameters, case.query = {"id": LOG_ID}, {**case.query, "cursor": LOG_CURSOR}
    elif path == DOWNLOAD and case.headers:
        ask_for_what_is_there(case)
    elif path == COMPARISON:
        compare_what_is_there(case)
    elif path == PERCENTILES and "side" in case.query and runs:
        case.path_parameters = {"id": runs[-1]}
    elif path in SUBMISSIONS:
        submit_what_can_be_made(case)
        name_one_key(case, owns_key)


def follow_a_page(case: Any) -> None:
    """A cursor has a hash of its filters: instead of one made up, the page that an answer led to."""
    without = {name: value for name, value in case.query.items() if name != "cursor"}
    case.query = dict(pages[-1]) if pages else without


def ask_for_what_is_there(case: Any) -> None:
    """Conditions and ranges are about a file: it is there, a precondition holds, and a range begins within."""
    if files:
        case.path_parameters = {"file": files[-1]}
    headers = case.headers.copy()
    if "If-Match" in headers:
        headers["If-Match"] = "*"
    if "If-Unmodified-Since" in headers:
        headers["If-Unmodified-Since"] = FAR_OFF
    if match := RANGE.fullmatch(headers.get("Range", "")):
        headers["Range"] = f"bytes=0-{match[1]}"
    case.headers = headers


def compare_what_is_there(case: Any) -> None:
    """A run is compared with one that is there."""
    if runs:
        case.path_parameters, case.query = {"id": runs[-1]}, {"with": runs[-1]}


def play_successes(case: Any) -> None:
    """A script makes the receiver fail, or fall silent, as asked: what can be played has only successes.

    That holds for bad data, too: it is something else that is bad about them.
    """
    given = case.query.get("script", "")
    text = str(given[0] if isinstance(given, list) and len(given) == 1 else given)
    if SCRIPT.fullmatch(text):
        case.query = {**case.query, "script": re.sub("[^,]+", "200", text)}


def submit_what_can_be_made(case: Any) -> None:
    """A ledger is there, and an interval is not empty."""
    if not isinstance(case.body, dict):
        return
    body = dict(case.body)
    if body.get("ledger", "tiny") not in LEDGERS:
        body["ledger"] = "tiny"
    if "from" in body and "to" in body:
        body["from"], body["to"] = sorted([body["from"], body["to"]])
        if body["from"] == body["to"]:
            del body["to"]
    if body != case.body:
        case.body = body


def claim_key(case: Any) -> bool:
    """Whether no other submission has used the case's idempotency key before, or it has none."""
    if PLAIN_KEY in case.headers:
        key = case.headers[PLAIN_KEY]
    elif STANDARD_KEY in case.headers:
        key = case.headers[STANDARD_KEY]
        if key.startswith('"'):
            key = re.sub(r"\\(.)", r"\1", key[1:-1])
    else:
        return True
    submission = f"{case.operation.path} {json.dumps(case.body, sort_keys=True, default=str)}"
    return keys.setdefault(key, submission) == submission


def name_one_key(case: Any, owns_key: bool) -> None:
    """A key belongs to its first submission, others go without; both headers name the same."""
    headers = case.headers.copy()
    if not owns_key:
        headers.pop(PLAIN_KEY, None)
        headers.pop(STANDARD_KEY, None)
    elif PLAIN_KEY in headers and STANDARD_KEY in headers:
        escaped = re.sub(r'(["\\])', r"\\\1", headers[PLAIN_KEY])
        headers[STANDARD_KEY] = f'"{escaped}"'
    if headers != case.headers:
        case.headers = headers


def is_positive(case: Any) -> bool:
    """Whether a case is good data."""
    return bool(case.meta and case.meta.generation.mode.is_positive)


def is_ours(response: Any, case: Any) -> bool:
    """Whether the operation itself was asked, not another method of its path."""
    return bool(response.request.method == case.operation.method.upper())


ASKED_FOR: Final = "/problems/report-failed"
# `unavailable` is also a database that is away, or a stop: those are no excuse here.
MEASURING: Final = "A race or benchmark is running, and this would disturb its measurements."
NO_PLACE: Final = re.compile(r"There are already [0-9,]+ sync requests, the maximum\.", re.ASCII)
BEYOND_SCHEMAS: Final = {
    404: {"/problems/not-found"},
    409: {"/problems/conflict", "/problems/cancelled", "/problems/idempotency-in-progress"},
    422: {"/problems/invalid-parameters"},
}


@schemathesis.check
def only_for_a_reason(ctx: Any, response: Any, case: Any) -> None:
    """A 5xx of sync that was asked for or says that it is full; a 4xx on good data for what no schema says."""
    status = response.status_code
    problem = json.loads(response.content or b"{}") if status >= 400 else {}
    kind = problem.get("type")
    if status == 503 and case.operation.path in EXPORTS:
        assert problem["detail"] == MEASURING, problem
        return
    if status == 429 and case.operation.path in EXPORTS:
        assert problem["violated-policies"] == ["exports"], problem
        return
    if status >= 500:
        assert case.operation.path == SYNC, problem
        assert status in {500, 503}, problem
    if status == 500:
        assert kind == ASKED_FOR, problem
        assert case.body.get("simulate", {}).get("failure_rate", 0) > 0, problem
        assert problem["simulated"] is True, problem
    elif status == 503:
        assert kind == "/problems/no-capacity" or NO_PLACE.fullmatch(problem["detail"]), problem
    elif status >= 400 and is_positive(case) and is_ours(response, case):
        assert kind in BEYOND_SCHEMAS.get(status, ()), problem


@schemathesis.check
class every_parameter_is_taken:
    """No parameter of a query or a header was only ever left out, or refused: what is done to good data leaves it in.

    A run of the benchmark is taken, too, when another one is still running.
    """

    def __init__(self) -> None:
        """Nothing has been asked."""
        self.declared: set[tuple[str, str]] = set()
        self.taken: set[tuple[str, str]] = set()

    def after_response(self, ctx: Any, response: Any, case: Any) -> None:
        """Notes the parameters of good data that were not refused."""
        operation = case.operation
        names = [parameter.name for group in (operation.query, operation.headers) for parameter in group]
        self.declared |= {(operation.label, name) for name in names}
        taken = response.status_code < 400 or (response.status_code == 409 and operation.path == RUN)
        if taken and is_positive(case) and is_ours(response, case):
            self.taken |= {(operation.label, name) for name in names if name in case.query or name in case.headers}

    def after_run(self, ctx: Any) -> None:
        """Compares."""
        assert not self.declared - self.taken, sorted(self.declared - self.taken)
