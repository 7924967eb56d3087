"""Figures beside their prediction and their replay."""

from dataclasses import replace
from typing import Any

import pytest

from reportsim.benchmark.results.trace_simulation import COMPARED, residuals
from reportsim.benchmark.theory.figures import Figures


def found(**changes: float) -> tuple[dict[str, Any], Figures, Figures]:
    """A prediction of a run without load, its replay, and what was measured."""
    band = {name: {"value": 0.0, "low": 0.0, "high": 0.0} for name in COMPARED}
    nothing = Figures(**dict.fromkeys(COMPARED, 0.0), drain_s=0.0, time_to_result_ms={})
    return band, nothing, replace(nothing, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", COMPARED)
def test_the_band_leaves_less_room_than_the_replay(name: str) -> None:
    room = COMPARED[name]
    for beyond, inside, explained in (
        (0.9 * room.band, True, True),
        (1.1 * room.band, False, 1.1 * room.band <= room.replay),
        (1.2 * room.replay, False, False),
    ):
        residual = residuals(*found(**{name: beyond}))[name]
        assert (residual.inside, residual.explained) == (inside, explained), beyond


def test_a_hundredth_of_time_outs_is_outside_of_a_prediction_without_any() -> None:
    assert not residuals(*found(timeout_share=0.009))["timeout_share"].inside
