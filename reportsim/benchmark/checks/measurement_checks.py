"""Whether the records of client and service agree with each other and with the plan: H3, H4, H5, H9, H12."""

import math
from collections.abc import Iterable, Mapping
from typing import Final

from reportsim.benchmark.checks.model import Check, Conditions, Evidence, ServiceEvidence, Verdict
from reportsim.benchmark.plan import Cancel
from reportsim.benchmark.results.samples import Outcome, Samples
from reportsim.benchmark.results.side_samples import CUT_OFF, RESULTS, segment_columns
from reportsim.core.model import Mode
from reportsim.core.number_format import percent

LITTLE: Final = "Little's law: connections held by the service's count against the clients' times, seconds"
UTILISATION: Final = "utilisation law: busy workers by the service's count against planned service times, seconds"
SAME_WORK: Final = "service times: between the sides, from the plan"
THEORY: Final = "figures that the simulation of the run's own arrivals does not explain"
# How far two observers may be apart: a share of what they observe, and seconds for each request on its way.
OBSERVERS: Final = 0.01
PER_REQUEST_S: Final = 0.003
SERVICE: Final = 0.02
SERVICE_FAILS: Final = 0.1
# How far segments may miss the time to result: the clocks' agreement.
SEGMENT_S: Final = 0.001
ACCEPTED: Final = frozenset({*RESULTS, Outcome.JOB_FAILED, Outcome.CALLBACK_LOST})


def compare_observers(
    id: str, name: str, observed: Mapping[str, tuple[float, float, int]], law: str, late_s: float
) -> Check:
    """A law that holds whatever the load: two observers who are further apart mean that one of them is mistaken.

    Each request may also be noticed `late_s` later by one of them than by the other.
    """
    value, limit, late = {}, {}, {}
    for side, (one, other, count) in observed.items():
        value[side] = round(abs(one - other), 6)
        limit[side] = round(OBSERVERS * max(one, other) + PER_REQUEST_S * count, 6)
        late[side] = late_s * count
    over = [side for side in value if value[side] > limit[side]]
    if any(value[side] > limit[side] + late[side] for side in over):
        verdict = Verdict.FAIL
        detail = f"{law} is violated ({', '.join(over)}): the records of a run must not contradict each other."
    elif over:
        verdict = Verdict.WARN
        detail = f"{law} holds but for the delay of the event loops ({', '.join(over)}): the machine was busy."
    else:
        verdict, detail = Verdict.OK, f"{law} holds: both observers agree."
    return Check(id, name, value, limit, verdict, detail)


def longest_delay_s(conditions: Conditions | None) -> float:
    """How much later than another process the two that measured may notice the begin and the end of a request.

    The server's event loop is waited for at both, the generator's at the end, as ticks were in the worst block.
    """
    if conditions is None:
        return 0.0
    return (2 * (conditions.server_loop_lag_p99_ms or 0.0) + (conditions.generator_loop_lag_p99_ms or 0.0)) / 1000


def check_little(evidence: Evidence, server: ServiceEvidence) -> Check:
    """H3: L = λW between two observers: the service's integral, and the times that clients were connected."""
    observed = {}
    timeouts = {side.name: side.timeout_s for side in evidence.analysis.design.sides}
    for name, samples in evidence.samples.items():
        times = known(client_times(samples, timeouts[name]))
        observed[name] = server.integrals[name].open_s, math.fsum(times), len(times)
    return compare_observers("H3", LITTLE, observed, "Little's law", longest_delay_s(evidence.conditions))


def client_times(samples: Samples, timeout_s: float) -> Iterable[float]:
    """For how long each client was connected, as it recorded it."""
    for outcome, due, sent, accepted in zip(samples.outcomes, samples.due, samples.sent, samples.accepted, strict=True):
        left = due + timeout_s if outcome in CUT_OFF and math.isnan(accepted) else accepted
        yield left - sent if left < math.inf else math.nan


def known(values: Iterable[float]) -> list[float]:
    """What is not NaN."""
    return [value for value in values if not math.isnan(value)]


def check_utilisation(evidence: Evidence, server: ServiceEvidence) -> Check:
    """H4: U = XS between two observers: the service's integral of busy workers, and the planned service times.

    A worker that was stopped for a client that left has worked for less than planned.
    """
    if not server.plan.service_time:
        detail = "No service time was planned, so only the service knows how long it worked."
        return Check("H4", UTILISATION, None, None, Verdict.INFO, detail)
    observed = {}
    for name, samples in evidence.samples.items():
        stops = server.plan.cancel is Cancel.RUNNING
        spent = [
            min(planned, ended - started) if stops and outcome == Outcome.CLIENT_TIMEOUT else planned
            for planned, started, ended, outcome in zip(
                server.schedule.services, samples.seen.started, samples.seen.ended, samples.outcomes, strict=True
            )
            if not math.isnan(started)
        ]
        observed[name] = server.integrals[name].busy_s, math.fsum(spent), len(spent)
    late_s = longest_delay_s(evidence.conditions)
    return compare_observers("H4", UTILISATION, observed, "The utilisation law", late_s)


def check_conservation(evidence: Evidence) -> Check:
    """H5: every request ended in one way, the service took on what clients saw accepted, segments add up."""
    sides = evidence.analysis.sides
    lost = sum(abs(result.offered - sum(result.outcomes.values())) for result in sides.values())
    unaccounted = sum(
        abs(sum(samples.outcomes.count(outcome) for outcome in ACCEPTED) - evidence.server.integrals[name].accepted)
        for name, samples in evidence.samples.items()
        if evidence.server is not None and evidence.server.plan.mode_of(name) is Mode.ASYNC
    )
    backwards = sum(map(count_disordered, evidence.samples.values()))
    value = {"outcomes": lost, "accepted": unaccounted, "segments": backwards}
    good = not any(value.values())
    detail = (
        "Every request is accounted for."
        if good
        else f"Unaccounted for: {lost:,} outcomes, {unaccounted:,} accepted requests, {backwards:,} sums of segments."
    )
    name = "outcomes, accepted requests and segments that do not add up"
    return Check("H5", name, value, dict.fromkeys(value, 0), Verdict.OK if good else Verdict.FAIL, detail)


def count_disordered(samples: Samples) -> int:
    """Requests with a result and a segment that ends before it begins, by more than the clocks' agreement."""
    columns = zip(samples.outcomes, *segment_columns(samples), strict=True)
    return sum(outcome in RESULTS and any(spent < -SEGMENT_S for spent in spans) for outcome, *spans in columns)


def check_same_work(evidence: Evidence, server: ServiceEvidence) -> Check:
    """H9: both sides did the same work, and it took as long as planned."""
    sides = list(evidence.samples.values())
    planned = measured = between = whole = 0.0
    pairs = 0
    for index, service in enumerate(server.schedule.services):
        if all(side.resolved(index) for side in sides):
            first, second = (side.seen.ended[index] - side.seen.started[index] for side in sides)
            pairs += 1
            between += abs(first - second)
            measured += first + second
            planned += 2 * service
            whole += (first + second) / 2
    value = {
        "between_sides": round(between / whole, 6) if whole else None,
        "from_plan": round(abs(measured - planned) / planned, 6) if planned else None,
    }
    limit = {"between_sides": SERVICE, "from_plan": SERVICE if planned else None}
    if not pairs:
        return Check("H9", SAME_WORK, value, limit, Verdict.WARN, "No request had its result on both sides.")
    apart = percent(value["between_sides"] or 0.0)
    if not planned:
        detail = f"No service time was planned: the reports took their own, which differ by {apart} between the sides."
        return Check("H9", SAME_WORK, value, limit, Verdict.INFO, detail)
    worst = max((share for share in value.values() if share is not None), default=0.0)
    verdict = Verdict.WARN if worst <= SERVICE_FAILS else Verdict.FAIL
    if worst <= SERVICE:
        verdict = Verdict.OK
    from_plan = percent(value["from_plan"] or 0.0)
    detail = f"Service times differ by {apart} between the sides and by {from_plan} from the plan."
    return Check("H9", SAME_WORK, value, limit, verdict, detail)


def check_theory(evidence: Evidence, server: ServiceEvidence) -> Check:
    """H12: the run's own arrivals and service times, replayed by the simulation, explain what was measured.

    No chance is left in this comparison, so that it is far sharper than one with the band of the prediction.
    """
    outside = [
        f"{side} {name.replace('_', ' ')}"
        for side, residuals in server.theory.items()
        for name, residual in residuals.items()
        if not residual.explained
    ]
    detail = "The simulation of the run's own arrivals and service times agrees with everything measured."
    if outside:
        detail = f"The simulation of the run's own arrivals and service times does not explain: {', '.join(outside)}."
    return Check("H12", THEORY, outside, [], Verdict.WARN if outside else Verdict.OK, detail)
