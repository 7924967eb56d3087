"""A measurement as one HTML page."""

from collections.abc import Mapping
from typing import Any

from reportsim.benchmark.report.page import SPREAD, contents, render_page
from reportsim.benchmark.report.tables import Table, cells
from reportsim.core.number_format import duration
from reportsim.measure.measurement import Measured
from reportsim.measure.target.model import Target


def html_page(target: Target, measured: Measured, result: Mapping[str, Any]) -> str:
    """The whole page; variables of the environment stand as in the file."""
    plan = measured.plan
    shown = contents(plan, measured.parameters, None, result, measured.samples)
    if measured.counts:
        shown["numbers"].append(list_counts(measured.counts))
    urls = ", ".join(dict.fromkeys(url.raw for url in target.urls()))
    facts = (
        f"{urls}: {measured.pairs} blocks of {duration(plan.block_s)}, {SPREAD[plan.arrivals]}, clients time out after "
        f"{duration(target.limits.client_timeout_s)}. Not known of a service that is not reportsim’s own, and left "
        "out: its queue, its workers, wasted work, and theory (H3, H4, H9, H12)."
    )
    title = f"{' against '.join(measured.samples)} at {plan.rate:g} requests a second"
    return render_page(shown, title=title, facts=facts, about="")


def list_counts(counts: Mapping[str, int]) -> Table:
    """What came on the way to the results."""
    rows = [cells(name.replace("_", " "), f"{count:,}") for name, count in counts.items()]
    return Table("On the way to async results", ("", "count"), rows)
