"""A run in progress, and its requests on their way through the service."""

import asyncio
import logging
import secrets
import uuid
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from uuid import UUID

from reportsim.benchmark.plan import Plan
from reportsim.benchmark.pulled_plug import PulledPlug
from reportsim.benchmark.server_recorder import Recorder
from reportsim.benchmark.workload import Side
from reportsim.core.model import Mode
from reportsim.store.batcher import Batcher, Overloaded
from reportsim.store.pool import OUTAGES
from reportsim.tasks import start

log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class ActiveRun:
    """A run in progress: the token of its requests, and what the server has recorded of it."""

    id: UUID
    plan: Plan
    recorder: Recorder
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    owners: dict[str, UUID] = field(default_factory=dict)
    """Whose slots each side's requests have: in a race each side has its own."""
    task: "asyncio.Task[None] | None" = None
    """From start to end; never cancelled, so that the end of a run is always stored."""
    measuring: "asyncio.Task[None] | None" = None
    stopped: bool = False
    stage: str = "PENDING"
    has_load: bool = False
    """Whether its requests are under way."""
    plug: PulledPlug | None = None
    """On the monotonic clock."""
    origin: str | None = None
    """Where its callbacks go."""
    dropping: Batcher[UUID, bool] | None = None
    _drops: "set[asyncio.Task[None]]" = field(default_factory=set)

    def __post_init__(self) -> None:
        shared = uuid.uuid4()
        self.owners = {side.name: uuid.uuid4() if self.plan.together else shared for side in self.plan.sides}

    @property
    def progress(self) -> float:
        """The share of both sides' requests that no worker is needed for any more."""
        return min(self.recorder.over / max(2 * self.recorder.count, 1), 1.0)

    def stop(self) -> None:
        """Ends the measurement early, once: a second time would interrupt the first one's cleaning up."""
        if not self.stopped and self.measuring is not None:
            self.measuring.cancel()
        self.stopped = True

    def drop_later(self, row: UUID) -> None:
        """Drops the request of a sync client that has left, if the plan wants that."""
        if self.dropping is not None:
            task = start(self._drop(self.dropping, row), name=f"drop-{row}")
            self._drops.add(task)
            task.add_done_callback(self._drops.discard)

    async def _drop(self, dropping: Batcher[UUID, bool], row: UUID) -> None:
        try:
            await dropping.submit(row)
        except (*OUTAGES, Overloaded) as error:
            log.warning("request %s, whose client left, could not be dropped: %r", row, error)


class RunRequest:
    """A request of a run on its way through the service, from its first line to its answer."""

    def __init__(self, run: ActiveRun, side: Side, index: int | None, arrived: float) -> None:
        """Belongs to a side of a run, and arrived at that moment; nothing is recorded of what has no index."""
        self.run = run
        self._side = side
        self._index = index
        self._row: UUID | None = None
        self._arrived = arrived

    @property
    def owner(self) -> UUID:
        """Whose slots it takes."""
        return self.run.owners[self._side.name]

    def assign_row(self, row: UUID) -> None:
        """Notes the row that is about to be inserted for it."""
        self._row = row
        if self._index is not None:
            self.run.recorder.takes(row, self._side.name, self._index)

    def __enter__(self) -> Self:
        if self._index is not None:
            self.run.recorder.opens(self._side.name, self._arrived)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._index is not None:
            self.run.recorder.closes(self._side.name, self._index, self._arrived)
        if kind is asyncio.CancelledError and self._row is not None and self._side.mode is Mode.SYNC:
            self.run.drop_later(self._row)
