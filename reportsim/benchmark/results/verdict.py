"""The finding of a run in a few sentences, made from its estimates alone."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from reportsim.benchmark.pulled_plug import PulledPlug
from reportsim.benchmark.results.analysis import Analysis
from reportsim.benchmark.results.paired_comparison import Comparison
from reportsim.benchmark.results.samples import Outcome
from reportsim.benchmark.results.summary import SideResult
from reportsim.benchmark.statistics.intervals import FEWEST_BLOCKS, Estimate, count_needed_blocks, is_vague
from reportsim.benchmark.workload import BOUNDS
from reportsim.core.number_format import duration, percent, three

# A difference below both is of no practical relevance: a share of the median, and milliseconds.
IRRELEVANT_SHARE: Final = 0.02
IRRELEVANT_MS: Final = 5.0
LOST_OR_LATE: Final = (Outcome.CLIENT_TIMEOUT, Outcome.CALLBACK_LOST, Outcome.OK_LATE)
ERRORS: Final = (Outcome.REFUSED, Outcome.SHED, Outcome.HTTP_4XX, Outcome.HTTP_5XX, Outcome.JOB_FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class SideOutcome:
    """What one side of a race came to."""

    offered: int
    results: int
    gave_up: int
    connected_s: float
    """For how long all of its clients were connected, in total."""

    @property
    def results_text(self) -> str:
        """How many of the clients have their result."""
        return f"all {self.offered}" if self.results == self.offered else f"{self.results} of {self.offered}"


def describe_race(sync: SideOutcome, async_: SideOutcome) -> str:
    """The outcome of a race in two sentences."""
    gave_up = f"{sync.gave_up} of {sync.offered} timed out"
    return (
        f"Sync clients were connected for {duration(sync.connected_s)} in total, and"
        f" {gave_up if sync.gave_up else f'{sync.results_text} got their report'}."
        f" Async clients were connected for {duration(async_.connected_s)}, and {async_.results_text}"
        " were called back with their report."
    )


def describe_plug(plug: PulledPlug) -> str:
    """That the plug was pulled, and what that means."""
    return (
        f"The plug was pulled after {duration(plug.at_s)}: workers stood still for {duration(plug.frozen_s)}, and the"
        " database’s connections were lost. This is a demonstration, not a measurement."
    )


def find_failed_checks(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The checks of a result that forbid to trust it: a pulled plug alone, from which the others follow."""
    failed = [check for check in result["checks"] if check["verdict"] == "fail"]
    return [check for check in failed if check["id"] == "H15"] or failed


def describe_distrust(result: Mapping[str, Any]) -> list[str]:
    """What the checks of a result say that forbid to trust it."""
    return [f"{check['id']}: {check['detail']}" for check in find_failed_checks(result)]


def describe_trust(result: Mapping[str, Any]) -> str:
    """Whether a result can be trusted, without the details of its checks."""
    verdicts = [check["verdict"] for check in result["checks"]]
    if failed := [check["id"] for check in find_failed_checks(result)]:
        advice = " The machine was busy: close other programs and run again." if was_busy(result) else ""
        return f"Do not trust this run: {', '.join(failed)} failed.{advice}"
    if result["trusted"] is None:
        return f"{verdicts.count('not_run')} of {len(verdicts)} checks were not run; none of the others failed."
    return f"This run can be trusted: none of its {len(verdicts)} checks failed."


def was_busy(result: Mapping[str, Any]) -> bool:
    """Whether the machine had other work, so that the processes that measured were late."""
    late = {"H3": {"warn"}, "H4": {"warn"}, "H6": {"warn", "fail"}}
    return any(check["verdict"] in late.get(check["id"], ()) for check in result["checks"])


def write_verdict(analysis: Analysis) -> str:
    """What the run shows: what was lost or late, what was held meanwhile, the times."""
    timeouts = {side.name: side.timeout_s for side in analysis.design.sides}
    sentences = [
        describe_losses(name, result.outcomes, result.shares, timeouts[name]) for name, result in analysis.sides.items()
    ]
    sentences += describe_vagueness(analysis)
    sentences += describe_connections(
        {name: result.open_connections.mean.value for name, result in analysis.sides.items()}
    )
    if analysis.comparison is not None:
        sentences.append(describe_difference(analysis.comparison, irrelevant_ms(analysis.sides)))
        sentences += describe_dropped_work(analysis, analysis.comparison)
    return " ".join(sentences)


def split_verdict(verdict: str) -> list[str]:
    """The sentences of a verdict."""
    return re.split(r"(?<=\.) (?=[A-Z])", verdict)


def irrelevant_ms(results: Mapping[str, SideResult]) -> float:
    """The difference between means below which the times are the same for practical purposes."""
    medians = [result.time_to_result_ms.quantiles["p50"].value for result in results.values()]
    return min(IRRELEVANT_MS, *(IRRELEVANT_SHARE * (median or 0.0) for median in medians))


def describe_difference(comparison: Comparison, irrelevant: float) -> str:
    """How the times to result differ on average; below `irrelevant` milliseconds they are the same."""
    first, second = comparison.names
    mean, blocks = comparison.mean_ms, comparison.blocks
    if mean.value is None:
        return f"No request has a time on both sides, so {first} and {second} cannot be compared."
    if mean.low is None or mean.high is None:
        return (
            f"{second.capitalize()} − {first} is {signed(mean.value)} on average; with {blocks} block "
            f"{'pair' if blocks == 1 else 'pairs'} there is no interval, which takes at least {FEWEST_BLOCKS}."
        )
    interval = f"{signed(mean.low)} to {signed(mean.high)} on average (95 % CI, {blocks} block pairs)"
    if max(abs(mean.low), abs(mean.high)) < irrelevant or (mean.excludes_zero and abs(mean.value) < irrelevant):
        return f"The times to result are the same for practical purposes: {second} − {first} is {interval}."
    if not mean.excludes_zero:
        return f"The data show no difference in time to result: {second} − {first} is {interval}."
    later = second if mean.value > 0 else first
    low, high = sorted((abs(mean.low), abs(mean.high)))
    return (
        f"{later.capitalize()} results arrived {milliseconds(abs(mean.value))} later on average (95 % CI "
        f"{milliseconds(low)} to {milliseconds(high)}, {blocks} block pairs)."
    )


def describe_dropped_work(analysis: Analysis, comparison: Comparison) -> list[str]:
    """Why the second side may have been later: the first one's server dropped work, and the second one's did all."""
    first, second = analysis.design.sides
    mean, left = comparison.mean_ms, analysis.sides[first.name].outcomes[Outcome.CLIENT_TIMEOUT.label]
    if first.drops_work and not second.drops_work and left and mean.excludes_zero and (mean.value or 0.0) > 0:
        return [f"The {first.name} server dropped the work of clients that timed out, which left room for the others."]
    return []


def signed(value_ms: float) -> str:
    """A difference with its sign."""
    if abs(value_ms) < 5e-4:
        return milliseconds(0.0)
    return f"{'−' if value_ms < 0 else '+'}{milliseconds(abs(value_ms))}"


def milliseconds(value_ms: float) -> str:
    """A time given in milliseconds, to the microsecond."""
    return duration(round(value_ms, 3) / 1000)


def describe_losses(name: str, outcomes: Mapping[str, int], shares: Mapping[str, Estimate], timeout_s: float) -> str:
    """Requests without a result or with a late one."""
    offered = sum(outcomes.values())
    if not offered:
        return f"{name.capitalize()} was offered no request."
    gone = {
        "timed out" if math.isinf(timeout_s) else f"timed out after {duration(timeout_s)}": Outcome.CLIENT_TIMEOUT,
        "never had a callback": Outcome.CALLBACK_LOST,
    }
    parts = [
        f"{with_interval(shares[outcome.label])} {words}" for words, outcome in gone.items() if outcomes[outcome.label]
    ]
    if failures := sum(outcomes[outcome.label] for outcome in ERRORS):
        parts.append(f"{percent(failures / offered)} ended with an error")
    lost = f"of {offered:,} {name} requests, " + " and ".join(parts) if parts else f"no {name} request was lost"
    late = shares[Outcome.OK_LATE.label]
    said = f"{lost}; {with_interval(late)} had a late result" if late.value else lost
    return f"{said[0].upper()}{said[1:]}."


def with_interval(share: Estimate) -> str:
    """A share with its interval, where it has one that says something."""
    if share.value is None or share.low is None or share.high is None or is_vague(share):
        return "none" if share.value is None else percent(share.value)
    return f"{percent(share.value)} (95 % CI {percent(share.low)} to {percent(share.high)})"


def describe_vagueness(analysis: Analysis) -> list[str]:
    """That the run is too short to say what share is lost or late, and how long it must be."""
    design, most = analysis.design, int(BOUNDS["blocks"][1])
    needed = [
        count_needed_blocks(result.block_outcomes[outcome.label], result.block_sizes, most)
        for result in analysis.sides.values()
        for outcome in LOST_OR_LATE
        if is_vague(result.shares[outcome.label])
    ]
    if not needed:
        return []
    known = [blocks for blocks in needed if blocks is not None]
    enough = "longer blocks are needed"
    if len(known) == len(needed):
        load_s = duration(max(known) * design.block_s)
        enough = f"about {max(known)} such blocks are needed, which is {load_s} of load per side"
    return [
        f"The run is too short to say what share is lost or late in general: {design.blocks} blocks of"
        f" {duration(design.block_s)} are too few; {enough}."
    ]


def describe_connections(held: Mapping[str, float | None]) -> list[str]:
    """How many connections the clients of each side held on average while they waited."""
    said = [f"{three(value)} by {name}" for name, value in held.items() if value is not None]
    return [f"Connections held on average: {', '.join(said)}."] if said else []
