"""A finished run as one HTML page: no script, nothing from elsewhere, readable on paper and in the dark."""

import math
from collections.abc import Mapping
from html import escape
from typing import Any, Final

from reportsim.benchmark.plan import Arrivals, Cancel, Plan
from reportsim.benchmark.report import tables
from reportsim.benchmark.report.charts.summary import (
    gantt,
    heat_strip,
    outcome_bars,
    paired_scatter,
    percentile_plot,
    timeline,
)
from reportsim.benchmark.report.number_format import duration
from reportsim.benchmark.report.style import POLICY, STYLE
from reportsim.benchmark.results.samples import Samples
from reportsim.core.model import Mode

Json = Mapping[str, Any]
SPREAD: Final = {
    Arrivals.POISSON: "Poisson arrivals",
    Arrivals.CONSTANT: "evenly spaced arrivals",
    Arrivals.BURST: "arrivals in bursts",
    Arrivals.RAMP: "arrivals at a rising rate",
}
LEAVING: Final = {
    Cancel.NONE: "the server works on for clients that left",
    Cancel.QUEUED: "the server drops from its queue what clients left",
    Cancel.RUNNING: "the server stops working for clients that left",
}


def html_report(
    plan: Plan,
    prediction: Json,
    result: Json,
    samples: Mapping[Mode, Samples],
    *,
    id: str | None = None,
    finished_at: str | None = None,
) -> str:
    """The whole page; `id` and `finished_at` are shown as they are given."""
    parts = (header(plan, id, finished_at), *contents(plan, prediction, result, samples))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<link rel="icon" href="data:,">\n'
        f"<title>{escape(title(plan))}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in parts if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def contents(plan: Plan, prediction: Json, result: Json, samples: Mapping[Mode, Samples]) -> tuple[str, ...]:
    """Everything below the heading: a page of the service shows the same."""
    return (
        banner(result),
        f'<p class="verdict">{escape(result["verdict"])}</p>',
        f'<p><span class="hint">Expected before the run:</span> {escape(prediction["sentence"])}</p>',
        pictures(plan, prediction, result, samples),
        '<h2>Numbers</h2>\n<div class="tables">',
        tables.outcomes(result),
        tables.segments(result),
        tables.times(result),
        tables.service(result),
        tables.ways(result),
        "</div>",
        *(theory(prediction, result) if plan.rho else ()),
        "<h2>Can this be trusted?</h2>",
        tables.checks(result),
        tables.objectives(result),
        "<h2>How to repeat it</h2>",
        tables.parameters(plan.as_json()),
        definitions(plan),
    )


def theory(prediction: Json, result: Json) -> tuple[str, ...]:
    """What was expected, beside what was measured."""
    return (
        "<h2>Theory</h2>",
        f'<p class="hint">Model for sync: {escape(prediction["model"])}; ρ = {prediction["rho"]:.3g}. The bands are'
        f" those of {prediction['replications']} simulated runs of this length with other luck.</p>",
        tables.theory(result),
    )


def title(plan: Plan) -> str:
    """The run in a line."""
    return f"sync against async at {plan.rate:g} requests a second"


def header(plan: Plan, id: str | None, finished_at: str | None) -> str:
    """What was run."""
    mean = duration(plan.service.mean_s) if plan.service_time else "the report’s own time"
    gives_up = "never give up" if plan.client_timeout_s is None else f"give up after {duration(plan.client_timeout_s)}"
    facts = [
        f"{plan.count:,} {SPREAD[plan.arrivals]} a side in two blocks of {duration(plan.block_s)}",
        f"{plan.workers} workers",
        f"service time {mean} in the mean ({plan.service_time['distribution']})" if plan.service_time else mean,
        *([f"load ρ = {plan.rho:.2f}"] if plan.rho else []),
        f"sync clients {gives_up}",
        LEAVING[plan.cancel],
    ]
    named = " · ".join(part for part in (id and f"run {escape(id)}", finished_at and escape(finished_at)) if part)
    line = f'<p class="hint">{named}</p>' if named else ""
    return f"<h1>{escape(title(plan).capitalize())}</h1>{line}<p>{escape(', '.join(facts))}.</p>"


def banner(result: Json) -> str:
    """The checks that failed, where any did."""
    broken = [check for check in result["checks"] if check["verdict"] == "fail"]
    if not broken:
        return ""
    said = " ".join(f"{check['id']}: {check['detail']}" for check in broken)
    return f'<p class="banner" role="alert">Do not trust this run. {escape(said)}</p>'


def pictures(plan: Plan, prediction: Json, result: Json, samples: Mapping[Mode, Samples]) -> str:
    """The plots, each with what it shows."""
    sync, other = samples[Mode.SYNC], samples[Mode.ASYNC]
    finite = [time for side in (sync, other) for time in side.times_to_result() if time < math.inf]
    longest = max(finite, default=0.0)
    shown = (
        (
            "How the requests ended",
            outcome_bars(result["sync"], result["async"]),
            f"Every request offered ended in one of these ways. In time means within {duration(plan.slo_s)}.",
        ),
        (
            "Time to result",
            percentile_plot(plan, sync, other, prediction),
            "From the intended time to the result in the client’s hands; to the right the slowest 1 in 10, in 100, …",
        ),
        (
            "As clients saw it",
            gantt(plan, sync, other),
            "The same neighbouring requests on both sides: who was connected for how long, and what the server did.",
        ),
        (
            "Over time",
            timeline(plan, sync, other),
            "Both sides had the same arrivals and as many workers; they ran in turn, sync–async–async–sync.",
        ),
        (
            "When the slow ones came",
            heat_strip(plan, sync, longest) + heat_strip(plan, other, longest),
            "The darker, the more requests; each is at its intended time.",
        ),
        (
            "Request by request",
            paired_scatter(sync, other),
            "The same request on both sides. On the line it took equally long; below it async was faster.",
        ),
    )
    return "\n".join(
        f'<section><h2>{escape(name)}</h2><figure tabindex="0">{picture}'
        f"<figcaption>{escape(about)}</figcaption></figure></section>"
        for name, picture, about in shown
    )


def definitions(plan: Plan) -> str:
    """The words of the page."""
    return (
        "<h2>What the words mean</h2>"
        "<p>The load is open: requests are sent when the plan says, whatever became of earlier ones. All times run from"
        " the intended time, so that a late generator cannot hide a slow server. Percentiles are over all requests "
        "offered; one whose result never came counts as longer than all others, and where a percentile falls on it, "
        "“≥” stands before the least that it can be. "
        "An interval holds the true percentile with 95 %, if requests were independent; those that wait in one queue "
        "are not quite, and the true interval is wider.</p>"
        "<p>Means over time are areas below a curve, divided by the time until the side was empty again. Both sides got"
        f" the same arrivals and service times, drawn from seed {plan.seed}.</p>"
    )
