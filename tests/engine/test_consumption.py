"""What replicas tell each other of used quotas: all of it, once, in notifications that are short enough."""

from hypothesis import given
from hypothesis import strategies as st

from reportsim.engine.consumption import MAX_CLIENTS, MAX_ENTRIES, MAX_HEARD, Consumption, Used, decode, encode

USED = st.lists(st.tuples(st.sampled_from(["sync", "async"]), st.binary(min_size=8, max_size=8), st.integers()))


def client(number: int) -> bytes:
    return number.to_bytes(8, "big")


def listening(service: str) -> tuple[Consumption, list[Used]]:
    heard: list[Used] = []
    consumption = Consumption(service)
    consumption.on_heard = lambda *used: heard.append(used)
    return consumption, heard


@given(USED)
def test_what_is_told_is_what_is_heard(used: list[Used]) -> None:
    assert decode(encode("a", used)) == ("a", used)


@given(st.text(max_size=60))
def test_any_text_is_read_without_an_error(text: str) -> None:
    listening("a")[0].hear(text)


def test_others_hear_everything_once_and_oneself_nothing() -> None:
    here, own = listening("a")
    there, heard = listening("b")
    here.add("sync", client(1), 1)
    here.add("sync", client(1), 2)
    here.add("async", client(1), 1)
    for _ in range(2):
        for notice in here.take_notices():
            there.hear(notice)
            here.hear(notice)
    assert sorted(heard) == [("async", client(1), 1), ("sync", client(1), 3)]
    assert own == []


def test_many_clients_are_told_of_in_notifications_that_postgresql_accepts() -> None:
    here, _ = listening("a" * 16)
    there, heard = listening("b")
    for number in range(MAX_ENTRIES * 3):
        here.add("async", client(number), 1_000_000)
    notices = list(here.take_notices())
    assert all(len(notice) < 8_000 for notice in notices)
    for notice in notices:
        there.hear(notice)
    assert len(set(heard)) == MAX_ENTRIES * 3


def test_what_could_not_be_told_is_told_again() -> None:
    here, _ = listening("a")
    here.add("sync", client(1), 1)
    # The connection is lost while the first one is sent.
    assert decode(next(here.take_notices())) == ("a", [("sync", client(1), 1)])
    here.add("sync", client(1), 1)
    assert [decode(notice) for notice in here.take_notices()] == [("a", [("sync", client(1), 2)])]


def test_what_comes_as_a_notification_and_by_the_table_is_heard_once() -> None:
    here, _ = listening("a")
    there, heard = listening("b")
    for _ in range(2):
        here.add("sync", client(1), 1)
        for notice in here.take_notices():
            there.hear(notice)
            there.hear(notice)
    assert heard == [("sync", client(1), 1)] * 2
    # Replicas of an earlier version mark nothing, and tell in one way only.
    for _ in range(2):
        there.hear(encode("c", [("sync", client(2), 1)]))
    assert len(heard) == 4


def test_what_was_heard_is_remembered_within_bounds() -> None:
    there, _ = listening("b")
    for number in range(MAX_HEARD + 100):
        there.hear(f"a sync:{client(1).hex()}:1 #{number}")
    assert len(there._heard) == MAX_HEARD


def test_what_waits_is_bounded() -> None:
    here, _ = listening("a")
    for number in range(MAX_CLIENTS * 2):
        here.add("sync", client(number), 1)
    assert sum(len(decode(notice)[1]) for _ in range(20) for notice in here.take_notices()) == MAX_CLIENTS
