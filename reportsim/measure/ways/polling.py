"""Asks for results again and again, as clients do that cannot be called."""

import asyncio
import contextlib
import time
from array import array
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from reportsim.benchmark.results.samples import Outcome, nothing
from reportsim.measure.http_client import FAILURES, Answer, HttpClient
from reportsim.measure.server_timing import note_service
from reportsim.measure.target.documents import parse
from reportsim.measure.target.model import Poll, Request, Target, escape_url
from reportsim.measure.tasks import TaskSet
from reportsim.measure.ways.results import Results


class Polling:
    """The results that clients ask for; each was there between its last two polls."""

    may_result_unanswered = False

    def __init__(self, poll: Poll, target: Target, results: Results, client: HttpClient) -> None:
        """Begins with each request that is accepted."""
        self._poll = poll
        self._origins = target.origins
        self._timeout_s = target.limits.client_timeout_s
        self._results = results
        self._client = client
        self._tasks = TaskSet()
        self._earliest: array[float] = nothing(len(results.load.samples))
        results.load.samples.earliest = self._earliest
        for name in ("polls", "failed_polls", "duplicate", "late"):
            results.counts[name] = 0

    def callback_url(self, index: int) -> str:
        """There is none."""
        return ""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Polls for as long as the context lasts."""
        async with self._tasks.running():
            yield

    def learn(self, index: int, answer: Answer, values: Mapping[str, str]) -> None:
        """Polls for the result of a request that was accepted."""
        url = self._poll.url.fill(values, str if self._poll.url.raw == "${location}" else escape_url)
        headers = {name: template.fill(values) for name, template in self._poll.headers.items()}
        request = Request(method="GET", url=url, headers=headers, body=None)
        first_at = time.monotonic() + max(self._poll.interval_s, self._hint_s(answer))
        self._tasks.start(self._ask_until_final(index, request, first_at), name=f"poll-{index}")

    def _hint_s(self, answer: Answer | None) -> float:
        return retry_after_s(answer.headers, datetime.now(UTC)) if answer and self._poll.retry_after else 0.0

    async def _ask_until_final(self, index: int, request: Request, next_at: float) -> None:
        load = self._results.load
        known_s = load.samples.accepted[index]
        while next_at - load.due_at(index) <= self._results.deadline_s:
            await asyncio.sleep(next_at - time.monotonic())
            asked_at, asked_s = time.monotonic(), load.since_start(index)
            answer = await self._ask(request)
            moment = time.monotonic()
            outcome = self._judge(answer)
            if outcome is not None:
                self._earliest[index] = known_s
                if answer is not None:
                    note_service(load.samples, index, answer.headers)
                self._results.arrive(index, outcome, moment)
                return
            if answer is not None and answer.status < 400:
                known_s = asked_s
            else:
                self._results.counts["failed_polls"] += 1
            next_at = max(asked_at + self._poll.interval_s, moment + self._hint_s(answer))
        load.lose(index)

    async def _ask(self, request: Request) -> Answer | None:
        self._results.counts["polls"] += 1
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._client.exchange(request, keep=self._poll.status is not None)
        except (TimeoutError, *FAILURES):
            return None

    def _judge(self, answer: Answer | None) -> Outcome | None:
        if answer is None or not 200 <= answer.status < 300:
            return None
        if self._poll.status is None:
            return Outcome.OK if answer.status == 200 else None
        return self._poll.status.judge(parse(answer.body))


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float:
    """The seconds that `Retry-After` asks for, as a number or as a date; 0 where there is none."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit() and len(text) < 8:
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    return max((moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds(), 0.0)
