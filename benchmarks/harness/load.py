"""Load from clients that keep their connections and send again as soon as they have an answer.

By wrk where it is installed, which costs two cores the least; else by `client.py`, in a process of its own.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from typing import Final

from benchmarks.harness.page import ROOT

CLIENTS: Final = 64
# A body that is sent again and again, each time with a new key.
POST: Final = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local body = %s
local n = 0
local seed = tostring(os.time()) .. tostring(math.random(1e9))
request = function()
  n = n + 1
  wrk.headers["X-Idempotency-Key"] = seed .. "-" .. n
  return wrk.format(nil, nil, nil, body)
end
"""


@dataclass(frozen=True)
class Load:
    """What a load came to: requests per second, and the latency in milliseconds below which 50 and 99 % lie."""

    rate: float
    p50: float
    p99: float
    errors: int
    seconds: float


def posts(url: str, body: dict[str, object], *, seconds: int, clients: int = CLIENTS) -> Load:
    """Posts a body for some seconds."""
    text = json.dumps(body)
    if shutil.which("wrk"):
        return wrk(url, seconds=seconds, clients=clients, script=POST % lua(text))
    command = [sys.executable, "-m", "benchmarks.harness.client", url, text, str(seconds), str(clients)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return Load(**json.loads(done.stdout))


def describe_client() -> str:
    """Which client loads."""
    return "wrk" if shutil.which("wrk") else "an asyncio client in a process of its own (wrk is not installed)"


def lua(text: str) -> str:
    """A text as Lua writes it."""
    return "[==[" + text + "]==]"


def wrk(url: str, *, seconds: int, clients: int = CLIENTS, script: str | None = None) -> Load:
    """Loads a URL with keep-alive clients; `script` is Lua for wrk."""
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", f"{seconds + 30}s", "--latency"]
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        if script:
            file.write(script)
            file.flush()
            command += ["-s", file.name]
        text = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
    return read_wrk(text)


def read_wrk(text: str) -> Load:
    """What wrk printed."""
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    took = re.search(r"requests in ([\d.]+(?:us|ms|s|m)),", text)
    if rate is None or took is None:
        raise ValueError(text)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    errors = (int(bad[1]) if bad else 0) + (sum(map(int, broken.groups())) if broken else 0)
    percentiles = dict(re.findall(r"^\s+(50|99)%\s+(\S+)$", text, re.MULTILINE))
    # Without any answer there are no percentiles.
    whole = str(took[1])
    p50, p99 = (in_ms(percentiles.get(which, whole)) for which in ("50", "99"))
    return Load(float(rate[1]), p50, p99, errors, in_ms(whole) / 1000)


def in_ms(text: str) -> float:
    """A time as wrk writes it, in milliseconds."""
    for unit, factor in (("us", 0.001), ("ms", 1.0), ("s", 1000.0), ("m", 60_000.0)):
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * factor
    raise ValueError(text)
