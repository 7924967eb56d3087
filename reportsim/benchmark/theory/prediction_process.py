"""A plan's prediction from a process of its own: it takes a second, which is too long for an event loop.

`python -m reportsim.benchmark.theory.prediction_process` reads a plan as JSON from standard input, and writes its
prediction.
"""

import json
import sys
from typing import Any, Final

from reportsim.benchmark.helper_process import compute_in_helper
from reportsim.benchmark.plan import Plan
from reportsim.benchmark.theory.prediction import predict

LONGEST_S: Final = 60.0


async def predict_in_process(plan: Plan) -> dict[str, Any]:
    """The prediction of a plan; a caller that is cancelled stops the computation.

    Raises:
        TimeoutError: It took longer than a minute.
    """
    prediction: dict[str, Any] = await compute_in_helper(
        "reportsim.benchmark.theory.prediction_process", plan.as_json(), LONGEST_S
    )
    return prediction


if __name__ == "__main__":
    json.dump(predict(Plan.from_json(json.load(sys.stdin))), sys.stdout)
