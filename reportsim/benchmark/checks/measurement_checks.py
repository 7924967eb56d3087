"""Whether what was measured can be: H3, H4, H5, H9, H10, H11, H12, H14."""

import math
from typing import Any, Final

from reportsim.benchmark.checks.model import Check, Evidence, Verdict
from reportsim.benchmark.report.number_format import duration, percent
from reportsim.benchmark.results.percentiles import LEVELS, Percentile, needed, percentiles, rounded
from reportsim.benchmark.results.samples import Outcome, Samples
from reportsim.benchmark.results.summary import bound_ms, segment_columns
from reportsim.core.model import Mode

IDENTITY: Final = 0.01
SERVICE: Final = 0.02
SERVICE_FAILS: Final = 0.1
# How far segments may miss the time to result: the clocks' agreement.
SEGMENT_S: Final = 0.001


def off(measured: float, summed: float) -> float:
    """The relative distance of an integral from the sum that it must equal."""
    larger = max(abs(measured), abs(summed))
    return abs(measured - summed) / larger if larger else 0.0


def identity(id: str, name: str, errors: dict[str, float], law: str) -> Check:
    """A law that holds whatever happens: a miss is a mistake of the instrument."""
    worst = max(errors.values())
    good = worst <= IDENTITY
    detail = f"{law} {'holds' if good else 'is violated'}: off by {percent(worst)} at most."
    rounded = {side: round(error, 6) for side, error in errors.items()}
    return Check(id, name, rounded, dict.fromkeys(errors, IDENTITY), Verdict.OK if good else Verdict.FAIL, detail)


def little(evidence: Evidence) -> Check:
    """H3: the server's integral of open connections is the sum of the times they were open."""
    errors = {
        str(mode): off(evidence.integrals[mode].open_s, math.fsum(known(evidence.samples[mode].held))) for mode in Mode
    }
    return identity("H3", "integral of open connections against the sum of their times", errors, "Little's law")


def known(values: Any) -> list[float]:
    """What is not NaN."""
    return [value for value in values if not math.isnan(value)]


def utilisation(evidence: Evidence) -> Check:
    """H4: the server's integral of busy workers is the sum of the service times."""
    errors = {}
    for mode in Mode:
        samples = evidence.samples[mode]
        spent = (end - start for start, end in zip(samples.started, samples.ended, strict=True))
        errors[str(mode)] = off(evidence.integrals[mode].busy_s, math.fsum(known(spent)))
    return identity("H4", "integral of busy workers against the sum of service times", errors, "The utilisation law")


def conservation(evidence: Evidence) -> Check:
    """H5: every request ended in one way, the server took on what clients saw accepted, segments add up."""
    lost = sum(abs(result["offered"] - sum(result["outcomes"].values())) for result in evidence.results.values())
    samples = evidence.samples[Mode.ASYNC]
    accepted = {Outcome.OK, Outcome.OK_LATE, Outcome.JOB_FAILED, Outcome.CALLBACK_LOST}
    ended = sum(samples.outcomes.count(outcome) for outcome in accepted)
    unaccounted = abs(ended - evidence.integrals[Mode.ASYNC].accepted)
    backwards = sum(map(disordered, evidence.samples.values()))
    value = {"outcomes": lost, "accepted": unaccounted, "segments": backwards}
    good = not any(value.values())
    detail = (
        "Nothing was lost in counting."
        if good
        else f"Unaccounted for: {lost:,} outcomes, {unaccounted:,} accepted requests, {backwards:,} sums of segments."
    )
    return Check(
        "H5",
        "outcomes, accepted requests and segments that do not add up",
        value,
        dict.fromkeys(value, 0),
        Verdict.OK if good else Verdict.FAIL,
        detail,
    )


def disordered(samples: Samples) -> int:
    """Requests with a result and a segment that ends before it begins, by more than the clocks' agreement."""
    columns = zip(samples.outcomes, *segment_columns(samples), strict=True)
    return sum(outcome <= Outcome.OK_LATE and any(spent < -SEGMENT_S for spent in spans) for outcome, *spans in columns)


def same_work(evidence: Evidence) -> Check:
    """H9: both sides did the same work, and it took as long as planned."""
    sides = [evidence.samples[mode] for mode in Mode]
    planned = measured = between = whole = 0.0
    pairs = 0
    for index, service in enumerate(evidence.schedule.services):
        if all(side.resolved(index) for side in sides):
            first, second = (side.ended[index] - side.started[index] for side in sides)
            pairs += 1
            between += abs(first - second)
            measured += first + second
            planned += 2 * service
            whole += (first + second) / 2
    value = {
        "between_sides": round(between / whole, 6) if whole else None,
        "from_plan": round(abs(measured - planned) / planned, 6) if planned else None,
    }
    worst = max((share for share in value.values() if share is not None), default=0.0)
    # Where nothing was planned the reports take their own time, which is then a part of what is measured.
    fails = SERVICE_FAILS if planned else math.inf
    verdict = Verdict.OK if worst <= SERVICE else Verdict.WARN if worst <= fails else Verdict.FAIL
    limit = {"between_sides": SERVICE, "from_plan": SERVICE if planned else None}
    name = "service times: between the sides, from the plan"
    if not pairs:
        return Check("H9", name, value, limit, Verdict.WARN, "No request had its result on both sides.")
    apart = percent(value["between_sides"] or 0.0)
    if planned:
        from_plan = percent(value["from_plan"] or 0.0)
        detail = f"Service times differ by {apart} between the sides and by {from_plan} from the plan."
    else:
        detail = f"No service time was planned: the reports took their own, which differ by {apart} between the sides."
    return Check("H9", name, value, limit, verdict, detail)


def sample_size(evidence: Evidence) -> Check:
    """H10: a percentile is given only where there are requests enough for its interval."""
    count = len(evidence.schedule.intended)
    missing = [level for level, share in LEVELS.items() if count < needed(share)]
    verdict = Verdict.WARN if {"p50", "p95"} & set(missing) else Verdict.OK
    detail = f"{count:,} requests a side are enough for every percentile."
    if missing:
        names = ", ".join(level.replace("_", ".") for level in missing)
        detail = f"{count:,} requests a side are too few for {names}, and no such number is given."
    limit = {level: needed(share) for level, share in LEVELS.items()}
    return Check("H10", "requests needed for each percentile", dict.fromkeys(limit, count), limit, verdict, detail)


def stationarity(evidence: Evidence) -> Check:
    """H11: the first half of a block is like the second; in overload no two moments are."""
    value = {}
    moved, known = False, True
    for mode in Mode:
        first, second = halves(evidence.samples[mode], bound_ms(evidence.plan, mode))
        value[str(mode)] = [rounded(first.value), rounded(second.value)]
        moved |= apart(first, second)
        known &= first.value is not None and second.value is not None
    rho = evidence.plan.rho
    if rho >= 1:
        verdict, detail = Verdict.WARN, f"Overload (ρ = {rho:.2f}): the numbers depend on how long the run is."
    elif moved:
        verdict, detail = Verdict.WARN, "Times changed from the first half of the blocks to the second."
    elif not known:
        verdict, detail = Verdict.OK, "Too few requests to compare the first and the second half of the blocks."
    else:
        verdict, detail = Verdict.OK, "The first and the second half of the blocks are alike."
    return Check("H11", "time to result p50 in the first and second half, ms", value, None, verdict, detail)


def halves(samples: Samples, bound: float) -> tuple[Percentile, Percentile]:
    """The medians of the first and of the second half of both blocks together; `bound` is what a result's lack says."""
    times = [1000 * time for time in samples.times_to_result()]
    early = [time for block in samples.blocks for time in times[block.start : block.start + len(block) // 2]]
    late = [time for block in samples.blocks for time in times[block.start + len(block) // 2 : block.stop]]
    return percentiles(early, bound)["p50"], percentiles(late, bound)["p50"]


def apart(first: Percentile, second: Percentile) -> bool:
    """Whether two intervals have nothing in common."""
    above = first.high is not None and second.low is not None and first.high < second.low
    below = second.high is not None and first.low is not None and second.high < first.low
    return above or below


def theory(evidence: Evidence) -> Check:
    """H12: what was measured lies within the band of what was predicted. To be looked at, never to be hidden."""
    outside = [f"{mode} {name}" for mode in Mode for name, row in evidence.theory[mode].items() if not row["inside"]]
    detail = "Everything measured lies within its 95 % band."
    if not evidence.plan.service.mean_s:
        outside, detail = [], "Nothing was expected: no service time was planned."
    elif outside:
        names = ", ".join(name.replace("_", " ") for name in outside)
        detail = f"Outside of its 95 % band: {names}. One figure in twenty is, by chance alone."
    return Check(
        "H12", "figures outside of their predicted band", outside, [], Verdict.WARN if outside else Verdict.OK, detail
    )


def repetition(evidence: Evidence) -> Check:
    """H14: what the same side differs by from its first block to its second, beside the difference of the sides.

    The blocks have requests of their own, so that a part of it is the luck of the draw.
    """
    value = {str(mode): moved_ms(evidence.samples[mode]) for mode in Mode}
    difference = value["async_minus_sync"] = evidence.comparison["difference_ms"]["median"]["value"]
    shown = [f"{mode} {duration(abs(moved) / 1000)}" for mode in map(str, Mode) if (moved := value[mode]) is not None]
    said = [f"from block to block the median moved by {' and '.join(shown)}"] if shown else []
    if difference is not None:
        said.append(f"the median difference of the sides is {duration(abs(difference) / 1000)}")
    detail = "; ".join(said) or "too few results for a median"
    name = "A/A: median of the second block minus the first, ms"
    return Check("H14", name, value, None, Verdict.OK, f"{detail[0].upper()}{detail[1:]}.")


def moved_ms(samples: Samples) -> float | None:
    """The median time to result of the second block minus that of the first; None where one is not known."""
    times = samples.times_to_result()
    first, second = (
        percentiles(1000 * time for time in times[block.start : block.stop])["p50"] for block in samples.blocks
    )
    if first.value is None or second.value is None or first.censored or second.censored:
        return None
    return rounded(second.value - first.value)
