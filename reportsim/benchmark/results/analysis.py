"""From the samples of a run to its estimates: all that can be computed without the service."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reportsim.benchmark.design import Design
from reportsim.benchmark.results.paired_comparison import Comparison, compare_sides
from reportsim.benchmark.results.samples import Samples
from reportsim.benchmark.results.side_samples import Side, shortest_cut_off
from reportsim.benchmark.results.summary import SideResult, summarise_side


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """The estimates of a run."""

    design: Design
    sides: Mapping[str, SideResult]
    comparison: Comparison | None
    """None where there is only one side."""

    def as_json(self) -> dict[str, Any]:
        """Both sides by name, and their comparison."""
        sides = {name: result.as_json() for name, result in self.sides.items()}
        return {**sides, "comparison": None if self.comparison is None else self.comparison.as_json()}


def analyse(design: Design, samples: Mapping[str, Samples]) -> Analysis:
    """The estimates of a run of one or two sides."""
    sides = [Side(samples[each.name], design) for each in design.sides]
    limit_s = shortest_cut_off(sides)
    results = [summarise_side(side, limit_s) for side in sides]
    comparison = None
    if len(sides) == 2:
        comparison = compare_sides((sides[0], sides[1]), (results[0], results[1]), limit_s)
    return Analysis(
        design=design,
        sides={side.samples.side: result for side, result in zip(sides, results, strict=True)},
        comparison=comparison,
    )
