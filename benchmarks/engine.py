"""How fast the engine accepts and works, against what the same process can do at best.

Every figure is a median of three, taken in turn with the trivial handler of the same server, so that the ratio holds on
a machine that others use too. Needs wrk.
"""

import statistics
import time
import urllib.request
from json import loads

from benchmarks.server import Load, Server, running, wrk

ROUNDS = 3
SECONDS = 4
TRIVIAL = "/healthz"
ONE_DAY = '{"report_type":"general_ledger","ledger":"%s","from":"2025-06-01","to":"2025-06-02"}'

POST = """
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


def compared(server: Server, name: str, path: str, body: str, aim: float) -> None:
    """Prints a load's rate beside the trivial handler's."""
    pairs: list[tuple[Load, Load]] = []
    for _ in range(ROUNDS):
        trivial = wrk(server.url + TRIVIAL, seconds=SECONDS)
        load = wrk(server.url, seconds=SECONDS, script=POST % (body, path))
        drain(server)
        pairs.append((load, trivial))
    ratio = statistics.median(load.rate / trivial.rate for load, trivial in pairs)
    rate = statistics.median(load.rate for load, _ in pairs)
    best = statistics.median(trivial.rate for _, trivial in pairs)
    p99 = statistics.median(load.p99 for load, _ in pairs)
    bad = sum(load.errors for load, _ in pairs)
    print(
        f"{name:<44} {rate:8,.0f}/s  p99 {p99:6.1f} ms  trivial {best:8,.0f}/s  ratio {ratio:.2f} (aim {aim})"
        + (f"  ERRORS {bad}" if bad else "")
    )


def drain(server: Server) -> float:
    """Waits until nothing waits any more; says how many requests a second were ended meanwhile."""
    first, began = jobs(server), time.monotonic()
    while (left := jobs(server)) > 0:
        time.sleep(0.05)
        if time.monotonic() - began > 120:
            raise TimeoutError(f"{left} requests still wait")
    return first / max(time.monotonic() - began, 0.001)


def jobs(server: Server) -> int:
    """How many requests have not ended."""
    text = metrics(server)
    return sum(int(float(line.rpartition(" ")[2])) for line in text.splitlines() if line.startswith("reportsim_jobs{"))


def metrics(server: Server) -> str:
    """The service's own counts."""
    with urllib.request.urlopen(server.url + "/metrics", timeout=10) as answer:
        text: str = answer.read().decode()
    return text


def main() -> None:
    """Prints the table."""
    with running(REPORTSIM_WORKERS="4") as server:
        print(loads(urllib.request.urlopen(server.url + "/api/ledgers").read())["items"])
        compared(server, "202 (validated, keyed, committed)", "/api/async", '{"ledger":"tiny"}', 0.5)
        compared(server, "sync, one day of the tiny ledger", "/api/sync", ONE_DAY % "tiny", 0.1)
        compared(server, "sync, one day of 100,000 lines", "/api/sync", ONE_DAY % "demo", 0.1)


if __name__ == "__main__":
    main()
