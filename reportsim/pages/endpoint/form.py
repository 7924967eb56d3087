"""The form for an endpoint's numbers: its fields, the question that it asks, and the command that asks the same."""

import shlex
from collections.abc import Mapping
from typing import Any, Final

from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate, validates_schema

from reportsim.benchmark.endpoint.capacity import MOST_WORKERS
from reportsim.benchmark.endpoint.process import Question
from reportsim.benchmark.request_log.units import LONGEST_S, Unit
from reportsim.pages.forms import parse_number
from reportsim.pages.service_facts import find_program
from reportsim.reports.fields import Number, Whole

VALUES: Final[Mapping[str, str]] = {
    "durations": "",
    "unit": "",
    "field": "",
    "p50_ms": "",
    "p99_ms": "",
    "rate": "",
    "workers": "8",
    "client_timeout_s": "2",
}
TEXTS: Final = ("durations", "unit", "field")
HIGHEST_RATE: Final = 1e6
LONGEST_NAME: Final = 100
FILE: Final = "durations.txt"
LONGEST_TEXT: Final = 64 * 1024
"""The bytes of the durations as one sees them: in UTF-8, a line break is one."""
# In a form a byte takes up to three, and a line break six: %0D%0A.
MOST_FORM_BYTES: Final = 6 * LONGEST_TEXT + 4 * 1024
NUL: Final = "\0"


class TextTooLong(ValueError):
    """The durations are more than a form takes."""


class EndpointForm(Schema):
    """The fields and their bounds."""

    class Meta:
        """marshmallow's options."""

        unknown = EXCLUDE

    durations = fields.String(load_default="")
    unit = fields.String(load_default="", validate=validate.OneOf(list(Unit)))
    field = fields.String(load_default="", validate=validate.Length(max=LONGEST_NAME))
    p50_ms = Number(load_default=None, validate=validate.Range(0.001, 1000 * LONGEST_S))
    p99_ms = Number(load_default=None, validate=validate.Range(0.001, 1000 * LONGEST_S))
    rate = Number(load_default=None, validate=validate.Range(0.001, HIGHEST_RATE))
    workers = Whole(required=True, validate=validate.Range(1, MOST_WORKERS))
    client_timeout_s = Number(required=True, validate=validate.Range(0.001, 600))

    @validates_schema(skip_on_field_errors=True)
    def check_durations(self, data: dict[str, Any], **_: Any) -> None:
        """The durations are given in one way."""
        typed = {name for name in ("p50_ms", "p99_ms") if data[name] is not None}
        if data["durations"] and typed:
            raise ValidationError({typed.pop(): ["Give either durations, or p50 and p99."]})
        if not data["durations"] and not typed:
            raise ValidationError({"durations": ["Give durations, or p50 and p99."]})
        if len(typed) == 1:
            missing = ({"p50_ms", "p99_ms"} - typed).pop()
            raise ValidationError({missing: ["p50 and p99 belong together."]})


def read_question(form: Mapping[str, str]) -> Question:
    """The question of a form.

    Raises:
        TextTooLong: There are too many durations.
        marshmallow.ValidationError: A value is not valid.
    """
    given = {name: form[name].replace("\r\n", "\n") for name in VALUES if form.get(name)}
    if (size := len(given.get("durations", "").encode())) > LONGEST_TEXT:
        raise TextTooLong(describe_size(f"The text has {size:,} bytes"))
    if unreadable := {name: ["There is a NUL in it."] for name, value in given.items() if NUL in value}:
        raise ValidationError(unreadable)
    numbers = {name: parse_number(value) for name, value in given.items() if name not in TEXTS}
    data = EndpointForm().load({**given, **numbers})
    return Question(
        durations=data["durations"],
        unit=data["unit"],
        field=data["field"],
        p50_s=None if data["p50_ms"] is None else data["p50_ms"] / 1000,
        p99_s=None if data["p99_ms"] is None else data["p99_ms"] / 1000,
        rate=data["rate"],
        workers=data["workers"],
        timeout_s=data["client_timeout_s"],
    )


def describe_size(found: str) -> str:
    """That what was found is too long, and what to do."""
    return (
        f"{found}; a text of at most {LONGEST_TEXT:,} fits. Save the durations as a file and use the command, which "
        "reads any length."
    )


def clean_text(text: str) -> str:
    """A text as a page can show it."""
    return text.replace(NUL, "")


def repeat_command(question: Question) -> str:
    """The command that gives the same answer."""
    options = {
        "--from": FILE if question.durations else None,
        "--unit": question.unit or None,
        "--field": question.field or None,
        "--p50": question.p50_s,
        "--p99": question.p99_s,
        "--rate": question.rate,
        "--workers": question.workers,
        "--timeout": question.timeout_s,
        "--plot": "knee.svg",
    }
    words = [word for name, value in options.items() if value is not None for word in (name, format_option(value))]
    return shlex.join([find_program(), "predict", *words])


def format_option(value: str | float) -> str:
    """The value of an option as one types it."""
    return value if isinstance(value, str) else f"{value:.12g}"
