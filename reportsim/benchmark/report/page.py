"""A finished run as one HTML page: no script, nothing from elsewhere, readable on paper and in the dark."""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from reportsim.benchmark.plan import Cancel, Plan
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
from reportsim.benchmark.results.samples import Samples
from reportsim.benchmark.workload import Arrivals
from reportsim.core.number_format import duration

Json = Mapping[str, Any]
SPREAD: Final = {
    Arrivals.POISSON: "Poisson arrivals",
    Arrivals.CONSTANT: "evenly spaced arrivals",
    Arrivals.BURST: "arrivals in bursts",
    Arrivals.RAMP: "arrivals at a rising rate",
}
ON_LEAVING: Final = {
    Cancel.NONE: "the server goes on working for clients that left",
    Cancel.QUEUED: "the server drops queued requests whose client left",
    Cancel.RUNNING: "the server stops all work for clients that left",
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
    return (
        template_environment()
        .get_template("report.html")
        .render(
            **contents(plan, prediction, result, samples),
            policy=POLICY,
            style=Markup(STYLE),
            title=describe_title(plan),
            facts=describe_plan(plan),
            about=" · ".join(part for part in (f"run {id}" if id else "", finished_at) if part),
        )
    )


def html_fragment(plan: Plan, prediction: Json, result: Json, samples: Mapping[str, Samples]) -> str:
    """Everything below the heading, as a part of a page of the service."""
    template = template_environment().get_template("partials/benchmark_result.html")
    return template.render(**contents(plan, prediction, result, samples))


def contents(plan: Plan, prediction: Json, result: Json, samples: Mapping[str, Samples]) -> dict[str, Any]:
    """What the templates show."""
    return {
        "plan": plan,
        "prediction": prediction,
        "result": result,
        "failed": [check for check in result["checks"] if check["verdict"] == "fail"],
        "charts": draw_charts(plan, prediction, result, samples),
        "numbers": [
            tables.list_outcomes(result),
            tables.list_segments(result),
            *tables.list_times(result),
            tables.list_service_figures(result),
            *filter(None, [tables.list_ways(result)]),
        ],
        "theory": tables.list_theory(result) if plan.rho else None,
        "checks": tables.list_checks(result),
        "objectives": tables.list_objectives(result),
        "parameters": tables.list_parameters(plan.as_json()),
    }


def describe_title(plan: Plan) -> str:
    """The run in a line."""
    first, second = (side.name for side in plan.sides)
    return f"{first} against {second} at {plan.rate:g} requests a second"


def describe_plan(plan: Plan) -> str:
    """What was run."""
    mean = duration(plan.service.mean_s)
    timeout = "never give up" if plan.client_timeout_s is None else f"give up after {duration(plan.client_timeout_s)}"
    facts = [
        f"{plan.pairs} block {'pair' if plan.pairs == 1 else 'pairs'} of {duration(plan.block_s)}",
        SPREAD[plan.arrivals],
        f"{plan.workers} workers",
        f"mean service time {mean} ({plan.service_time['distribution']})"
        if plan.service_time
        else "the reports take their own time",
        *([f"load ρ = {plan.rho:.2f}"] if plan.rho else []),
        f"sync clients {timeout}",
        ON_LEAVING[plan.cancel],
    ]
    return f"{', '.join(facts)}."


def draw_charts(plan: Plan, prediction: Json, result: Json, samples: Mapping[str, Samples]) -> list[Chart]:
    """The charts, each with what it shows."""
    names = tables.side_names(result)
    first, second = (samples[name] for name in names)
    finite = [time for side in (first, second) for time in side.times_to_result() if time < math.inf]
    longest = max(finite, default=0.0)
    drawn = (
        (
            "How the requests ended",
            outcome_bars(names, result[names[0]], result[names[1]]),
            f"Every request offered ended in one of these ways. In time means within {duration(plan.slo_s)}.",
        ),
        (
            "Time to result",
            percentile_plot(plan, first, second, prediction),
            "From when a request was due to its result in hand; to the right the slowest 1 in 10, 1 in 100, …",
        ),
        (
            "As clients saw it",
            gantt(plan, first, second),
            "The same neighbouring requests on both sides: who was connected for how long, and what the server did.",
        ),
        (
            "Over time",
            timeline(plan, first, second),
            "The course of a block, on average over all blocks. Both sides had the same arrivals and as many workers.",
        ),
        (
            "When the slow ones came",
            heat_strip(plan, first, longest) + heat_strip(plan, second, longest),
            "The darker, the more requests; each is at the time it was due.",
        ),
        (
            "Request by request",
            paired_scatter(first, second),
            f"The same request on both sides. On the line it took equally long; below it {names[1]} was faster.",
        ),
    )
    # The charts escape what they draw.
    return [Chart(name, Markup(svg), caption) for name, svg, caption in drawn]
