"""Whether the instrument can be trusted: `python -m benchmarks.instrument [conditional] [lag] [same] [added]`.

conditional: the simulation, fed with a run's own arrivals and service times, must say what the run measured: mean wait
within 5 % + 1 ms, time-outs within 2 points, for 5 seeds, ρ = 0.7 and 1.2, every cancel policy; 60 s of load in all.
lag: a thousand arrivals a second for ten seconds, and how late they were sent; H1 must say so when they were late.
same: 20 A/A runs of 20 s, of which at most 3 may claim a difference.
added: 10 A/A runs in which the service delays side b by 20 ms; at least 8 intervals must hold that.
"""

import json
import sys
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.server import SERVE, running

SEEDS = range(1, 6)
WORKERS = 8
MEAN_MS = 60
LOADS = (0.7, 1.2)
POLICIES = ("none", "queued", "running")
WAIT_SHARE, WAIT_MS, TIMEOUT_POINTS = 0.05, 1.0, 0.02
LAG_MS = 5.0
ADDED_MS = 20


def call(url: str, body: Any = None) -> Any:
    """The JSON that a URL answers."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", "Prefer": "wait=20"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def measured(url: str, plan: Mapping[str, Any]) -> Any:
    """A run of a plan, when it has completed."""
    run = call(f"{url}/api/benchmark/both", plan)
    while run["status"] in {"PENDING", "RUNNING"}:
        run = call(url + run["links"]["self"])
    if run["status"] != "COMPLETED":
        raise SystemExit(f"the run ended as {run['status']}: {run['error']}")
    return run


def conditional(url: str) -> bool:
    """Prints how far the simulation of each run's own load is from the run."""
    good = True
    outside = 0
    print("rho   cancel   seed  side   wait ms  replayed   off        time-outs  replayed   off      outside of band")
    for rho in LOADS:
        for policy in POLICIES:
            for seed in SEEDS:
                plan = {
                    "rate": rho * WORKERS / (MEAN_MS / 1000),
                    "duration_s": 2,
                    "workers": WORKERS,
                    "seed": seed,
                    "service_time": {"distribution": "exponential", "mean_ms": MEAN_MS},
                    "client_timeout_s": 0.25,
                    "slo_s": 0.25,
                    "cancel": policy,
                }
                result = measured(url, plan)["result"]
                for side in ("sync", "async"):
                    theory = result["theory"][side]
                    wait, late = theory["mean_wait_ms"], theory["timeout_share"]
                    off = abs(wait["measured"] - wait["replayed"])
                    points = abs(late["measured"] - late["replayed"])
                    fits = off <= WAIT_SHARE * wait["replayed"] + WAIT_MS and points <= TIMEOUT_POINTS
                    good &= fits
                    beyond = [name for name, row in theory.items() if not row["inside"]]
                    outside += len(beyond)
                    print(
                        f"{rho:<5} {policy:<8} {seed:<5} {side:<6}{wait['measured']:8.1f} {wait['replayed']:9.1f}"
                        f" {off:6.2f} ms  {late['measured']:9.1%} {late['replayed']:9.1%} {points:8.2%}"
                        f"   {'' if fits else 'MISS '}{', '.join(beyond)}"
                    )
                broken = [f"{c['id']} {c['value']}" for c in result["checks"] if c["verdict"] == "fail"]
                if broken:
                    print(f"      checks that failed: {'; '.join(broken)}")
    figures = len(LOADS) * len(POLICIES) * len(SEEDS) * 2 * 6
    print(f"outside of the unconditional 95 % band: {outside} of {figures} figures ({outside / figures:.1%})")
    return good


def lag(url: str) -> bool:
    """Prints how late the generator is at a thousand arrivals a second."""
    plan = {
        "rate": 1_000,
        "duration_s": 10,
        "workers": 16,
        "service_time": {"distribution": "exponential", "mean_ms": 5},
        "client_timeout_s": 5,
        "slo_s": 1,
    }
    result = measured(url, plan)["result"]
    checks = {check["id"]: check for check in result["checks"]}
    worst = max(result[side]["sched_lag_ms"]["p99"] for side in ("sync", "async"))
    for side in ("sync", "async"):
        measured_side = result[side]
        print(
            f"{side:<6} sent {measured_side['sent']:,}, lag {measured_side['sched_lag_ms']},"
            f" time to result p50 {measured_side['time_to_result_ms']['p50']['value']} ms,"
            f" p99 {measured_side['time_to_result_ms']['p99']['value']} ms, {measured_side['outcomes']}"
        )
    for id in ("H1", "H3", "H4", "H5", "H6", "H8", "H9"):
        print(f"{id}  {checks[id]['verdict']:<5} {checks[id]['name']}: {checks[id]['value']}")
    print(result["verdict"])
    return bool(worst <= LAG_MS or checks["H1"]["verdict"] == "fail")


def a_a_plan(seed: int) -> dict[str, Any]:
    """An A/A run of 20 s."""
    return {
        "rate": 20,
        "duration_s": 20,
        "workers": 4,
        "seed": seed,
        "both": ("sync", "async")[seed % 2],
        "service_time": {"distribution": "exponential", "mean_ms": 120},
        "client_timeout_s": None,
        "slo_s": 5,
    }


def describe(mean: Mapping[str, float]) -> str:
    """A difference with its interval."""
    return f"b − a {mean['value']:8.3f} ms ({mean['low']:.3f} to {mean['high']:.3f})"


def same(url: str) -> bool:
    """Prints how many A/A runs claim a difference."""
    claims = 0
    for seed in range(1, 21):
        result = measured(url, a_a_plan(seed))["result"]
        mean = result["comparison"]["difference_ms"]["mean"]
        claimed = not mean["low"] <= 0 <= mean["high"]
        claims += claimed
        print(f"{seed:>2} {describe(mean)}{' CLAIM' if claimed else ''}")
    print(f"{claims} of 20 A/A runs claim a difference (at most 3)")
    return claims <= 3


def added(url: str) -> bool:
    """Prints how many runs find the 20 ms that the service adds to one side."""
    held = 0
    for seed in range(1, 11):
        result = measured(url, {**a_a_plan(seed), "both": "sync"})["result"]
        mean = result["comparison"]["difference_ms"]["mean"]
        holds = mean["low"] <= ADDED_MS <= mean["high"]
        held += holds
        print(f"{seed:>2} {describe(mean)}{'' if holds else ' MISS'}")
    print(f"{held} of 10 intervals hold the {ADDED_MS} ms that were added (at least 8)")
    return held >= 8


PARTS: Mapping[str, Callable[[str], bool]] = {"conditional": conditional, "lag": lag, "same": same, "added": added}


def main(names: list[str]) -> int:
    """Runs the parts that are named, or all."""
    verdicts = {}
    for name in names or PARTS:
        program = ("-m", "benchmarks.delayed_service", str(ADDED_MS)) if name == "added" else SERVE
        with running(program) as server:
            verdicts[name] = PARTS[name](server.url)
    for name, good in verdicts.items():
        print(f"{name}: {'met' if good else 'MISSED'}")
    return int(not all(verdicts.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
