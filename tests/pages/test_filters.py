"""Values as pages show them."""

import math

import pytest

from reportsim.pages.filters import duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0123, "12.3 ms"),
        (0.9, "900 ms"),
        (1, "1 s"),
        (99.9, "99.9 s"),
        (100, "1 min 40 s"),
        (3_600, "60 min 0 s"),
        (7_250, "120 min 50 s"),
        (360_000, "6,000 min 0 s"),
        (math.inf, "unbounded"),
    ],
)
def test_long_durations_have_minutes(seconds: float, text: str) -> None:
    assert duration(1000 * seconds) == text
