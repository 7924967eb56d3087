"""docs/architecture.md: its picture is drawn from the code as it is, and its text names every package."""

import re
from pathlib import Path

from tools.draw_architecture import PICTURE, draw, needed, read_imports, read_layers

TEXT = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_the_picture_is_what_the_code_imports_now() -> None:
    assert PICTURE.read_text(encoding="utf-8") == draw(), "draw it again: python -m tools.draw_architecture"


def test_every_part_of_the_code_is_in_a_layer_and_in_the_text() -> None:
    parts = set(read_imports())
    assert len(parts) > 10
    assert {name for layer in read_layers() for name in layer} == parts
    assert {name for name in parts if not re.search(rf"`{name}(?:\.py|/)`", TEXT)} == set()


def test_an_import_that_a_longer_path_implies_is_not_drawn() -> None:
    graph = {"top": {"middle", "bottom"}, "middle": {"bottom"}, "bottom": set[str](), "side": {"bottom"}}
    assert needed(graph) == {("top", "middle"), ("middle", "bottom"), ("side", "bottom")}
