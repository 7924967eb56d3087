"""Figures: in turn, medians, ratios, tables."""

import pytest

from benchmarks.harness.figures import NOT_MEASURED, Table, count, interleave, number, ratio, shown


def test_variants_are_measured_in_turn() -> None:
    seen: list[str] = []

    def measure(name: str) -> float:
        seen.append(name)
        return float(len(seen))

    found = interleave({"a": lambda: measure("a"), "b": lambda: measure("b")}, 3)
    assert seen == ["a", "b"] * 3
    assert found == {"a": [1, 3, 5], "b": [2, 4, 6]}


def test_a_ratio_is_the_median_of_the_rounds_ratios_and_not_the_ratio_of_medians() -> None:
    # The machine was ten times as slow in the second round, for both.
    assert ratio([10, 1, 12], [5, 0.5, 3]) == 2
    with pytest.raises(ValueError, match="shorter"):
        ratio([1, 2], [1])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0123, "0.012"),
        (0.5, "0.500"),
        (1.239, "1.24"),
        (12.34, "12.3"),
        (99.96, "100.0"),
        (123.4, "123"),
        (1e6, "1,000,000"),
    ],
)
def test_a_number_has_three_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_a_figure_is_a_median_with_its_extremes() -> None:
    assert shown([3, 1, 2], "ms") == "2.00 ms (1.00 to 3.00)"
    assert shown([], "ms") == NOT_MEASURED


@pytest.mark.parametrize(
    ("lines", "text"), [(200, "200"), (1_500, "1,500"), (10_000, "10 k"), (5_000_000, "5 M"), (1_200_000, "1200 k")]
)
def test_a_round_count_is_short(lines: int, text: str) -> None:
    assert count(lines) == text


def test_a_table_is_markdown() -> None:
    table = Table(("", "one", "two"))
    table.add("row", "1", "2")
    assert str(table) == "|  | one | two |\n| --- | ---: | ---: |\n| row | 1 | 2 |"
    with pytest.raises(ValueError, match="2 cells for 3 columns"):
        table.add("row", "1")
