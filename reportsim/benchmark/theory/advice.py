"""Advice from theory: up to which rate sync clients do not time out, with the workers and the time-out of a plan."""

from typing import Final

from reportsim.benchmark.plan import Cancel, Plan
from reportsim.benchmark.theory.erlang import allen_cunneen, mmc
from reportsim.core.number_format import duration, percent, three

# The share of time-outs that is tolerable.
TOLERABLE: Final = 0.01
HALVINGS: Final = 30


def advise(plan: Plan) -> str | None:
    """Whether to stay with sync, in two sentences; None where no theory has an answer."""
    timeout_s = plan.client_timeout_s
    if timeout_s is None or plan.both is not None or plan.cancel is not Cancel.NONE or not plan.service.mean_s:
        return None
    alone = plan.service.survival(1000 * timeout_s)
    if alone > TOLERABLE:
        return (
            f"Sync does not fit at any rate: {percent(alone)} of the reports alone take longer than the "
            f"time-out of {duration(timeout_s)}. Go async."
        )
    rate = highest_rate(plan, timeout_s)
    return (
        f"With {plan.workers} workers and a time-out of {duration(timeout_s)}, sync is fine up to {three(rate)} "
        f"requests per second: theory expects {percent(TOLERABLE)} of the clients to time out there, in the long run. "
        "Beyond that, shed load or go async."
    )


def highest_rate(plan: Plan, timeout_s: float) -> float:
    """The rate of Poisson arrivals at which the tolerable share of sync clients times out."""
    low, high = 0.0, plan.workers / plan.service.mean_s
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if timeout_share(plan, middle, timeout_s) > TOLERABLE:
            high = middle
        else:
            low = middle
    return low


def timeout_share(plan: Plan, rate: float, timeout_s: float) -> float:
    """The share of clients that time out in the steady state; all of them where there is none."""
    if plan.service.exponential:
        theory = mmc(rate, plan.service.mean_s, plan.workers)
    else:
        theory = allen_cunneen(rate, plan.service, plan.workers, 1.0)
    share = theory.p_timeout(timeout_s)
    return 1.0 if share is None else share
