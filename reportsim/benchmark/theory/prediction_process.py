"""A plan's prediction from a process of its own: it takes a second, which is too long for an event loop.

`python -m reportsim.benchmark.theory.prediction_process` reads a plan as JSON from standard input, and writes its
prediction.
"""

import asyncio
import json
import sys
from typing import Any, Final

from reportsim.benchmark.helper_process import end_process, lower_priority, spawn_helper
from reportsim.benchmark.plan import Plan
from reportsim.benchmark.theory.prediction import predict

LONGEST_S: Final = 60.0


async def predict_in_process(plan: Plan) -> dict[str, Any]:
    """The prediction of a plan; a caller that is cancelled stops the computation.

    Raises:
        TimeoutError: It took longer than a minute.
    """
    process = await spawn_helper("reportsim.benchmark.theory.prediction_process")
    lower_priority(process)
    try:
        async with asyncio.timeout(LONGEST_S):
            output, _ = await process.communicate(json.dumps(plan.as_json()).encode())
    finally:
        await end_process(process)
    prediction: dict[str, Any] = json.loads(output)
    return prediction


if __name__ == "__main__":
    json.dump(predict(Plan.from_json(json.load(sys.stdin))), sys.stdout)
