"""The comparison of both sides counts every request once, whatever became of it on either side."""

import math
from array import array
from itertools import accumulate
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportsim.benchmark.design import Design, SideDesign
from reportsim.benchmark.results.analysis import analyse
from reportsim.benchmark.results.samples import Outcome, Samples

BLOCKS: Final = 3
LIMIT_S: Final = 8.0
# Seconds to the result of a request by its block and number. Infinite: it was cut off, NaN: there is none to wait for.
# Fractions of two, so that differences are exact.
Times = dict[tuple[int, int], float]
TIMES: Final = st.dictionaries(
    st.tuples(st.integers(0, BLOCKS - 1), st.integers(0, 7)),
    st.integers(0, 6).map(lambda steps: steps / 2048) | st.sampled_from([7.0, 8.0, 9.0, math.inf, math.nan]),
)


def samples_of(side: str, times: Times) -> Samples:
    """Samples with these times."""
    found = sorted(times)
    sizes = [sum(block == each for each, _ in found) for block in range(BLOCKS)]
    samples = Samples.empty(side, array("d", [0.0] * len(found)), (0, *accumulate(sizes)))
    samples.numbers = [number for _, number in found]
    for index, place in enumerate(found):
        samples.result[index] = times[place]
        samples.outcomes[index] = Outcome.OK
        if math.isinf(times[place]):
            samples.outcomes[index] = Outcome.CLIENT_TIMEOUT
        elif math.isnan(times[place]):
            samples.outcomes[index] = Outcome.SHED
    return samples


def compared(**sides: Times) -> dict[str, Any]:
    """The comparison of two sides."""
    designs = tuple(SideDesign(name=name, timeout_s=LIMIT_S) for name in sides)
    design = Design(sides=designs, blocks=BLOCKS, block_s=1.0)
    found: dict[str, Any] = analyse(design, {name: samples_of(name, sides[name]) for name in sides}).as_json()
    return dict(found["comparison"])


@given(TIMES, TIMES)
def test_pairs_are_counted_one_by_one(first: Times, second: Times) -> None:
    found = compared(a=first, b=second)
    both = [(first[place], second[place]) for place in first if place in second]
    differences = [min(b, LIMIT_S) - min(a, LIMIT_S) for a, b in both if not math.isnan(a) and not math.isnan(b)]
    assert found["pairs"] == len(differences)
    assert found["faster"] == {
        "a": sum(difference > 0.001 for difference in differences),
        "tie": sum(-0.001 <= difference <= 0.001 for difference in differences),
        "b": sum(difference < -0.001 for difference in differences),
    }
    assert sum(found["faster"].values()) == found["pairs"]
    came = [(math.isfinite(a), math.isfinite(b)) for a, b in both]
    assert found["only_a"] == came.count((True, False))
    assert found["only_b"] == came.count((False, True))
    assert found["neither"] == came.count((False, False))


@given(TIMES, TIMES)
def test_the_order_of_the_sides_changes_no_count(first: Times, second: Times) -> None:
    found, mirrored = compared(a=first, b=second), compared(b=second, a=first)
    for name in ("pairs", "faster", "only_a", "only_b", "neither"):
        assert found[name] == mirrored[name], name


@pytest.mark.parametrize(("second", "faster"), [(0.001, "tie"), (0.00101, "a"), (math.inf, "a")])
def test_a_millisecond_is_a_tie_and_more_is_none(second: float, faster: str) -> None:
    found = compared(a={(0, 0): 0.0}, b={(0, 0): second})["faster"]
    assert found == {"a": 0, "tie": 0, "b": 0, faster: 1}


def test_who_was_cut_off_is_no_slower_than_who_was_later_than_the_time_out() -> None:
    found = compared(a={(0, 0): 9.0}, b={(0, 0): math.inf})
    assert (found["faster"], found["only_a"]) == ({"a": 0, "tie": 1, "b": 0}, 1)
