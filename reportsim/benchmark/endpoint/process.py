"""What an endpoint can take, from a process of its own: it takes seconds, which is too long for an event loop.

`python -m reportsim.benchmark.endpoint.process` reads a question as JSON from standard input, and writes its answer.
"""

import io
import json
import sys
from dataclasses import asdict, dataclass
from typing import Final

from reportsim.benchmark.endpoint.capacity import CapacityError, Endpoint, estimate_capacity, fit_lognormal
from reportsim.benchmark.endpoint.words import advice, assumptions, capacity_figure, headline
from reportsim.benchmark.helper_process import compute_in_helper
from reportsim.benchmark.request_log.errors import LogError
from reportsim.benchmark.request_log.reader import RequestLog, read_log
from reportsim.benchmark.request_log.units import Unit
from reportsim.core.observed_service_time import Distribution

LONGEST_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """An endpoint as somebody describes it: by a log, or by two percentiles in seconds."""

    durations: str
    unit: str
    field: str
    p50_s: float | None
    p99_s: float | None
    rate: float | None
    workers: int
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What the endpoint can take, in words and as a picture."""

    headline: str
    advice: str
    assumptions: str
    plot: str
    requests: int | None
    """How many the log has; None where there is none."""
    format: str | None
    rate: float | None
    p50_s: float
    p99_s: float
    mean_s: float


class QuestionError(ValueError):
    """A question that has no answer; `field` is what is wrong with it."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(problem)
        self.field = field


async def answer_in_process(question: Question) -> Answer:
    """The answer; a caller that is cancelled stops the computation.

    Raises:
        QuestionError: There is none.
        TimeoutError: It took longer than a minute.
    """
    found = await compute_in_helper("reportsim.benchmark.endpoint.process", asdict(question), LONGEST_S)
    if "problem" in found:
        raise QuestionError(found["field"], found["problem"])
    return Answer(**found)


def answer(question: Question) -> Answer:
    """Computes the answer.

    Raises:
        QuestionError: There is none.
    """
    log: RequestLog | None = None
    try:
        if question.p50_s is not None and question.p99_s is not None:
            service: Distribution = fit_lognormal(question.p50_s, question.p99_s)
        else:
            text = io.BytesIO(question.durations.encode())
            unit = Unit(question.unit) if question.unit else None
            log = read_log(text, unit=unit, name=question.field or None)
            service = log.durations
    except LogError as error:
        raise QuestionError("durations", str(error)) from None
    except CapacityError as error:
        raise QuestionError("p99_ms", str(error)) from None
    rate = question.rate
    if rate is None and log is not None and log.rate is not None:
        rate = log.rate.busiest
    try:
        endpoint = Endpoint(service=service, workers=question.workers, timeout_s=question.timeout_s, rate=rate)
    except CapacityError as error:
        raise QuestionError("rate", str(error)) from None
    capacity = estimate_capacity(endpoint)
    return Answer(
        headline=headline(capacity),
        advice=advice(capacity),
        assumptions=assumptions(capacity),
        plot=capacity_figure(capacity),
        requests=None if log is None else log.count,
        format=None if log is None else log.format,
        rate=rate,
        p50_s=service.quantile_s(0.5),
        p99_s=service.quantile_s(0.99),
        mean_s=service.mean_s,
    )


if __name__ == "__main__":
    try:
        json.dump(asdict(answer(Question(**json.load(sys.stdin)))), sys.stdout)
    except QuestionError as error:
        json.dump({"field": error.field, "problem": str(error)}, sys.stdout)
