"""The headers and path parameters of the API, as `/openapi.json` describes them."""

from typing import Any, Final

from reportsim.api.openapi.operation import JSON, RATE_LIMIT_HEADERS, TIMING_HEADERS
from reportsim.reports.files.folder import NAME
from reportsim.schemas.demo_receiver import INBOX_NAME

Json = dict[str, Any]

TEXT: Final[Json] = {"type": "string"}
WHOLE: Final[Json] = {"type": "integer", "minimum": 0}


END: Final = r"\Z"


def pattern(expression: str) -> str:
    """A regular expression that is matched as a whole, as JSON Schema writes it."""
    return f"^(?:{expression.removesuffix(END)})$"


PATH_PARAMETERS: Final[dict[str, Json]] = {
    "id": {"schema": {"type": "string", "format": "uuid"}},
    "file": {"schema": {"type": "string", "pattern": pattern(NAME.pattern)}, "description": "As the result names it."},
    "inbox": {"schema": {"type": "string", "pattern": pattern(INBOX_NAME.pattern)}, "example": "mine"},
}

REQUEST_HEADERS: Final[dict[str, Json]] = {
    "X-Idempotency-Key": {
        "description": "Names this request as long as its row is stored: a repetition gets the first response again.",
        # Leading and trailing blanks are not part of a header's value.
        "schema": {"type": "string", "pattern": "^[!-~](?:[ -~]{0,253}[!-~])?$"},
    },
    "Idempotency-Key": {
        "description": "Like `X-Idempotency-Key`, in the form of the standard: a string in quotes (RFC 9651; parameters"
        " are ignored), or without quotes. If both headers are sent, they must be equal.",
        "schema": {
            "type": "string",
            "pattern": r'^(?:"(?:[ !#-\[\]-~]|\\["\\]){1,255}"|[!#-~](?:[ -~]{0,253}[!-~])?)$',
        },
    },
    "Prefer": {
        "description": "`respond-async`: respond at once; `wait=N`: wait up to N seconds, at most 20 (RFC 7240).",
        "schema": TEXT,
    },
    "traceparent": {
        "description": "The trace of this request and its callback (W3C Trace Context).",
        "schema": TEXT,
    },
    "X-Request-Id": {
        "description": "An id of your own for the log: up to 128 letters, digits and `._~+/=@:-`.",
        "schema": TEXT,
    },
    "webhook-attempt": {"description": "Selects the step of the script; 1 if it is not a number.", "schema": TEXT},
    "Last-Event-ID": {"description": "Where to resume; takes precedence over the parameter.", "schema": TEXT},
    "If-Match": {"description": "The ETag that the file must have, or `*`.", "schema": TEXT},
    "If-Unmodified-Since": {
        "description": "The date after which the file must not have changed; If-Match takes precedence.",
        "schema": TEXT,
    },
    "If-Modified-Since": {"description": "The date of your copy; If-None-Match takes precedence.", "schema": TEXT},
    "If-None-Match": {"description": "The ETag of the copy that you have.", "schema": TEXT},
    "Range": {
        "description": "One range of bytes; multiple ranges and other units are ignored.",
        "schema": TEXT,
    },
    "If-Range": {"description": "The ETag of the copy that the range completes.", "schema": TEXT},
}

RESPONSE_HEADERS: Final[dict[str, Json]] = {
    "X-Request-Id": {"description": "The request's id in the log: the caller's, if it is valid.", "schema": TEXT},
    "RateLimit": {"description": 'The remaining quota, like `"sync";r=29;t=2`.', "schema": TEXT},
    "RateLimit-Policy": {"description": 'The quota, like `"sync";q=30;w=60`.', "schema": TEXT},
    "Retry-After": {"description": "Seconds until a retry makes sense.", "schema": WHOLE},
    "Location": {
        "description": "The URL of the resource.",
        "required": True,
        "schema": {"type": "string", "format": "uri-reference"},
    },
    "Link": {"description": 'The next page (`rel="next"`), or the running request (`rel="status"`).', "schema": TEXT},
    "Idempotent-Replayed": {"description": "The response is a replay of the first one.", "schema": {"const": "true"}},
    "Preference-Applied": {"description": "The preferences that were applied.", "schema": TEXT},
    "Server-Timing": {"description": "`queue`, `service` and `total` in milliseconds.", "schema": TEXT},
    "ETag": {"description": "The SHA-256 of the file, in quotes.", "required": True, "schema": TEXT},
    "Last-Modified": {"description": "When the report was generated.", "required": True, "schema": TEXT},
    "Repr-Digest": {"description": "The SHA-256 of the whole file (RFC 9530).", "required": True, "schema": TEXT},
    "Accept-Ranges": {"required": True, "schema": {"const": "bytes"}},
    "Content-Disposition": {"required": True, "schema": TEXT},
    "Content-Range": {"description": "The range, and the size of the file.", "required": True, "schema": TEXT},
    "Vary": {"description": "The headers that the response depends on.", "schema": TEXT},
    "Accept-Post": {"description": "The accepted media type, if another one was sent.", "schema": {"const": JSON}},
    "Accept-Encoding": {"description": "The accepted encodings, if another one was sent.", "schema": TEXT},
}

HEADERS_OF_STATUS: Final[dict[int, tuple[str, ...]]] = {
    409: ("Retry-After", "Link"),
    415: ("Accept-Post", "Accept-Encoding"),
    416: ("Content-Range",),
    429: ("Retry-After", *RATE_LIMIT_HEADERS),
    503: ("Retry-After",),
}

# These problems are the results of sync requests, with the headers of the 200.
HEADERS_OF_PROBLEM: Final[dict[str, tuple[str, ...]]] = dict.fromkeys(
    ("cancelled", "report-failed"), ("Idempotent-Replayed", "Preference-Applied", *TIMING_HEADERS)
)

CALLBACK_HEADERS: Final = {
    "webhook-id": "The same on every attempt and redelivery: use it to detect duplicates.",
    "webhook-timestamp": "Seconds since 1970.",
    "webhook-signature": "By Standard Webhooks, of `id.timestamp.body`.",
    "webhook-attempt": "1, 2, 3, …",
}
