"""H1 to H14: whether a run can be believed. The limits and their reasons: each check's own line."""

from collections.abc import Callable, Iterator
from typing import Final

from reportsim.benchmark.checks import load_checks, measurement_checks
from reportsim.benchmark.checks.model import Check, Evidence, Verdict

CHECKS: Final[tuple[Callable[[Evidence], Check], ...]] = (
    load_checks.schedule_lag,
    load_checks.arrivals,
    measurement_checks.little,
    measurement_checks.utilisation,
    measurement_checks.conservation,
    load_checks.machine,
    load_checks.client_pool,
    load_checks.garbage_collection,
    measurement_checks.same_work,
    measurement_checks.sample_size,
    measurement_checks.stationarity,
    measurement_checks.theory,
    load_checks.freeze,
    measurement_checks.repetition,
)


def audit(evidence: Evidence) -> list[Check]:
    """All checks of a run in their order."""
    return [check(evidence) for check in CHECKS]


def failed(checks: list[Check]) -> Iterator[Check]:
    """Those that forbid to trust the result."""
    return (check for check in checks if check.verdict is Verdict.FAIL)
