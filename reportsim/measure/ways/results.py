"""Which request a result belongs to that comes by itself, and what else came."""

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from reportsim.benchmark.load.side_load import SideLoad
from reportsim.benchmark.results.samples import Outcome

# Results that came before the answer which names their id; more of them are unknown.
MOST_PARKED: Final = 100_000


class WayError(Exception):
    """Results cannot be learned in the way that the target file says."""


class Parked(NamedTuple):
    """A result whose id is not known yet."""

    outcome: Outcome
    moment: float


@dataclass(slots=True, eq=False)
class Results:
    """The results of one side, and the names under which all else is counted."""

    load: SideLoad
    deadline_s: float
    counts: Counter[str]
    ids: dict[str, int] = field(default_factory=dict)
    _parked: dict[str, list[Parked]] = field(default_factory=dict)
    _parked_count: int = 0

    def learn_id(self, id: str, index: int) -> None:
        """Takes the id of a request from its answer, and what has come for it before."""
        self.ids[id] = index
        for parked in self._parked.pop(id, ()):
            self._parked_count -= 1
            self.counts["early"] += 1
            self._take(index, parked.outcome, parked.moment)

    def arrive_for(self, id: str | None, outcome: Outcome, moment: float) -> None:
        """Takes a result by its id; without any, or for nobody, it is unknown."""
        index = None if id is None else self.ids.get(id)
        if index is not None:
            self.arrive(index, outcome, moment)
        elif id is None or not self.load.open or self._parked_count >= MOST_PARKED:
            self.counts["unknown_id"] += 1
        else:
            self._parked_count += 1
            self._parked.setdefault(id, []).append(Parked(outcome, moment))

    def arrive(self, index: int, outcome: Outcome, moment: float) -> None:
        """Takes the result of a request, which may have come before, before its answer, or too late."""
        if not self.load.has_begun(index):
            self.counts["unknown_id"] += 1
            return
        if index in self.load.open and not self.load.heard[index]:
            self.counts["early"] += 1
        self._take(index, outcome, moment)

    def _take(self, index: int, outcome: Outcome, moment: float) -> None:
        load = self.load
        if not load.heard[index] and moment - load.due_at(index) > self.deadline_s:
            self.counts["late"] += 1
            load.lose(index)
        elif not load.hear(index, outcome, moment):
            self.counts["duplicate"] += 1

    def expects_more(self) -> bool:
        """Whether any missing result may still come in time."""
        now = time.monotonic()
        return any(self.load.due_at(index) + self.deadline_s > now for index in self.load.missing)

    def finish(self) -> dict[str, int]:
        """The counts, each under its own name, when no answer is to come any more: what is parked came for nobody."""
        if self._parked_count:
            self.counts["unknown_id"] += self._parked_count
        self._parked.clear()
        self._parked_count = 0
        return dict(self.counts)
