"""Reads forms under the same limits as request bodies of the API."""

import contextlib
import math
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from aiohttp import web

from reportsim.core.problems import Problem
from reportsim.reports.catalog import CATALOG
from reportsim.schemas.strict_json import check_strings
from reportsim.schemas.submission_parser import default_options
from reportsim.web.body import MAX_BODY_BYTES, read_body

FORM: Final = web.RequestKey("FORM", dict[str, str])
FORM_TYPE: Final = "application/x-www-form-urlencoded"
MOST_FIELDS: Final = 50


async def read_form(request: web.Request) -> dict[str, str]:
    """The fields of a URL-encoded form.

    Raises:
        Problem: 400, 408, 413 or 415 if the body is not acceptable.
    """
    form = await parse_form(request, MAX_BODY_BYTES)
    check_strings(form)
    return form


async def parse_form(request: web.Request, max_bytes: int) -> dict[str, str]:
    """The fields of a URL-encoded form of so many bytes at most, whatever characters are in them.

    Raises:
        Problem: 400, 408, 413 or 415 if the body is not acceptable.
    """
    if request.content_type != FORM_TYPE:
        raise Problem("unsupported-media-type", f"Send {FORM_TYPE}.")
    raw = await read_body(request, max_bytes)
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS)
    except ValueError:
        raise Problem("malformed-request", "The form is not valid URL-encoded data.") from None
    return {name: value.strip() for name, value in pairs}


def submission_body(form: Mapping[str, str]) -> dict[str, Any]:
    """The body of a submission from the fields that are filled in, without the options of other reports."""
    body: dict[str, Any] = {name: form[name] for name in ("report_type", "ledger") if form.get(name)}
    if (report_type := form.get("report_type")) in CATALOG:
        body |= {name: form[name] for name in default_options(report_type) if form.get(name)}
    if "account_codes" in body:
        body["account_codes"] = [code.strip() for code in body["account_codes"].split(",") if code.strip()]
    if "include_zero" in body:
        body["include_zero"] = True
    if milliseconds := form.get("service_time_ms"):
        body["simulate"] = {"service_time": {"distribution": "fixed", "mean_ms": parse_number(milliseconds)}}
    return body


def parse_number(text: str) -> int | float | str:
    """The finite number in a text, or the text itself, which the schema refuses."""
    for kind in (int, float):
        with contextlib.suppress(ValueError, OverflowError):
            value = kind(text)
            return value if math.isfinite(value) else text
    return text


def form_errors(problem: Problem | None) -> dict[str, str]:
    """The error of each field of the form."""
    errors: dict[str, str] = {}
    for error in problem.members.get("errors", ()) if problem else ():
        name = re.sub(r"#/simulate/service_time.*", "#/service_time_ms", error.get("pointer", ""))
        errors.setdefault(name.removeprefix("#/").partition("/")[0], error["detail"])
    return errors
