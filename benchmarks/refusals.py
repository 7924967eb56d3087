"""How cheap a refusal is: 429s against the trivial handler of the same server.

Each figure is a median of rounds taken in turn, by the clock and by the CPU time that the service spends on a request,
which other users of the machine disturb less. Needs wrk.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

import psutil

from benchmarks.harness.load import wrk
from benchmarks.server import Server, running

# Short rounds taken in turn: whoever else uses the machine disturbs both sides of a ratio.
ROUNDS = 11
SECONDS = 1
TRIVIAL = "/healthz"
REFUSED = 'wrk.method = "POST"\n'
LEAST_RATIO = 0.8
P99_MS = 5.0


@dataclass
class Series:
    """One load in all rounds: requests per second, and the microseconds of CPU that one costs the service."""

    rates: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)
    p99s: list[float] = field(default_factory=list)

    def take(self, server: Server, path: str, *, script: str | None = None, clients: int = 64) -> None:
        """Loads the server for one round."""
        process = psutil.Process(server.pid)
        before = sum(process.cpu_times()[:2])
        load = wrk(server.url + path, seconds=SECONDS, clients=clients, script=script)
        self.rates.append(load.rate)
        self.p99s.append(load.p99)
        self.costs.append((sum(process.cpu_times()[:2]) - before) / (load.rate * SECONDS) * 1e6)


def ratio(one: Sequence[float], other: Sequence[float]) -> float:
    """The median of the ratios of rounds."""
    return statistics.median(a / b for a, b in zip(one, other, strict=True))


def main() -> None:
    """429s against the trivial handler."""
    refused, trivial = Series(), Series()
    with running(REPORTSIM_SYNC_RATE="1") as server:
        refused.take(server, "/api/sync", script=REFUSED)
        refused = Series()
        for _ in range(ROUNDS):
            trivial.take(server, TRIVIAL)
            refused.take(server, "/api/sync", script=REFUSED)
        alone, trivial_alone = Series(), Series()
        for _ in range(ROUNDS):
            trivial_alone.take(server, TRIVIAL, clients=1)
            alone.take(server, "/api/sync", script=REFUSED, clients=1)
    print(
        f"429s  {statistics.median(refused.rates):,.0f}/s of {statistics.median(trivial.rates):,.0f}/s trivial:"
        f"  ratio {ratio(refused.rates, trivial.rates):.2f} by the clock, {ratio(trivial.costs, refused.costs):.2f}"
        f" by CPU (aim {LEAST_RATIO});  p99 of one client {statistics.median(alone.p99s):.2f} ms (aim {P99_MS:g},"
        f" trivial {statistics.median(trivial_alone.p99s):.2f} ms)"
    )


if __name__ == "__main__":
    main()
