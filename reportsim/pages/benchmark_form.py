"""The form of the benchmark page, as the API takes it."""

import re
from collections.abc import Mapping
from typing import Any, Final

from reportsim.benchmark.plan import Plan
from reportsim.core.problems import Problem
from reportsim.pages.forms import number
from reportsim.pages.service_time_form import DISTRIBUTIONS, service_time

NUMBERS: Final = ("rate", "duration_s", "seed", "workers", "client_timeout_s", "slo_s")
TEXTS: Final = ("arrivals", "cancel", "report_type", "ledger")
OWN_TIME: Final = "the report’s own"
SHAPES: Final = (*DISTRIBUTIONS, OWN_TIME)
# A run of half a minute that shows something: nine tenths of four workers' time.
VALUES: Final[Mapping[str, str]] = {
    "rate": "20",
    "duration_s": "10",
    "arrivals": "poisson",
    "workers": "4",
    "distribution": "exponential",
    "mean_ms": "180",
    "sigma": "1",
    "slow_share": "0.1",
    "client_timeout_s": "1",
    "slo_s": "1",
    "cancel": "none",
    "report_type": "trial_balance",
    "ledger": "tiny",
    "seed": "1",
    "ways": "",
}


def plan_body(form: Mapping[str, str]) -> dict[str, Any]:
    """The fields that are filled in, as `POST /api/benchmark/both` takes them.

    An empty time-out means that clients never give up.
    """
    body: dict[str, Any] = {name: number(form[name]) for name in NUMBERS if form.get(name)}
    body |= {name: form[name] for name in TEXTS if form.get(name)}
    if form.get("ways"):
        body["ways"] = True
    if form.get("client_timeout_s") == "":
        body["client_timeout_s"] = None
    if (shape := form.get("distribution")) == OWN_TIME:
        body["service_time"] = None
    elif shape:
        figures = {name: number(form.get(name) or VALUES[name]) for name in ("mean_ms", "sigma", "slow_share")}
        body["service_time"] = service_time(shape, **figures)
    return body


def plan_errors(problem: Problem | None) -> dict[str, str]:
    """What is wrong with each field of the form."""
    errors: dict[str, str] = {}
    for error in problem.members.get("errors", ()) if problem else ():
        pointer = re.sub(r"^#/service_time/", "#/", error.get("pointer", ""))
        name = pointer.removeprefix("#/").partition("/")[0]
        errors.setdefault({"median_ms": "mean_ms", "fast_ms": "mean_ms"}.get(name, name), error["detail"])
    return errors


def plan_values(plan: Mapping[str, Any]) -> dict[str, str]:
    """A plan as the API shows it, as the form has it."""
    values = {name: "" if plan.get(name) is None else f"{plan[name]}" for name in (*NUMBERS, *TEXTS) if name in plan}
    values["ways"] = "yes" if plan.get("ways") else ""
    shape = plan.get("service_time")
    if shape is None:
        return {**values, "distribution": OWN_TIME}
    mean_ms = 1000 * Plan.from_json(plan).service.mean_s
    kept = {name: f"{shape[name]}" for name in ("sigma", "slow_share") if name in shape}
    return {**values, "distribution": shape["distribution"], "mean_ms": f"{mean_ms:.6g}", **kept}
