"""What clients have waiting: never more than they may, and seldom counted."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportsim.engine.client_queues import MAX_CLIENTS, PART, ClientQueues
from reportsim.store import requests as store
from reportsim.store.requests import Insertion, NewRequest, Waiting
from tests.conftest import Service
from tests.store.rows import new


class Table:
    """The table of requests, as the statement that inserts sees it, and a replica that inserts there."""

    def __init__(self, bound: Waiting) -> None:
        self.rows: list[NewRequest] = []
        self.counts: Counter[bytes] = Counter()
        self.queues = ClientQueues(bound)

    def waiting(self, client: bytes) -> Waiting:
        rows = [row for row in self.rows if row.request.client == client]
        return Waiting(len(rows), sum(row.request.planned_s for row in rows))

    def insert(self, rows: Sequence[NewRequest], *, is_lost: bool = False) -> list[bool]:
        """Inserts rows within the bound of those that are counted; the answer of the statement may get lost."""
        counted = self.queues.add(rows)
        self.counts.update(counted)
        before = {client: self.waiting(client) for client in counted}
        bound = self.queues.bound
        inserted: list[bool] = []
        planned = dict.fromkeys(before, 0.0)
        for row in rows:
            client, planned_s = row.request.client, row.request.planned_s
            fits = True
            if client is not None and client in before:
                planned[client] += planned_s
                number = 1 + sum(each.request.client == client for each in rows[: len(inserted)])
                fits = before[client].requests + number <= bound.requests and (
                    planned_s == 0 or before[client].planned_s + planned[client] <= bound.planned_s
                )
            inserted.append(fits)
            if fits:
                self.rows.append(row)
        if not is_lost:
            with_rows = {row.request.client for row, fits in zip(rows, inserted, strict=True) if fits}
            known = {client: waiting for client, waiting in before.items() if client in with_rows}
            self.queues.learn(rows, Insertion(inserted, known))
        return inserted


CLIENTS = [b"a", b"b"]
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("insert"),
            st.lists(st.tuples(st.sampled_from(CLIENTS), st.sampled_from([0.0, 0.5, 3.0])), min_size=1, max_size=6),
            st.booleans(),
        ),
        st.tuples(st.just("begin"), st.integers(0, 30)),
    ),
    max_size=40,
)


@given(STEPS)
def test_one_process_never_lets_a_client_have_more_waiting_than_the_bound(steps: list[tuple]) -> None:  # type: ignore[type-arg]
    bound = Waiting(25, 7.0)
    table = Table(bound)
    for step in steps:
        match step:
            case "insert", rows, is_lost:
                table.insert([new(client=client, planned_s=planned) for client, planned in rows], is_lost=is_lost)
            case "begin", place:
                del table.rows[place : place + 1]
        for client in CLIENTS:
            waiting = table.waiting(client)
            assert waiting.requests <= bound.requests
            assert waiting.planned_s <= bound.planned_s


def test_a_client_is_counted_the_more_often_the_nearer_it_is_to_its_bound() -> None:
    table = Table(Waiting(1_000, 1_000.0))
    counted: list[int] = []
    for number in range(1_000):
        assert table.insert([new(client=b"a"), new()]) == [True, True]
        if len(counted) < table.counts[b"a"]:
            counted.append(number)
    assert counted[:4] == [0, 100, 190, 271]
    assert counted[-5:] == [995, 996, 997, 998, 999]
    assert table.insert([new(client=b"a"), new()]) == [False, True]
    # What has begun is noticed by the next count.
    table.rows = [row for row in table.rows if row.request.client is None]
    assert table.insert([new(client=b"a")] * 101) == [True] * 101


async def test_the_service_counts_a_client_once_for_many_requests(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert, counted = store.insert, []

    async def insert_watched(*given: Any) -> Insertion:
        counted.append(given[-1])
        return await insert(*given)

    monkeypatch.setattr(store, "insert", insert_watched)
    rows = [new(client=b"a"), new(client=b"a"), new(client=b"b"), new(), new(client=b"a")]
    for row in rows:
        assert await service.engine.submit(row)
    assert counted == [{b"a"}, set(), {b"b"}, set(), set()]


def test_what_plans_to_hold_a_slot_is_always_counted() -> None:
    planned = Table(Waiting(1_000, 10.0))
    for _ in range(12):
        planned.insert([new(client=b"a", planned_s=1.0)])
    assert planned.waiting(b"a") == Waiting(10, 10.0)
    assert planned.counts == {b"a": 12}


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_that_do_not_know_of_each_other_exceed_the_bound_by_a_part_each(processes: int) -> None:
    first, *others = tables = [Table(Waiting(100, 10.0)) for _ in range(processes)]
    for other in others:
        other.rows = first.rows
        # Counted while little is waiting: the worst moment.
        other.insert([new(client=b"a")])
    for table in tables:
        for _ in range(200):
            table.insert([new(client=b"a"), new(client=b"a", planned_s=1.0)][: 1 + (table is first)])
    waiting = first.waiting(b"a")
    assert 100 < waiting.requests <= 100 + (processes - 1) * 100 // PART
    assert waiting.planned_s == 10.0
    # From then on all of them know.
    assert [table.insert([new(client=b"a")]) for table in tables] == [[False]] * processes


def test_a_statement_whose_answer_is_lost_is_not_forgotten() -> None:
    table = Table(Waiting(100, 1_000.0))
    table.insert([new(client=b"a")])
    for _ in range(9):
        table.insert([new(client=b"a")], is_lost=True)
    assert table.counts == {b"a": 1}
    table.insert([new(client=b"a", planned_s=0.1)] * 80, is_lost=True)
    assert table.insert([new(client=b"a")] * 100).count(True) == 10


def test_the_clients_that_are_remembered_are_bounded() -> None:
    queues = ClientQueues(Waiting(1_000, 10.0))
    for first in range(0, 3 * MAX_CLIENTS, 200):
        rows = [new(client=b"%d" % number) for number in range(first, first + 200)]
        assert len(queues.add(rows)) == 200
        queues.learn(rows, Insertion([True] * 200, {row.request.client or b"": Waiting(0, 0.0) for row in rows}))
    assert 0 < len(queues._uncounted) <= MAX_CLIENTS
