"""The schemas of responses. They are documentation only; tests validate responses with them."""

import functools
from typing import Any

from marshmallow import EXCLUDE, Schema, fields, validate

from reportsim.core.model import CallbackStatus, Mode, Status
from reportsim.reports.catalog import CATALOG


def required(kind: type[fields.Field[Any]], about: str = "", **options: Any) -> Any:
    """A required member."""
    metadata = {"description": about} if about else {}
    return kind(required=True, metadata=metadata | options.pop("metadata", {}), **options)


string = functools.partial(required, fields.String)
integer = functools.partial(required, fields.Integer, validate=validate.Range(0))
number = functools.partial(required, fields.Float, validate=validate.Range(0))
date_time = functools.partial(required, fields.AwareDateTime)
uuid = functools.partial(required, fields.UUID)
boolean = functools.partial(required, fields.Boolean)
uri_reference = functools.partial(string, metadata={"format": "uri-reference"})


class ResponseSchema(Schema):
    """A schema that may gain members."""

    class Meta:
        """marshmallow's options."""

        unknown = EXCLUDE


class InvalidValue(ResponseSchema):
    """One invalid value, with a JSON Pointer (RFC 6901) into the body or the name of a query parameter."""

    detail = string("What is wrong with the value.")
    pointer = fields.String()
    parameter = fields.String()
    reason = fields.String(metadata={"description": "A code for programs, if a callback URL is refused."})


class Problem(ResponseSchema):
    """A problem document (RFC 9457)."""

    type = uri_reference("The kind of problem; also the URL of a page that explains it.")
    title = string("The kind in words; the same for all problems of a kind.")
    status = required(fields.Integer, "The HTTP status.", validate=validate.Range(400, 599))
    detail = fields.String(metadata={"description": "What happened this time."})
    instance = fields.String(
        metadata={"description": "The request that the problem is about.", "format": "uri-reference"}
    )
    request_id = fields.String(metadata={"description": "The id of the HTTP request in the log."})
    trace_id = fields.String(metadata={"description": "The trace that the request is part of."})
    errors = fields.List(fields.Nested(InvalidValue))
    violated_policies = fields.List(fields.String(), data_key="violated-policies")


class Check(ResponseSchema):
    """An invariant of a report; if it does not hold, the request fails."""

    name = string()
    ok = boolean()


class Timings(ResponseSchema):
    """The parts of the total time, in milliseconds."""

    queue = number("From acceptance until a worker slot is taken; `started_at` is later by the time of the claim.")
    service = number("In the slot.")
    total = number("From acceptance to the end.")


class ReportComparison(ResponseSchema):
    """The days that a report is compared with, their totals, and by how much those of the report are above them."""

    from_ = fields.Date(data_key="from")
    to = fields.Date()
    as_of = fields.Date()
    totals = required(fields.Dict, keys=fields.String(), values=fields.Integer())
    difference = required(fields.Dict, keys=fields.String(), values=fields.Integer())


class Result(ResponseSchema):
    """A finished report. Amounts are integers in minor units: with exponent 2, 1234 are 12.34 of the currency."""

    report_type = string(validate=validate.OneOf(list(CATALOG)))
    file = string("The name of the CSV file.")
    rows = integer("Lines of the CSV file without its header.")
    bytes = integer()
    sha256 = string(validate=validate.Regexp("[0-9a-f]{64}"))
    currency = string(validate=validate.Regexp("[A-Z]{3}"))
    exponent = integer("Decimals of the currency.")
    from_ = fields.Date(data_key="from")
    to = fields.Date()
    as_of = fields.Date()
    totals = required(fields.Dict, keys=fields.String(), values=fields.Integer())
    comparison = fields.Nested(ReportComparison)
    checks = required(fields.List, cls_or_instance=fields.Nested(Check))
    timings_ms = required(fields.Nested, nested=Timings)


class Links(ResponseSchema):
    """Related resources."""

    self = uri_reference()
    report = uri_reference("The CSV file; null until there is one.", allow_none=True)
    callback_logs = uri_reference()


class Request(ResponseSchema):
    """A request and its state, as every endpoint shows it."""

    id = uuid()
    mode = string(validate=validate.OneOf(list(Mode)))
    status = string("COMPLETED and FAILED are final.", validate=validate.OneOf(list(Status)))
    input_payload = required(fields.Dict, "The submission with its defaults filled in.")
    result_payload = required(fields.Nested, "Null until the report is completed.", nested=Result, allow_none=True)
    callback_url = string(allow_none=True)
    callback_status = string(
        "The state of the latest series of attempts.",
        validate=validate.OneOf(list(CallbackStatus)),
        allow_none=True,
    )
    callback_attempts = integer("Attempts of the latest series.")
    idempotency_key = string(allow_none=True)
    created_at = date_time()
    started_at = date_time(allow_none=True)
    completed_at = date_time(allow_none=True)
    error = required(fields.Nested, "Why it failed.", nested=Problem, allow_none=True)
    links = required(fields.Nested, nested=Links)


class RequestPage(ResponseSchema):
    """One page of requests, newest first."""

    items = required(fields.List, cls_or_instance=fields.Nested(Request))
    next = uri_reference("The next page; null on the last one.", allow_none=True)


class Redelivered(ResponseSchema):
    """The requests that are called back again, oldest first."""

    started = integer("The number of series that were started.")
    count = integer("The same number.")
    ids = required(fields.List, cls_or_instance=fields.UUID())
    more = boolean("Whether the limit or the quota was reached, so that the same call may find more.")


class CallbackLog(ResponseSchema):
    """A callback attempt that has ended."""

    id = uuid()
    request_id = uuid()
    series = required(fields.Integer, "1, and one more for each redelivery.", validate=validate.Range(1))
    attempt_number = required(fields.Integer, validate=validate.Range(1))
    status_code = required(fields.Integer, "The status of the receiver's response, if there was one.", allow_none=True)
    success = boolean()
    reason = string("Why it failed, as a code.", allow_none=True)
    error_message = string(allow_none=True)
    response_time_ms = number()
    attempted_at = date_time()
    remote_ip = string("The address of the receiver.", allow_none=True)
    response_excerpt = string(allow_none=True)
    next_attempt_at = date_time(allow_none=True)


class CallbackLogs(ResponseSchema):
    """The callback attempts of a request, oldest first, a page at a time."""

    items = required(fields.List, cls_or_instance=fields.Nested(CallbackLog))
    next = string("The next page; null on the last one.", allow_none=True)


class Ledger(ResponseSchema):
    """A ledger, its window `[from, to)` and its size."""

    name = string()
    currency = string(validate=validate.Regexp("[A-Z]{3}"))
    exponent = integer()
    from_ = required(fields.Date, data_key="from")
    to = required(fields.Date)
    lines = integer()


class Ledgers(ResponseSchema):
    """All ledgers."""

    items = required(fields.List, cls_or_instance=fields.Nested(Ledger))


class Arrival(ResponseSchema):
    """A callback that the demo receiver received."""

    received_at = date_time()
    since_accepted_ms = required(
        fields.Float, "Since its request was accepted, by the signed body; null if not verified.", allow_none=True
    )
    headers = required(fields.Dict, keys=fields.String(), values=fields.String())
    body = string()
    verified = boolean("Whether the signature is valid.")
    duplicate = boolean("Whether a message with this id was accepted before.")
    answer = string("The step of the script that was executed.")


class Inbox(ResponseSchema):
    """The callbacks in an inbox of this replica, oldest first."""

    inbox = string()
    items = required(fields.List, cls_or_instance=fields.Nested(Arrival))


class Received(ResponseSchema):
    """The response of the demo receiver."""

    received = boolean()


class Health(ResponseSchema):
    """The event loop runs."""

    status = string(validate=validate.Equal("ok"))


class Readiness(ResponseSchema):
    """Whether the service can take work, and the checks that fail."""

    status = string(validate=validate.OneOf(["ready", "not ready"]))
    checks = required(fields.Dict, keys=fields.String(), values=fields.Boolean())
    failing = required(fields.List, cls_or_instance=fields.String())


class Event(ResponseSchema):
    """A Server-Sent Event; its data are JSON in one line.

    `requests`: `{"items": […]}` with the newest states of requests that changed. `callback`: a row of the callback log.
    `benchmark`: the progress of a run, with its status and each side's connections, queue and workers. `reset`: the
    id to resume from is no longer known; read the state again.
    """

    id = fields.String(metadata={"description": "The id to resume from, sent as Last-Event-ID."})
    event = fields.String()
    data = fields.String()
    retry = fields.Integer()


class CallbackEvent(ResponseSchema):
    """The body of a callback: the same bytes on every attempt."""

    type = string(validate=validate.OneOf(["report.completed", "report.failed"]))
    timestamp = date_time("When the request ended.")
    data = required(fields.Nested, "The request, its links absolute.", nested=Request)
