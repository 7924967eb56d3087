"""What clients have waiting: never more than they may, and seldom counted."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportsim.engine import client_queues
from reportsim.engine.client_queues import MAX_CLIENTS, REMEMBERED_S, ClientQueues
from reportsim.store import requests as store
from reportsim.store.requests import Insertion, NewRequest, Waiting
from tests.conftest import Service
from tests.store.rows import new


class Table:
    """The table of requests, as the statement that inserts sees it, and a replica that inserts there."""

    def __init__(self, bound: Waiting) -> None:
        self.now = 100.0
        self.rows: list[NewRequest] = []
        self.counts: Counter[bytes] = Counter()
        self.queues = ClientQueues(bound, lambda: self.now)

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
            self.queues.learn(rows, Insertion(inserted, known), self.now)
        return inserted


CLIENTS = [b"a", b"b"]
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("insert"),
            st.lists(st.tuples(st.sampled_from(CLIENTS), st.sampled_from([0.0, 0.5, 3.0])), min_size=1, max_size=6),
            st.booleans(),
        ),
        st.tuples(st.just("begin"), st.integers(0, 20)),
        st.tuples(st.just("wait"), st.sampled_from([0.05, REMEMBERED_S, 1.0])),
    ),
    max_size=40,
)


@given(STEPS)
def test_one_replica_never_lets_a_client_have_more_waiting_than_the_bound(steps: list[tuple]) -> None:  # type: ignore[type-arg]
    bound = Waiting(6, 7.0)
    table = Table(bound)
    for step in steps:
        match step:
            case "insert", rows, is_lost:
                table.insert([new(client=client, planned_s=planned) for client, planned in rows], is_lost=is_lost)
            case "begin", place:
                del table.rows[place : place + 1]
            case "wait", seconds:
                table.now += seconds
        for client in CLIENTS:
            waiting = table.waiting(client)
            assert waiting.requests <= bound.requests
            assert waiting.planned_s <= bound.planned_s


def test_a_client_is_counted_once_in_a_moment_however_much_it_sends() -> None:
    table = Table(Waiting(2_000, 1_000.0))
    for _ in range(100):
        assert table.insert([new(client=b"a"), new(client=b"a"), new()]) == [True] * 3
        table.now += REMEMBERED_S / 200
    assert table.counts == {b"a": 1}
    table.now += REMEMBERED_S
    table.insert([new(client=b"a")])
    assert table.counts == {b"a": 2}


async def test_the_service_counts_a_client_once_in_a_moment(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_queues, "REMEMBERED_S", 60.0)
    insert, counted = store.insert, []

    async def insert_watched(*given: Any) -> Insertion:
        counted.append(given[-1])
        return await insert(*given)

    monkeypatch.setattr(store, "insert", insert_watched)
    rows = [new(client=b"a"), new(client=b"a"), new(client=b"b"), new(), new(client=b"a")]
    for row in rows:
        assert await service.engine.submit(row)
    assert counted == [{b"a"}, set(), {b"b"}, set(), set()]


def test_a_client_is_counted_each_time_from_a_tenth_of_its_bound_on() -> None:
    table = Table(Waiting(100, 1_000.0))
    for _ in range(120):
        table.insert([new(client=b"a")])
    assert table.waiting(b"a").requests == 100
    # The first, and then all that come when more than 10 may be waiting.
    assert table.counts == {b"a": 1 + 110}


def test_what_plans_to_hold_a_slot_is_always_counted() -> None:
    planned = Table(Waiting(1_000, 10.0))
    for _ in range(12):
        planned.insert([new(client=b"a", planned_s=1.0)])
    assert planned.waiting(b"a") == Waiting(10, 10.0)
    assert planned.counts == {b"a": 12}


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_that_do_not_know_of_each_other_exceed_the_bound_by_a_tenth_each(processes: int) -> None:
    tables = [Table(Waiting(100, 10.0)) for _ in range(processes)]
    first, *others = tables
    for other in others:
        other.rows = first.rows
        # Counted while little is waiting: the worst moment.
        other.insert([new(client=b"a")])
    for table in tables:
        for _ in range(200):
            table.insert([new(client=b"a"), new(client=b"a", planned_s=1.0)][: 1 + (table is first)])
    waiting = first.waiting(b"a")
    assert 100 < waiting.requests <= 100 + 10 * (processes - 1)
    assert waiting.planned_s == 10.0
    # A moment later, all of them know.
    for table in tables:
        table.now += 2 * REMEMBERED_S
        assert table.insert([new(client=b"a")]) == [False]


def test_a_statement_that_failed_is_not_forgotten() -> None:
    table = Table(Waiting(100, 1_000.0))
    table.insert([new(client=b"a")])
    for _ in range(9):
        table.insert([new(client=b"a")], is_lost=True)
    assert table.counts == {b"a": 1}
    assert table.insert([new(client=b"a") for _ in range(100)]).count(True) == 90


def test_the_clients_that_are_remembered_are_bounded() -> None:
    table = Table(Waiting(10, 10.0))
    for first in range(0, 3 * MAX_CLIENTS, 200):
        counted = table.queues.add(rows := [new(client=b"%d" % number) for number in range(first, first + 200)])
        assert len(counted) == 200
        found = Insertion([True] * 200, {row.request.client: Waiting(0, 0.0) for row in rows if row.request.client})
        table.queues.learn(rows, found, table.now)
    assert len(table.queues._known) <= client_queues.MAX_CLIENTS
