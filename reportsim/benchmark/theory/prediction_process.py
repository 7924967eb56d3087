"""A plan's prediction from a process of its own: a second of computing is too long for the loop of a service.

`python -m reportsim.benchmark.theory.prediction_process` reads a plan as JSON from standard input, and writes its
prediction.
"""

import asyncio
import contextlib
import json
import os
import sys
from typing import Any, Final

from reportsim.benchmark.load.process_priority import lower_priority
from reportsim.benchmark.plan import Plan
from reportsim.benchmark.theory.prediction import predict

MOST_S: Final = 60.0


async def foresee(plan: Plan) -> dict[str, Any]:
    """What to expect of a plan; whoever stops waiting stops the computing.

    Raises:
        TimeoutError: It took longer than a minute.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "reportsim.benchmark.theory.prediction_process",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if not name.startswith("REPORTSIM_")},
    )
    lower_priority(process)
    try:
        async with asyncio.timeout(MOST_S):
            written, _ = await process.communicate(json.dumps(plan.as_json()).encode())
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    prediction: dict[str, Any] = json.loads(written)
    return prediction


if __name__ == "__main__":
    json.dump(predict(Plan.from_json(json.load(sys.stdin))), sys.stdout)
