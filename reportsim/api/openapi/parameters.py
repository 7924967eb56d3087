"""The headers and path parameters of the API, as `/openapi.json` describes them."""

from typing import Any, Final

from reportsim.api.openapi.operations import ENDED, JSON, LIMITED
from reportsim.demo_receiver.handlers import INBOX
from reportsim.reports.files.folder import NAME

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
    "inbox": {"schema": {"type": "string", "pattern": pattern(INBOX.pattern)}, "example": "mine"},
}

REQUEST_HEADERS: Final[dict[str, Json]] = {
    "X-Idempotency-Key": {
        "description": "Names this request for as long as its row is kept: a repetition gets the first answer again.",
        # Blanks at either end are no part of a header's value.
        "schema": {"type": "string", "pattern": "^[!-~](?:[ -~]{0,253}[!-~])?$"},
    },
    "Idempotency-Key": {
        "description": "The same in the standard's form, a string in quotes (RFC 9651; parameters are ignored), or"
        " without quotes. If both headers are there, they must be equal.",
        "schema": {
            "type": "string",
            "pattern": r'^(?:"(?:[ !#-\[\]-~]|\\["\\]){1,255}"|[!#-~](?:[ -~]{0,253}[!-~])?)$',
        },
    },
    "Prefer": {
        "description": "`respond-async`: do not let me wait; `wait=N`: I would wait N seconds, 20 at most (RFC 7240).",
        "schema": TEXT,
    },
    "traceparent": {
        "description": "The trace that this is part of (W3C Trace Context); its callback stays in it.",
        "schema": TEXT,
    },
    "X-Request-Id": {
        "description": "An id of your own for the log: up to 128 letters, digits and `._~+/=@:-`.",
        "schema": TEXT,
    },
    "webhook-attempt": {"description": "Picks the step of the script; 1 if it is no number.", "schema": TEXT},
    "Last-Event-ID": {"description": "Where to resume; goes before the parameter.", "schema": TEXT},
    "If-Match": {"description": "The ETag that the file must have, or `*`.", "schema": TEXT},
    "If-Unmodified-Since": {"description": "When it must be no newer than; after If-Match.", "schema": TEXT},
    "If-Modified-Since": {"description": "When your copy was made; after If-None-Match.", "schema": TEXT},
    "If-None-Match": {"description": "The ETag of the copy that you have.", "schema": TEXT},
    "Range": {
        "description": "One range of bytes; several, or another unit, are ignored.",
        "schema": TEXT,
    },
    "If-Range": {"description": "The ETag of the copy that the range completes.", "schema": TEXT},
}

ANSWER_HEADERS: Final[dict[str, Json]] = {
    "X-Request-Id": {"description": "The request's id in the log: the caller's own, if it is sane.", "schema": TEXT},
    "RateLimit": {"description": 'What is left, like `"sync";r=29;t=2`.', "schema": TEXT},
    "RateLimit-Policy": {"description": 'The quota, like `"sync";q=30;w=60`.', "schema": TEXT},
    "Retry-After": {"description": "Seconds until it is worth to come back.", "schema": WHOLE},
    "Location": {
        "description": "Where to look.",
        "required": True,
        "schema": {"type": "string", "format": "uri-reference"},
    },
    "Link": {"description": 'The next page (`rel="next"`), or the running request (`rel="status"`).', "schema": TEXT},
    "Idempotent-Replayed": {"description": "The first answer, given again.", "schema": {"const": "true"}},
    "Preference-Applied": {"description": "The preferences that were followed.", "schema": TEXT},
    "Server-Timing": {"description": "`queue`, `service` and `total` in milliseconds.", "schema": TEXT},
    "ETag": {"description": "The SHA-256 of the file, in quotes.", "required": True, "schema": TEXT},
    "Last-Modified": {"description": "When the report was made.", "required": True, "schema": TEXT},
    "Repr-Digest": {"description": "The SHA-256 of the whole file (RFC 9530).", "required": True, "schema": TEXT},
    "Accept-Ranges": {"required": True, "schema": {"const": "bytes"}},
    "Content-Disposition": {"required": True, "schema": TEXT},
    "Content-Range": {"description": "Which bytes of how many.", "required": True, "schema": TEXT},
    "Vary": {"description": "What else the answer depends on.", "schema": TEXT},
    "Accept-Post": {"description": "The media type that is taken, where another was sent.", "schema": {"const": JSON}},
    "Accept-Encoding": {"description": "The codings that are taken, where another was sent.", "schema": TEXT},
}

HEADERS_OF_STATUS: Final[dict[int, tuple[str, ...]]] = {
    409: ("Retry-After", "Link"),
    415: ("Accept-Post", "Accept-Encoding"),
    416: ("Content-Range",),
    429: ("Retry-After", *LIMITED),
    503: ("Retry-After",),
}

# The ends of a sync request are answers like its 200.
HEADERS_OF_PROBLEM: Final[dict[str, tuple[str, ...]]] = dict.fromkeys(
    ("cancelled", "report-failed"), ("Idempotent-Replayed", "Preference-Applied", *ENDED)
)

CALLBACK_HEADERS: Final = {
    "webhook-id": "The same on every attempt, also after a redelivery: tell duplicates by it.",
    "webhook-timestamp": "Seconds since 1970.",
    "webhook-signature": "By Standard Webhooks, of `id.timestamp.body`.",
    "webhook-attempt": "1, 2, 3, …",
}
