"""The table of buckets: a dictionary with little room, in memory that several processes see."""

import os

from hypothesis import given
from hypothesis import strategies as st

from reportsim.processes.buckets import PLACES, TABLE_BYTES, BucketTable

KEYS = st.binary(min_size=8, max_size=8).filter(any)
STATES = st.tuples(st.floats(0, 1e6), st.floats(1, 1e9))


@given(st.lists(st.tuples(KEYS, STATES), max_size=PLACES))
def test_what_was_written_last_is_read(writes: list[tuple[bytes, tuple[float, float]]]) -> None:
    table = BucketTable(sets=1)
    expected = {}
    for key, state in writes:
        table.write(key, *state)
        expected[key] = state
    assert {key: table.read(key) for key in expected} == expected
    assert len(table) == len(expected)


def test_a_key_is_found_only_where_keys_begin() -> None:
    table = BucketTable(sets=1)
    table.write(bytes([1, 1, 1, 1, 2, 2, 2, 2]), 1.0, 1.0)
    table.write(bytes([3, 3, 3, 3, 1, 1, 1, 1]), 2.0, 1.0)
    assert table.read(bytes([2, 2, 2, 2, 3, 3, 3, 3])) == (0.0, 0.0)
    table.write(bytes([2, 2, 2, 2, 3, 3, 3, 3]), 3.0, 1.0)
    assert table.read(bytes([2, 2, 2, 2, 3, 3, 3, 3])) == (3.0, 1.0)
    assert len(table) == 3


def test_the_bucket_used_least_recently_is_replaced() -> None:
    table = BucketTable(sets=1)
    for number in range(1, PLACES + 2):
        table.write(bytes([number] * 8), 1.0, float(100 - number if number > 1 else 1))
    assert table.read(bytes([1] * 8)) == (0.0, 0.0)
    assert all(table.read(bytes([number] * 8))[0] == 1.0 for number in range(2, PLACES + 2))


def test_two_tables_on_one_file_are_one() -> None:
    file = os.memfd_create("table")
    os.ftruncate(file, TABLE_BYTES)
    BucketTable(file).write(bytes([1] * 8), 2.0, 3.0)
    assert BucketTable(file).read(bytes([1] * 8)) == (2.0, 3.0)
    os.close(file)
