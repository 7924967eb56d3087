"""Whether measurements of other services are right: `python -m benchmarks.measure [point] [seeds] [lag]`.

point: a service of 50 ms, of 50 + 30 ms until it calls back, and polled every 200 ms: within 3 ms of what it says
itself of its medians.
seeds: with delays that are drawn, the interval of the mean, widened by 3 ms, holds what the service itself has seen in
at least 17 of 20 seeds; a polled result was there between its two bounds.
lag: how late requests are sent at 1,000 a second to a service that does nothing: 99 % at most 5 ms.
"""

import contextlib
import json
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from benchmarks import sink

WITHIN_MS = 3.0
SEEDS, HELD = 20, 17
LAG_MS = 5.0
PARTS_OF_A_TARGET = {
    "sync": '[sync]\nrequest = {url = "URL/report"}\nsuccess = [200, 204]\n',
    "callback": """[async]
request = {url = "URL/jobs", body = {notify = "${callback_url}"}}
[async.callback]
listen = "127.0.0.1:0"
""",
    "poll": """[async]
request = {url = "URL/jobs", body = {}}
[async.poll]
url = "${location}"
interval_s = 0.2
status = {pointer = "/state", done = ["ok"]}
""",
}
LIMITS = "[limits]\nsettle_s = 0.2\nresult_deadline_s = 20\n"


@contextlib.contextmanager
def artificial(seed: str) -> Iterator[str]:
    """A service in a process of its own; yields its URL."""
    command = [sys.executable, "-m", "benchmarks.artificial_service", seed]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.kill()


def measure(url: str, *parts: str, rate: float = 40, seconds: float = 8) -> Any:
    """The result of a measurement of some parts of a service."""
    text = "".join(PARTS_OF_A_TARGET[part] for part in parts).replace("URL", url)
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(text + LIMITS)
        file.flush()
        command = [sys.executable, "-m", "reportsim", "measure", file.name, "--json"]
        found = subprocess.run(
            [*command, "--rate", str(rate), "--duration", str(seconds)], stdout=subprocess.PIPE, check=False
        )
    return json.loads(found.stdout)


def figures(url: str) -> dict[str, float]:
    """What a service has seen of itself: means and medians in milliseconds."""
    with urllib.request.urlopen(f"{url}/figures", timeout=10) as answer:
        found: dict[str, float] = json.load(answer)
    return found


def point() -> bool:
    """Prints medians beside what they must be."""
    good = True
    with artificial("fixed") as url:
        both, polled, seen = measure(url, "sync", "callback"), measure(url, "poll"), figures(url)
    rows = (("sync", both["sync"], "sync"), ("callback", both["async"], "called"), ("poll", polled["async"], "polled"))
    for name, side, own in rows:
        found, truth = side["time_to_result_ms"]["p50"]["value"], seen[f"{own}_median"]
        good &= abs(found - truth) <= WITHIN_MS
        mark = "" if abs(found - truth) <= WITHIN_MS else "  MISS"
        print(f"{name:<9} {found:7.2f} ms, the service {truth:7.2f} ms{mark}")
    return bool(good)


def holds(low: float | None, high: float | None, truth: float) -> bool:
    """Whether an interval, widened, holds the truth."""
    return (low is None or low - WITHIN_MS <= truth) and (high is None or truth <= high + WITHIN_MS)


def hold_in_seed(seed: int, seconds: float = 8) -> bool:
    """Whether the intervals of one seed hold what the service has seen, which is printed."""
    with artificial(str(seed)) as url:
        both, seen = measure(url, "sync", "callback", seconds=seconds), figures(url)
    with artificial(str(seed)) as url:
        polled, ready = measure(url, "poll", seconds=seconds)["async"], figures(url)["ready"]
    bounds = {
        "low": polled["earliest_ms"]["mean"]["low"],
        "high": polled["time_to_result_ms"]["mean"]["high"],
    }
    rows = [
        ("sync", both["sync"]["time_to_result_ms"]["mean"], seen["sync"]),
        ("callback", both["async"]["time_to_result_ms"]["mean"], seen["called"]),
        ("poll", bounds, ready),
    ]
    for name, found, truth in rows:
        mark = "" if holds(found["low"], found["high"], truth) else "  MISS"
        print(f"{seed:>2} {name:<9} {found['low']:7.2f} … {found['high']:7.2f} ms, the service {truth:7.2f} ms{mark}")
    return all(holds(found["low"], found["high"], truth) for _, found, truth in rows)


def seeds() -> bool:
    """Prints in how many seeds every interval holds the service's own figure."""
    held = sum(hold_in_seed(seed) for seed in range(1, SEEDS + 1))
    print(f"{held} of {SEEDS} seeds hold (at least {HELD})")
    return held >= HELD


def lag() -> bool:
    """Prints how late requests are sent at a thousand a second to something that only says 204."""
    worst = []
    for _ in range(3):
        with sink.running() as receiver:
            side = measure(f"http://127.0.0.1:{receiver.port}", "sync", rate=1_000, seconds=10)["sync"]
        worst.append(side["sched_lag_ms"]["p99"])
        print(f"sent {side['sent']:,}, lag {side['sched_lag_ms']}, p50 {side['time_to_result_ms']['p50']['value']} ms")
    print(f"median of three p99: {sorted(worst)[1]} ms (at most {LAG_MS:g})")
    return bool(sorted(worst)[1] <= LAG_MS)


PARTS: Mapping[str, Callable[[], bool]] = {"point": point, "seeds": seeds, "lag": lag}


def main(names: list[str]) -> int:
    """Runs the parts that are named, or all."""
    verdicts = {name: PARTS[name]() for name in names or PARTS}
    for name, good in verdicts.items():
        print(f"{name}: {'met' if good else 'MISSED'}")
    return int(not all(verdicts.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
