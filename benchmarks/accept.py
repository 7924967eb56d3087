"""What it costs to accept a request: microseconds of the service's CPU for a 202, beside its trivial handler.

Both are loaded in turn by 64 clients that keep their connections; PostgreSQL's CPU is not counted. The only slot is
occupied, so that what is accepted waits. Needs wrk.
"""

import statistics
from typing import Final

from benchmarks.engine import POST, SECONDS, TRIVIAL, WAITING, occupy, server_cpu
from benchmarks.harness.load import wrk
from benchmarks.server import Server, running

ROUNDS: Final = 5
BODY: Final = '{"ledger":"tiny"}'


def microseconds(server: Server, path: str, script: str | None = None) -> float:
    """The CPU time of the service for each request of one round."""
    before = server_cpu(server)
    load = wrk(server.url + path, seconds=SECONDS, script=script)
    if load.errors:
        raise RuntimeError(f"{load.errors} requests were refused")
    return (server_cpu(server) - before) / (load.rate * SECONDS) * 1e6


def main() -> None:
    """Prints the medians and the ratio."""
    accept = POST % (BODY, "/api/async")
    with running(**WAITING) as server:
        occupy(server)
        microseconds(server, "", accept)
        rounds = [(microseconds(server, TRIVIAL), microseconds(server, "", accept)) for _ in range(ROUNDS)]
    trivial, accepted = (statistics.median(costs) for costs in zip(*rounds, strict=True))
    ratio = statistics.median(cost / of_trivial for of_trivial, cost in rounds)
    print(f"CPU of the service: {accepted:.0f} µs for a 202, {trivial:.0f} µs for {TRIVIAL}, ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
