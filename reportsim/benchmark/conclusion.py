"""The whole result of a run: estimates, theory beside them, objectives, checks and the verdict."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from reportsim.benchmark.checks.model import Conditions, Evidence, ServiceEvidence
from reportsim.benchmark.checks.registry import is_trusted, run_checks
from reportsim.benchmark.plan import Plan
from reportsim.benchmark.results.analysis import analyse
from reportsim.benchmark.results.csv_reader import RecordedRun
from reportsim.benchmark.results.objectives import judge, objectives
from reportsim.benchmark.results.samples import Integrals, Samples
from reportsim.benchmark.results.trace_simulation import conditional, measured, residuals
from reportsim.benchmark.results.verdict import write_verdict
from reportsim.benchmark.schedule import Schedule

Json = dict[str, Any]


def conclude(
    plan: Plan,
    schedule: Schedule,
    prediction: Json,
    samples: Mapping[str, Samples],
    integrals: Mapping[str, Integrals],
    conditions: Conditions,
) -> Json:
    """The `result` of the API."""
    analysis = analyse(plan.design, samples)
    theory = {
        side: residuals(
            prediction[side],
            conditional(plan, samples[side], schedule),
            measured(plan, samples[side], integrals[side]),
        )
        for side in analysis.sides
    }
    server = ServiceEvidence(plan=plan, schedule=schedule, integrals=integrals, theory=theory)
    elapsed = replace(conditions, elapsed_s=sum(each.elapsed_s for each in integrals.values()))
    checks = run_checks(Evidence(samples=samples, analysis=analysis, server=server, conditions=elapsed))
    shown, wanted = analysis.as_json(), objectives(plan)
    return {
        **shown,
        "theory": {
            side: {name: residual.as_json() for name, residual in found.items()} for side, found in theory.items()
        },
        "slo": {side: judge(shown[side], wanted) for side in analysis.sides},
        "checks": [check.as_json() for check in checks],
        "trusted": is_trusted(checks),
        "verdict": write_verdict(analysis),
    }


def conclude_from_samples(run: RecordedRun) -> Json:
    """What can be concluded from exported samples alone: all but theory, objectives and the checks of the service."""
    analysis = analyse(run.design, run.samples)
    checks = run_checks(Evidence(samples=run.samples, analysis=analysis))
    return {
        **analysis.as_json(),
        "checks": [check.as_json() for check in checks],
        "trusted": None,
        "verdict": write_verdict(analysis),
    }
