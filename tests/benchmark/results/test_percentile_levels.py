"""The ranks of percentiles."""

import math
from fractions import Fraction

from reportsim.benchmark.statistics.percentile_levels import LEVELS, rank


def test_ranks_do_not_suffer_from_binary_fractions() -> None:
    for count in range(1, 2_001):
        for share in LEVELS.values():
            assert rank(count, share) == max(math.ceil(count * Fraction(str(share))), 1), (count, share)


def test_ranks_of_shares_that_are_no_binary_fractions_are_exact() -> None:
    # 7 × 0.07 / 0.07 and the like: a product just above a whole number must not be the next one.
    for count in range(1, 1_001):
        for hundredth in range(1, 100):
            share = hundredth / 100
            assert rank(count, share) == max(math.ceil(count * Fraction(hundredth, 100)), 1), (count, share)
