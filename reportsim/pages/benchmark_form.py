"""The form of the benchmark page: its fields, its presets, and the plan that it describes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from reportsim.benchmark.plan import Plan
from reportsim.benchmark.workload import FEWEST_BLOCKS
from reportsim.core.problems import Problem
from reportsim.pages.forms import parse_number
from reportsim.pages.service_time_form import DISTRIBUTIONS, service_time

NUMBERS: Final = ("rate", "duration_s", "blocks", "seed", "workers", "client_timeout_s", "slo_s")
TEXTS: Final = ("both", "arrivals", "cancel", "report_type", "ledger")
OWN_TIME: Final = "the report’s own"
SERVICE_TIMES: Final = (*DISTRIBUTIONS, OWN_TIME)


@dataclass(frozen=True, slots=True)
class Preset:
    """A length of a run, and what it can resolve."""

    name: str
    duration_s: int
    blocks: int
    resolves: str


# Intervals shrink with the square root of the number of requests. A block begins with an empty queue: it must last many
# service times to show what a queue does.
PRESETS: Final = (
    Preset("quick", 30, 10, "a good minute; resolves large differences, p50 and p95"),
    Preset("proper", 120, 20, "about five minutes; resolves differences half as large, and p99"),
    Preset("thorough", 300, 20, "about eleven minutes; resolves differences a third as large, and p99 at high load"),
)
# The quick preset at 95 % load: one sync client in ten times out.
VALUES: Final[Mapping[str, str]] = {
    "rate": "38",
    "duration_s": "30",
    "blocks": "10",
    "both": "",
    "arrivals": "poisson",
    "workers": "4",
    "distribution": "exponential",
    "mean_ms": "100",
    "sigma": "1",
    "slow_share": "0.1",
    "client_timeout_s": "0.5",
    "slo_s": "0.5",
    "cancel": "none",
    "report_type": "trial_balance",
    "ledger": "tiny",
    "seed": "1",
    "ways": "",
}


def plan_body(form: Mapping[str, str]) -> dict[str, Any]:
    """The body of `POST /api/benchmark/both` from the fields that are filled in.

    An empty time-out means that clients never give up.
    """
    body: dict[str, Any] = {name: parse_number(form[name]) for name in NUMBERS if form.get(name)}
    body |= {name: form[name] for name in TEXTS if form.get(name)}
    if form.get("ways"):
        body["ways"] = True
    if form.get("client_timeout_s") == "":
        body["client_timeout_s"] = None
    if (distribution := form.get("distribution")) == OWN_TIME:
        body["service_time"] = None
    elif distribution:
        parameters = {name: parse_number(form.get(name) or VALUES[name]) for name in ("mean_ms", "sigma", "slow_share")}
        body["service_time"] = service_time(distribution, **parameters)
    return body


def plan_errors(problem: Problem | None) -> dict[str, str]:
    """The error of each field of the form."""
    errors: dict[str, str] = {}
    for error in problem.members.get("errors", ()) if problem else ():
        pointer = re.sub(r"^#/service_time/", "#/", error.get("pointer", ""))
        name = pointer.removeprefix("#/").partition("/")[0]
        errors.setdefault({"median_ms": "mean_ms", "fast_ms": "mean_ms"}.get(name, name), error["detail"])
    return errors


def plan_values(plan: Mapping[str, Any]) -> dict[str, str]:
    """The fields of the form for a plan from the API."""
    values = {name: "" if plan.get(name) is None else f"{plan[name]}" for name in (*NUMBERS, *TEXTS) if name in plan}
    if (plan.get("blocks") or 0) < FEWEST_BLOCKS:
        values["blocks"] = ""
    values["ways"] = "yes" if plan.get("ways") else ""
    service = plan.get("service_time")
    if service is None:
        return {**values, "distribution": OWN_TIME}
    mean_ms = 1000 * Plan.from_json(plan).service.mean_s
    kept = {name: f"{service[name]}" for name in ("sigma", "slow_share") if name in service}
    return {**values, "distribution": service["distribution"], "mean_ms": f"{mean_ms:.6g}", **kept}


def form_values(given: Mapping[str, str]) -> dict[str, str]:
    """The fields of the form: the defaults, what was given, and the preset that was chosen."""
    values = {**VALUES, **{name: given[name] for name in VALUES if name in given}}
    if "duration_s" in given and "blocks" not in given:
        # As many as fit.
        values["blocks"] = ""
    for preset in PRESETS:
        if preset.name == given.get("preset"):
            values |= {"duration_s": str(preset.duration_s), "blocks": str(preset.blocks)}
    return values
