"""A finished run as one HTML page: no script, nothing from elsewhere, readable on paper and in the dark."""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from reportsim.benchmark.plan import Cancel, Plan
from reportsim.benchmark.pulled_plug import find_pulled_plug
from reportsim.benchmark.report import tables
from reportsim.benchmark.report.charts.summary import (
    gantt,
    heat_strip,
    outcome_bars,
    paired_scatter,
    percentile_plot,
    timeline,
)
from reportsim.benchmark.report.style import POLICY, STYLE
from reportsim.benchmark.report.time_tables import list_times
from reportsim.benchmark.results.samples import Samples
from reportsim.benchmark.results.verdict import split_verdict, was_busy
from reportsim.benchmark.theory.advice import advise
from reportsim.benchmark.workload import Arrivals, Workload
from reportsim.core.number_format import duration

Json = Mapping[str, Any]
SPREAD: Final = {
    Arrivals.POISSON: "Poisson arrivals",
    Arrivals.CONSTANT: "evenly spaced arrivals",
    Arrivals.BURST: "arrivals in bursts",
    Arrivals.RAMP: "arrivals at a rising rate",
}
ON_LEAVING: Final = {
    Cancel.NONE: "the server goes on working for clients that timed out",
    Cancel.QUEUED: "the server drops queued requests whose client timed out",
    Cancel.RUNNING: "the server stops all work for clients that timed out",
}


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart with its heading and caption."""

    name: str
    svg: Markup
    caption: str


@functools.cache
def template_environment() -> Environment:
    """The templates of the report."""
    loader = PackageLoader("reportsim.templates", "")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def html_report(
    plan: Plan,
    prediction: Json,
    result: Json,
    samples: Mapping[str, Samples],
    *,
    id: str | None = None,
    finished_at: str | None = None,
) -> str:
    """The whole page; `id` and `finished_at` are shown as they are given."""
    about = " · ".join(part for part in (f"run {id}" if id else "", finished_at) if part)
    shown = own_contents(plan, prediction, result, samples)
    return render_page(shown, title=describe_title(plan), facts=describe_plan(plan), about=about)


def render_page(shown: Mapping[str, Any], *, title: str, facts: str, about: str) -> str:
    """A page of its own around what the templates show."""
    template = template_environment().get_template("report.html")
    return template.render(**shown, policy=POLICY, style=Markup(STYLE), title=title, facts=facts, about=about)


def html_fragment(plan: Plan, prediction: Json, result: Json, samples: Mapping[str, Samples]) -> str:
    """Everything below the heading, as a part of a page of the service."""
    template = template_environment().get_template("partials/benchmark_result.html")
    return template.render(**own_contents(plan, prediction, result, samples))


def own_contents(plan: Plan, prediction: Json, result: Json, samples: Mapping[str, Samples]) -> dict[str, Any]:
    """What the templates show of a run of our own, of which theory and advice are part."""
    sync = result["theory"].get("sync")
    return {
        **contents(plan, plan.as_json(), prediction, result, samples),
        "service_time": plan.service_time,
        "theory": tables.list_theory(result) if plan.rho else None,
        "advice": advise(plan),
        "agrees": sync["timeout_share"]["inside"] if sync else None,
    }


def contents(
    plan: Workload, parameters: Json, prediction: Json | None, result: Json, samples: Mapping[str, Samples]
) -> dict[str, Any]:
    """What the templates show of any service; nothing is predicted of one that is not our own."""
    return {
        "plan": plan,
        "service_time": None,
        "prediction": prediction,
        "result": result,
        "verdict": split_verdict(result["verdict"]),
        "advice": None,
        "agrees": None,
        "warnings": sum(check["verdict"] == "warn" for check in result["checks"]),
        "busy": was_busy(result),
        "failed": [check for check in result["checks"] if check["verdict"] == "fail"],
        "charts": draw_charts(plan, prediction, result, samples),
        "numbers": [
            tables.list_outcomes(result),
            tables.list_segments(result),
            *list_times(result),
            tables.list_service_figures(result),
            *filter(None, [tables.list_ways(result)]),
        ],
        "theory": None,
        "checks": tables.list_checks(result),
        "objectives": tables.list_objectives(result),
        "parameters": tables.list_parameters(parameters),
    }


def describe_title(plan: Plan) -> str:
    """The run in a line."""
    if plan.together:
        return f"Wait, or be called back? The same {plan.rate:g} reports in both ways at once"
    first, second = (side.name for side in plan.sides)
    return f"{first} against {second} at {plan.rate:g} requests a second"


def describe_plan(plan: Plan) -> str:
    """What was run."""
    mean = duration(plan.service.mean_s)
    timeout = "never time out" if plan.client_timeout_s is None else f"time out after {duration(plan.client_timeout_s)}"
    blocks = [
        f"{plan.pairs} block {'pair' if plan.pairs == 1 else 'pairs'} of {duration(plan.block_s)}",
        SPREAD[plan.arrivals],
    ]
    facts = [
        *([] if plan.together else blocks),
        f"{plan.workers} workers{' on each side' if plan.together else ''}",
        f"mean service time {mean} ({plan.service_time['distribution']})"
        if plan.service_time
        else "the reports take their own time",
        *([f"load ρ = {plan.rho:.2f}"] if plan.rho and not plan.together else []),
        f"sync clients {timeout}",
        ON_LEAVING[plan.cancel],
    ]
    return f"{', '.join(facts)}."


def draw_charts(plan: Workload, prediction: Json | None, result: Json, samples: Mapping[str, Samples]) -> list[Chart]:
    """The charts, each with what it shows."""
    names = tables.side_names(result)
    sides = [samples[name] for name in names]
    longest = max((time for side in sides for time in side.times_to_result() if time < math.inf), default=0.0)
    drawn = [
        (
            "How the requests ended",
            outcome_bars({name: result[name] for name in names}),
            f"Every request offered ended in one of these ways. In time means within {duration(plan.slo_s)}.",
        ),
        (
            "Time to result",
            percentile_plot(plan, *sides, prediction=prediction),
            "From when a request was due to its result in hand; to the right the slowest 1 in 10, 1 in 100, …",
        ),
        (
            "As clients saw it",
            gantt(plan, *sides, plug=find_pulled_plug(result)),
            "The same neighbouring requests on both sides: who was connected for how long, and what the server did.",
        ),
        (
            "Over time",
            timeline(plan, *sides),
            "The course of a block, on average over all blocks. Both sides had the same arrivals and as many workers.",
        ),
        (
            "When the slow ones came",
            "".join(heat_strip(plan, side, longest) for side in sides),
            "The darker, the more requests; each is at the time it was due.",
        ),
    ]
    if len(sides) == 2:
        caption = f"The same request on both sides. On the line it took equally long; below it {names[1]} was faster."
        drawn.append(("Request by request", paired_scatter(*sides), caption))
    # The charts escape what they draw.
    return [Chart(name, Markup(svg), caption) for name, svg, caption in drawn]
