"""UUIDv7: the layout of RFC 9562, and an order that the clock cannot break."""

import re
import time
from itertools import pairwise
from uuid import RFC_4122

import pytest
from asyncpg.pgproto import pgproto
from hypothesis import given
from hypothesis import strategies as st

from reportsim.core.identifiers import UUID7Generator, boot_id, uuid7

LAST_STEP = 2**60 - 1


def test_the_example_of_the_rfc_holds() -> None:
    # RFC 9562 appendix A.6: 2022-02-22 19:22:22.000 UTC, rand_a 0xCC3, rand_b 0x18C4DC0C0C07398F.
    step = 0x017F22E279B0 << 12 | 0xCC3
    made = uuid7(step, (0x18C4DC0C0C07398F).to_bytes(8, "big"))
    assert str(made) == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"


@given(st.integers(0, LAST_STEP), st.binary(min_size=8, max_size=8))
def test_version_variant_and_time_stand_where_the_rfc_puts_them(step: int, random: bytes) -> None:
    made = uuid7(step, random)
    assert (made.version, made.variant) == (7, RFC_4122)
    assert made.int >> 80 == step >> 12
    assert made.int >> 64 & 0xFFF == step & 0xFFF
    assert made.int & (2**62 - 1) == int.from_bytes(random, "big") & (2**62 - 1)


@given(st.integers(0, LAST_STEP), st.binary(min_size=8, max_size=8))
def test_an_id_of_another_type_is_the_same_id(step: int, random: bytes) -> None:
    made = uuid7(step, random, pgproto.UUID)
    assert type(made) is pgproto.UUID
    assert (made, str(made)) == (uuid7(step, random), str(uuid7(step, random)))


@given(st.lists(st.integers(0, 2**60), min_size=2, max_size=50), st.data())
def test_ids_increase_whatever_the_clock_does(nanoseconds: list[int], data: st.DataObject) -> None:
    clock = iter(nanoseconds)
    generate = UUID7Generator(lambda: next(clock), lambda size: data.draw(st.binary(min_size=size, max_size=size)))
    made = [generate() for _ in nanoseconds]
    assert all(earlier < later for earlier, later in pairwise(made))
    assert [str(each) for each in made] == sorted(str(each) for each in made)


def test_ids_of_a_clock_that_stands_still_increase() -> None:
    generate = UUID7Generator(lambda: 1_700_000_000_000_000_000)
    made = [generate() for _ in range(10_000)]
    assert all(earlier < later for earlier, later in pairwise(made))


def test_ids_carry_the_milliseconds_of_the_clock() -> None:
    before = time.time_ns() // 1_000_000
    made = UUID7Generator()()
    assert before <= made.int >> 80 <= time.time_ns() // 1_000_000


@given(st.integers(0, 2**62), st.integers(0, 2**62))
def test_ids_of_two_generators_are_ordered_by_their_clocks(first: int, second: int) -> None:
    earlier, later = sorted((first, second))
    if later - earlier >= 245:
        assert UUID7Generator(lambda: earlier)() < UUID7Generator(lambda: later)()


def test_ids_of_two_generators_differ_at_the_same_time() -> None:
    assert UUID7Generator(lambda: 5)() != UUID7Generator(lambda: 5)()


def test_a_clock_before_1970_counts_as_1970() -> None:
    generate = UUID7Generator(lambda: -(10**18))
    assert generate().int >> 64 == 0x7000
    assert generate().int >> 64 == 0x7001


def test_a_clock_beyond_what_fits_is_an_error() -> None:
    with pytest.raises(ValueError, match="outside"):
        UUID7Generator(lambda: 2**48 * 1_000_000)()


@pytest.mark.parametrize("step", [-1, 2**60])
def test_a_step_beyond_what_fits_is_an_error(step: int) -> None:
    with pytest.raises(ValueError, match="outside"):
        uuid7(step, bytes(8))


def test_a_boot_id_is_new_each_time_and_fits_before_a_dash() -> None:
    assert re.fullmatch("[0-9a-f]{16}", boot_id())
    assert boot_id() != boot_id()
