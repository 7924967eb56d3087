"""H1 to H14: whether a run can be believed. The limits and their reasons: each check's own line."""

from collections.abc import Callable, Iterator
from typing import Final

from reportsim.benchmark import generator_checks, server_checks
from reportsim.benchmark.evidence import Check, Evidence, Verdict

CHECKS: Final[tuple[Callable[[Evidence], Check], ...]] = (
    generator_checks.schedule_lag,
    generator_checks.arrivals,
    server_checks.little,
    server_checks.utilisation,
    server_checks.conservation,
    generator_checks.machine,
    generator_checks.client_pool,
    generator_checks.garbage_collection,
    server_checks.same_work,
    server_checks.sample_size,
    server_checks.stationarity,
    server_checks.theory,
    generator_checks.freeze,
    server_checks.repetition,
)


def audit(evidence: Evidence) -> list[Check]:
    """All checks of a run in their order."""
    return [check(evidence) for check in CHECKS]


def failed(checks: list[Check]) -> Iterator[Check]:
    """Those that forbid to trust the result."""
    return (check for check in checks if check.verdict is Verdict.FAIL)
