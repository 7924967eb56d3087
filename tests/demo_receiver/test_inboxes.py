"""The demo receiver's memory is bounded in every direction."""

from datetime import UTC, datetime

import pytest

from reportsim.demo_receiver import inboxes as module
from reportsim.demo_receiver.inboxes import MAX_ARRIVALS, MAX_BYTES, MAX_INBOXES, OVERHEAD, Arrival, Inboxes


def arrival(*, body: str = "{}", id: str = "msg_1", verified: bool = True, step: str = "200") -> Arrival:
    return Arrival(
        at=datetime(2026, 1, 1, tzinfo=UTC),
        since_accepted_ms=None,
        headers={"webhook-id": id},
        body=body,
        verified=verified,
        duplicate=False,
        step=step,
    )


def test_the_last_arrivals_of_the_last_inboxes_are_kept() -> None:
    inboxes = Inboxes()
    for number in range(MAX_INBOXES + 10):
        inboxes.add(str(number), arrival())
        inboxes.add("busy", arrival(id=f"msg_{number}"))
    assert len(inboxes._inboxes) == MAX_INBOXES
    assert inboxes.arrivals("0") == []
    assert [kept.headers["webhook-id"] for kept in inboxes.arrivals("busy")] == [
        f"msg_{number}" for number in range(MAX_INBOXES + 10 - MAX_ARRIVALS, MAX_INBOXES + 10)
    ]


def test_the_bytes_of_all_are_bounded() -> None:
    inboxes = Inboxes()
    for number in range(MAX_BYTES // 1_000_000 * 3):
        inboxes.add(str(number), arrival(body="x" * 1_000_000))
        assert inboxes._size <= MAX_BYTES + 1_002_000
    assert inboxes._size == sum(kept.size for inbox in inboxes._inboxes.values() for kept in inbox.arrivals)
    assert 25 < len(inboxes._inboxes) < 35


def test_the_inbox_in_use_is_kept_whatever_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 10)
    inboxes = Inboxes()
    for name in "aab":
        inboxes.add(name, arrival())
    assert (len(inboxes.arrivals("a")), len(inboxes.arrivals("b"))) == (0, 1)
    assert inboxes._size == arrival().size > OVERHEAD


@pytest.mark.parametrize(
    ("kept", "accepted"),
    [
        (arrival(), True),
        (arrival(id="msg_2"), False),
        (arrival(verified=False), False),
        (arrival(step="503"), False),
        (arrival(step="timeout"), False),
        (arrival(step="204"), True),
    ],
)
def test_a_duplicate_is_what_was_verified_and_accepted_before(kept: Arrival, accepted: bool) -> None:
    inboxes = Inboxes()
    inboxes.add("mine", kept)
    assert inboxes.has_accepted("mine", "msg_1") is accepted
    assert not inboxes.has_accepted("other", "msg_1")
