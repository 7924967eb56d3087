"""The query parameters of the demo receiver, and the steps of its scripts."""

import re
from typing import Final

from marshmallow import fields, validate

from reportsim.schemas.strict import Strict

STEPS: Final = ("timeout", "reset", "slow")
STEP_PATTERN: Final = rf"(?:[2-5][0-9]{{2}}|{'|'.join(STEPS)})"
INBOX_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
MAX_STEPS: Final = 100


class ScriptQuery(Strict):
    """How attempts are answered."""

    script = fields.String(
        load_default="",
        validate=validate.Regexp(
            rf"(?:{STEP_PATTERN}(?:,{STEP_PATTERN}){{0,{MAX_STEPS - 1}}})?\Z",
            error=f"A script is at most {MAX_STEPS} statuses, timeout, reset or slow, separated by commas.",
        ),
        metadata={
            "description": "One step per attempt, separated by commas: a status; `timeout`, no response for a minute;"
            " `reset`, a closed connection; `slow`, a body that takes a minute. Afterwards, 200."
        },
    )


class InboxQuery(Strict):
    """Asks for JSON regardless of Accept, or for only the live part of the page."""

    format = fields.String(validate=validate.Equal("json"))
    fragment = fields.String(validate=validate.Equal("inbox"))
