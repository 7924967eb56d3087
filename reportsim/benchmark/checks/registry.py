"""H1 to H15: whether a run can be trusted. Each check's own lines have its limit and the reason."""

from collections.abc import Callable, Iterable
from typing import Final

from reportsim.benchmark.checks import block_checks, load_checks, measurement_checks, process_checks
from reportsim.benchmark.checks.model import Check, Conditions, Evidence, ServiceEvidence, Verdict

SAMPLE_CHECKS: Final[tuple[Callable[[Evidence], Check], ...]] = (
    load_checks.check_schedule_lag,
    load_checks.check_arrivals,
    measurement_checks.check_conservation,
    block_checks.check_sample_size,
    block_checks.check_stationarity,
    block_checks.check_order,
)
SERVER_CHECKS: Final[dict[str, tuple[str, Callable[[Evidence, ServiceEvidence], Check]]]] = {
    "H3": (measurement_checks.LITTLE, measurement_checks.check_little),
    "H4": (measurement_checks.UTILISATION, measurement_checks.check_utilisation),
    "H9": (measurement_checks.SAME_WORK, measurement_checks.check_same_work),
    "H12": (measurement_checks.THEORY, measurement_checks.check_theory),
    "H15": (process_checks.PLUG, process_checks.check_plug),
}
PROCESS_CHECKS: Final[dict[str, tuple[str, Callable[[Evidence, Conditions], Check]]]] = {
    "H6": (process_checks.MACHINE, process_checks.check_machine),
    "H8": (process_checks.GARBAGE, process_checks.check_garbage_collection),
}


def run_checks(evidence: Evidence) -> list[Check]:
    """All checks in the order of their numbers; those whose records there are none of are `not_run`."""
    checks = [check(evidence) for check in SAMPLE_CHECKS]
    for id, (name, check) in SERVER_CHECKS.items():
        if evidence.server is None:
            checks.append(not_run(id, name, "It needs the records of the service."))
        else:
            checks.append(check(evidence, evidence.server))
    for id, (name, check_process) in PROCESS_CHECKS.items():
        if evidence.conditions is None:
            checks.append(not_run(id, name, "It needs the records of the processes."))
        else:
            checks.append(check_process(evidence, evidence.conditions))
    return sorted(checks, key=lambda check: int(check.id[1:]))


def not_run(id: str, name: str, reason: str) -> Check:
    """A check that could not be made."""
    return Check(id, name, None, None, Verdict.NOT_RUN, reason)


def is_trusted(checks: Iterable[Check]) -> bool:
    """Whether no check failed."""
    return all(check.verdict is not Verdict.FAIL for check in checks)
