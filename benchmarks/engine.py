"""How fast the engine accepts and works, against what the same process can do at best.

Every figure is a median of three rounds, taken in turn with the trivial handler of the same server, so that the ratio
holds on a machine that others use too. Beside it stands the ratio of the CPU times that the service spends on each,
which other load hardly changes. Needs wrk. `benchmarks.peers.queues` compares the queue with others.
"""

import json
import statistics
import time
import urllib.request
from dataclasses import dataclass
from typing import Final

import psutil

from benchmarks import sink
from benchmarks.harness.load import wrk
from benchmarks.server import Server, running

ROUNDS: Final = 3
SECONDS: Final = 4
WORKERS: Final = 4
MINUTES: Final = 4
TRIVIAL: Final = "/healthz"
# The limits on what one client may have waiting are not what is measured.
SETTINGS: Final = {
    "REPORTSIM_WORKERS": str(WORKERS),
    "REPORTSIM_CLIENT_WAITING": "1000000",
    "REPORTSIM_CLIENT_PLANNED_S": "1000000",
    "REPORTSIM_CALLBACK_RATE": "0",
}
LONGEST_S: Final = 180.0
ACCEPTED: Final = "reportsim_requests_accepted_total{"
ENDED: Final = "reportsim_requests_ended_total{"
# What is accepted waits for the only slot; all clients have one address.
WAITING: Final = {"REPORTSIM_WORKERS": "1", "REPORTSIM_CLIENT_WAITING": "1000000", "REPORTSIM_SHUTDOWN_GRACE_S": "1"}
DELIVERED: Final = 'reportsim_webhook_deliveries_total{outcome="success"}'
ONE_DAY: Final = '{"report_type":"general_ledger","ledger":"%s","from":"2025-06-01","to":"2025-06-02"}'
BUSY: Final = '{"ledger":"tiny","simulate":{"service_time":{"distribution":"fixed","mean_ms":60000}}}'

POST: Final = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local body = '%s'
local n = 0
local seed = tostring(os.time()) .. tostring(math.random(1e9))
request = function()
  n = n + 1
  wrk.headers["X-Idempotency-Key"] = seed .. "-" .. n
  return wrk.format(nil, "%s", nil, body)
end
"""


@dataclass(frozen=True)
class Round:
    """A load and the trivial handler's beside it: requests per second, CPU seconds of each, the p99 in milliseconds."""

    rate: float
    cpu: float
    p99: float
    trivial_rate: float
    trivial_cpu: float
    errors: int


def compared(server: Server, name: str, path: str, body: str, aim: float) -> None:
    """Prints a load's rate beside the trivial handler's."""
    rounds = [one_round(server, path, body) for _ in range(ROUNDS)]
    ratio = statistics.median(each.rate / each.trivial_rate for each in rounds)
    of_cpu = statistics.median(each.trivial_cpu / each.cpu for each in rounds)
    errors = sum(each.errors for each in rounds)
    print(
        f"{name:<42} {statistics.median(each.rate for each in rounds):8,.0f}/s"
        f"  p99 {statistics.median(each.p99 for each in rounds):6.1f} ms"
        f"  trivial {statistics.median(each.trivial_rate for each in rounds):8,.0f}/s"
        f"  ratio {ratio:.2f} (aim {aim}), of CPU {of_cpu:.2f}" + (f"  ERRORS {errors}" if errors else "")
    )


def one_round(server: Server, path: str, body: str) -> Round:
    """The trivial handler, then the load, each with 64 clients that keep their connections."""
    before = server_cpu(server)
    trivial = wrk(server.url + TRIVIAL, seconds=SECONDS)
    between = server_cpu(server)
    load = wrk(server.url, seconds=SECONDS, script=POST % (body, path))
    after = server_cpu(server)
    return Round(
        rate=load.rate,
        cpu=(after - between) / (load.rate * SECONDS),
        p99=load.p99,
        trivial_rate=trivial.rate,
        trivial_cpu=(between - before) / (trivial.rate * SECONDS),
        errors=load.errors,
    )


def server_cpu(server: Server) -> float:
    """The CPU time of the service's process so far, in seconds."""
    times = psutil.Process(server.pid).cpu_times()
    return float(times.user + times.system)


def worked_off(server: Server, name: str, body: str, counted: str) -> None:
    """Prints how many requests a second go all the way, from the first POST to the last end or callback.

    `counted` is the metric that rises by one for each when it is there.
    """
    rates = []
    for _ in range(ROUNDS):
        accepted, done, began = metric(server, ACCEPTED), metric(server, counted), time.monotonic()
        wrk(server.url, seconds=SECONDS, script=POST % (body, "/api/async"))
        rates.append(risen(server, accepted, done, counted) / (time.monotonic() - began))
    print(f"{name:<42} {statistics.median(rates):8,.0f}/s  [{min(rates):,.0f} .. {max(rates):,.0f}]")


def risen(server: Server, accepted: float, done: float, counted: str) -> float:
    """Waits until a metric has risen from `done` by what was accepted since; says by how much."""
    deadline = time.monotonic() + LONGEST_S
    while (rise := metric(server, counted) - done) < (wanted := metric(server, ACCEPTED) - accepted) or not rise:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{counted} rose by {rise:.0f}, and {wanted:.0f} were accepted")
        time.sleep(0.05)
    return rise


def metric(server: Server, name: str) -> float:
    """The sum of the service's own metrics whose lines begin so; no such metric is an error."""
    with urllib.request.urlopen(server.url + "/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    if not any(line.startswith(f"# TYPE {name.partition('{')[0].strip()} ") for line in lines):
        raise LookupError(f"there is no metric {name}")
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def occupy(server: Server) -> None:
    """Gives the only slot some minutes' work that costs nothing, so that what is accepted only waits."""
    headers = {"Content-Type": "application/json"}
    for _ in range(MINUTES):
        urllib.request.urlopen(
            urllib.request.Request(server.url + "/api/async", BUSY.encode(), headers), timeout=10
        ).close()


def main() -> None:
    """Prints the table."""
    with running(**WAITING) as server:
        occupy(server)
        compared(server, "202: validated, keyed, committed", "/api/async", '{"ledger":"tiny"}', 0.5)
    with (
        sink.running() as receiver,
        running(**SETTINGS, REPORTSIM_CALLBACK_ALLOW="127.0.0.0/8") as server,
    ):
        compared(server, "sync: one day of the tiny ledger", "/api/sync", ONE_DAY % "tiny", 0.1)
        compared(server, "sync: one day of 100,000 lines", "/api/sync", ONE_DAY % "demo", 0.1)
        worked_off(server, "accepted to finished, the same", ONE_DAY % "demo", ENDED)
        called_back = json.dumps({**json.loads(ONE_DAY % "demo"), "callback_url": receiver.url()})
        worked_off(server, "accepted to called back and logged", called_back, DELIVERED)


if __name__ == "__main__":
    main()
