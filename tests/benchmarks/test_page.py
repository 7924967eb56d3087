"""docs/performance.md: a section for each part that was measured, and nothing for the others."""

from pathlib import Path

import pytest

import benchmarks.__main__ as program
from benchmarks.harness.options import NotInstalledError, Options
from benchmarks.harness.page import INTRODUCTION, PAGE, read_sections, write_section

ORDER = ("first", "second", "third")


def test_sections_stand_in_their_order_and_are_replaced_one_at_a_time(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    write_section(page, ORDER, "third", "three")
    write_section(page, ORDER, "first", "one\n\n| a |")
    write_section(page, ORDER, "third", "another three\n")
    text = page.read_text(encoding="utf-8")
    assert text.startswith(INTRODUCTION)
    assert list(read_sections(text).items()) == [("first", "one\n\n| a |"), ("third", "another three")]


def test_a_section_of_a_part_that_there_is_no_more_goes(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    write_section(page, ("gone",), "gone", "figures")
    write_section(page, ORDER, "second", "two")
    assert read_sections(page.read_text(encoding="utf-8")) == {"second": "two"}


def test_the_page_in_docs_has_nothing_but_sections_of_known_parts() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text.startswith(INTRODUCTION)
    assert set(read_sections(text)) <= set(program.PARTS)


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts that measure nothing."""

    def missing(_: Options) -> str:
        raise NotInstalledError("psql is not installed")

    def failing(_: Options) -> str:
        raise ValueError("broken")

    made = {"works": program.Part("It works", lambda _: "Figures."), "missing": program.Part("", missing)}
    monkeypatch.setattr(program, "PARTS", {**made, "failing": program.Part("", failing)})


@pytest.mark.usefixtures("parts")
def test_what_cannot_be_measured_is_said_and_leaves_the_page_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    assert program.main(["works", "--page", str(page)]) == 0
    before = page.read_text(encoding="utf-8")
    assert "## It works\n\nFigures.\n\n2" in before
    assert program.main(["missing", "failing", "--page", str(page)]) == 1
    assert page.read_text(encoding="utf-8") == before
    said = capsys.readouterr()
    assert "left out: psql is not installed" in said.out
    assert "ValueError: broken" in said.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing"], "no such part: nothing"),
        (["--rounds", "2"], "a median needs at least 3 rounds"),
        (["--against", "/nowhere"], "/nowhere has no .venv"),
        (["--small"], "small sizes are no figures for docs/performance.md"),
    ],
)
def test_what_would_be_no_figure_is_refused(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        program.main(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
