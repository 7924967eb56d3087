"""A service of somebody else as the target of a load: its requests, and what their answers mean."""

import asyncio
import contextlib
import math
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final, Protocol

from yarl import URL

from reportsim.benchmark.load.side_load import SideLoad
from reportsim.benchmark.results.samples import Outcome
from reportsim.core.model import Mode
from reportsim.measure.http_client import FAILURES, Answer, HttpClient
from reportsim.measure.server_timing import note_service
from reportsim.measure.target.documents import parse
from reportsim.measure.target.model import AsyncSide, Callback, Poll, SyncSide, Target, escape_url
from reportsim.measure.tasks import TaskSet
from reportsim.measure.ways.polling import Polling
from reportsim.measure.ways.receiver import Receiver
from reportsim.measure.ways.results import Results
from reportsim.measure.ways.streams import Streaming


class Way(Protocol):
    """How results are learned that do not come as an answer."""

    may_result_unanswered: bool

    def callback_url(self, index: int) -> str:
        """Where the service is to call for a request."""
        ...

    def running(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Does its work for as long as the context lasts."""
        ...

    def learn(self, index: int, answer: Answer, values: Mapping[str, str]) -> None:
        """Sees to the result of a request that was accepted."""
        ...


class ForeignService:
    """The service that a target file describes."""

    def __init__(self, target: Target, client: HttpClient) -> None:
        """Sends nothing yet; keys are of this run alone."""
        self._target = target
        self._client = client
        self._origins = target.origins
        self._run: Final = secrets.token_hex(8)
        self._tasks = TaskSet()
        self._way: Way | None = None
        self.results: Results | None = None

    @contextlib.asynccontextmanager
    async def running(self, loads: Mapping[str, SideLoad]) -> AsyncIterator[None]:
        """Takes results for as long as the context lasts.

        Raises:
            WayError: They cannot be learned in this way.
        """
        async with contextlib.AsyncExitStack() as stack:
            if self._target.later is not None:
                counts = Counter({"without_id": 0})
                deadline_s = self._target.limits.result_deadline_s
                self.results = Results(loads[Mode.ASYNC.value], deadline_s, counts)
                self._way = self._make_way(self._target.later, self.results)
                await stack.enter_async_context(self._way.running())
            await stack.enter_async_context(self._tasks.running())
            yield

    def _make_way(self, side: AsyncSide, results: Results) -> Way:
        if isinstance(side.way, Callback):
            return Receiver(side.way, results)
        if isinstance(side.way, Poll):
            return Polling(side.way, self._target, results, self._client)
        return Streaming(side.way, results, self._client)

    async def expects_results(self, loads: Sequence[SideLoad]) -> bool:
        """Whether any missing result may still come in time."""
        return self.results is not None and self.results.expects_more()

    def send(self, load: SideLoad, index: int, deadline: float) -> None:
        """Sends a request."""
        leaves = min(load.due_at(index) + self._target.limits.client_timeout_s, deadline)
        self._tasks.start(self._send(load, index, leaves), name=f"{load.side.name}-{index}")

    async def _send(self, load: SideLoad, index: int, leaves: float) -> None:
        side = self._target.sync if load.side.mode is Mode.SYNC else self._target.later
        assert side is not None
        values = self._values_of(side, load, index)
        keep = side.result is not None if isinstance(side, SyncSide) else side.needs_id
        may_result = isinstance(side, AsyncSide) and self._way is not None and self._way.may_result_unanswered

        def sends() -> None:
            # A connection that turns out to be closed is replaced by another: the first moment counts.
            if math.isnan(load.samples.sent[index]):
                load.send(index)

        try:
            async with asyncio.timeout_at(leaves) as limit:
                answer = await self._client.exchange(side.request.fill(values), keep=keep, on_send=sends)
        except TimeoutError:
            if limit.expired():
                load.leave(index, may_result=may_result)
            else:
                load.answer(index, Outcome.REFUSED, responded=False, may_result=may_result)
        except FAILURES:
            load.answer(index, Outcome.REFUSED, responded=False, may_result=may_result)
        except Exception:
            # A fault of our own is logged; nobody must wait for its answer.
            load.answer(index, Outcome.REFUSED, responded=False)
            raise
        else:
            if isinstance(side, SyncSide):
                note_service(load.samples, index, answer.headers)
                load.answer(index, sync_outcome(side, answer))
            else:
                self._accept(side, load, index, answer, values)

    def _values_of(self, side: SyncSide | AsyncSide, load: SideLoad, index: int) -> dict[str, str]:
        """What the placeholders of a request stand for."""
        values = {"index": str(index), "key": f"{self._run}-{load.side.name}-{index}"}
        if isinstance(side, AsyncSide) and self._way is not None and self.results is not None:
            values["callback_url"] = self._way.callback_url(index)
            if side.known_by_key:
                self.results.ids[values["key"]] = index
        return values

    def _accept(self, side: AsyncSide, load: SideLoad, index: int, answer: Answer, values: Mapping[str, str]) -> None:
        """Takes the answer to an async request; from now on its result may come."""
        assert self._way is not None
        assert self.results is not None
        if answer.status not in side.accepted:
            load.answer(index, outcome_of(answer.status))
            return
        more = self._identify(side, index, answer, values)
        load.answer(index, Outcome.CALLBACK_LOST, may_result=more is not None)
        if more is None:
            self.results.counts["without_id"] += 1
        else:
            self._way.learn(index, answer, more)

    def _identify(
        self, side: AsyncSide, index: int, answer: Answer, values: Mapping[str, str]
    ) -> Mapping[str, str] | None:
        """The values by which the result is asked for; None where the answer lacks them, or leads elsewhere."""
        assert self.results is not None
        found = {**values, "id": ""}
        if side.needs_id and side.id is not None:
            id = side.id.read(answer.headers, parse(answer.body))
            if id is None:
                return None
            self.results.learn_id(id, index)
            found["id"] = id
        if isinstance(side.way, Poll) and "location" in side.way.url.names:
            location = self._locate(side.request.url.fill(values, escape_url), answer.headers.get("Location", ""))
            if location is None:
                return None
            found["location"] = location
        return found

    def _locate(self, base: str, location: str) -> str | None:
        """The URL that an answer names, if it is one of the target's own hosts: nothing is sent anywhere else."""
        try:
            url = URL(base).join(URL(location))
            allowed = bool(location) and url.origin() in self._origins
        except ValueError:
            return None
        return str(url) if allowed else None


def sync_outcome(side: SyncSide, answer: Answer) -> Outcome:
    """What an answer means that is the result."""
    if answer.status not in side.success:
        return outcome_of(answer.status)
    if side.result is None:
        return Outcome.OK
    outcome = side.result.judge(parse(answer.body))
    return Outcome.JOB_FAILED if outcome is None else outcome


def outcome_of(status: int) -> Outcome:
    """The outcome of a status that is no success."""
    if status in {429, 503}:
        return Outcome.SHED
    return Outcome.HTTP_5XX if status >= 500 else Outcome.HTTP_4XX
