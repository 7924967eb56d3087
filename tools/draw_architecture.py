"""Draws docs/architecture.svg from the imports of the code: `python -m tools.draw_architecture`.

A box is a package, or a module, of `reportsim`; the smaller names are its subpackages. The rows are the layers of the
contract in setup.cfg. A line leads from an importer down to what it imports; an import that a longer path of lines
implies is not drawn, and one that breaks the contract is red.
"""

import ast
import configparser
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Final, TypeAlias

ROOT: Final = Path(__file__).parents[1]
PACKAGE: Final = ROOT / "reportsim"
PICTURE: Final = ROOT / "docs" / "architecture.svg"
WIDTH: Final = 960
ROW: Final = 80
BOX_WIDTH: Final = 196
BOX_HEIGHT: Final = 44
SHIFT: Final = 170
STYLE: Final = """\
text { font: 14px system-ui, sans-serif; text-anchor: middle; fill: #1f2328 }
text.parts { font-size: 10px; fill: #59636e }
rect { fill: #f6f8fa; stroke: #59636e }
path { fill: none; stroke: #8c959f }
path.broken { stroke: #cf222e; stroke-width: 2 }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc }
text.parts { fill: #9198a1 }
rect { fill: #151b23; stroke: #9198a1 }
path { stroke: #656c76 }
}"""

Graph: TypeAlias = Mapping[str, set[str]]


def main() -> None:
    """Writes the picture."""
    PICTURE.write_text(draw(), encoding="utf-8")


def draw() -> str:
    """The picture of the code as it is now."""
    graph = read_imports()
    layers = read_layers()
    places = place(layers)
    down = {name: {other for other in graph[name] if places[other][1] > places[name][1]} for name in graph}
    broken = {(name, other) for name in graph for other in graph[name] - down[name]}
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {ROW * len(layers)}" role="img">',
        "<title>The packages of reportsim; imports lead down</title>",
        f"<style>\n{STYLE}\n</style>",
        *(draw_line(places[above], places[below]) for above, below in sorted(needed(down))),
        *(draw_line(places[above], places[below], ' class="broken"') for above, below in sorted(broken)),
        *(draw_box(name, places[name]) for name in sorted(graph)),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def read_imports() -> Graph:
    """The parts of the package, each with the parts that it imports."""
    parts = sorted(path.stem for path in PACKAGE.iterdir() if (path / "__init__.py").exists() or path.suffix == ".py")
    names = {name for name in parts if not name.startswith("__")}
    return {name: {other for other in imports_of(name) if other in names} - {name} for name in sorted(names)}


def imports_of(name: str) -> Iterator[str]:
    """The parts that the modules of a part import."""
    folder = PACKAGE / name
    for file in sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            match node:
                case ast.ImportFrom(module="reportsim", names=imported):
                    yield from (alias.name for alias in imported)
                case ast.ImportFrom(module=str(module)) if module.startswith("reportsim."):
                    yield module.split(".")[1]
                case ast.Import(names=imported):
                    yield from (alias.name.split(".")[1] for alias in imported if alias.name.startswith("reportsim."))


def read_layers() -> list[list[str]]:
    """The layers of the contract, highest first."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    layers = config["importlinter:contract:floors"]["layers"].split("\n")
    rows = [[name.strip().removeprefix("reportsim.") for name in layer.split("|")] for layer in layers if layer]
    return [row for row in rows if row != ["__main__"]]


def needed(graph: Graph) -> set[tuple[str, str]]:
    """The imports that no longer path implies."""
    below: dict[str, set[str]] = {}

    def reachable(name: str) -> set[str]:
        if name not in below:
            below[name] = set().union(*(reachable(other) | {other} for other in graph[name]))
        return below[name]

    return {
        (name, other)
        for name, imported in graph.items()
        for other in imported
        if not any(other in reachable(between) for between in imported)
    }


def place(layers: list[list[str]]) -> dict[str, tuple[float, int]]:
    """The centre of each box, and its row."""
    places: dict[str, tuple[float, int]] = {}
    for row, names in enumerate(layers):
        # Rows of one box are moved to the sides in turn, so that long lines pass beside boxes.
        shift = (0, SHIFT, -SHIFT)[row % 3] if len(names) == 1 else 0
        for column, name in enumerate(sorted(names)):
            places[name] = (WIDTH * (column + 1) / (len(names) + 1) + shift, row)
    return places


def draw_box(name: str, at: tuple[float, int]) -> str:
    """A box with a name, and the names of subpackages."""
    x, y = at[0], at[1] * ROW + ROW / 2
    folder = PACKAGE / name
    parts = sorted(path.name for path in folder.iterdir() if (path / "__init__.py").exists()) if folder.is_dir() else []
    texts = [", ".join(parts)] if parts else []
    top = y - BOX_HEIGHT / 2
    first = y + 5 - 6 * len(texts)
    return "\n".join(
        [
            f'<rect x="{x - BOX_WIDTH / 2:g}" y="{top:g}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="6"/>',
            f'<text x="{x:g}" y="{first:g}">{escape(name)}</text>',
            *(
                f'<text class="parts" x="{x:g}" y="{first + 13 * number:g}">{escape(text)}</text>'
                for number, text in enumerate(texts, 1)
            ),
        ]
    )


def draw_line(above: tuple[float, int], below: tuple[float, int], attributes: str = "") -> str:
    """A curve from the bottom of a box to the top of another one."""
    (x1, row1), (x2, row2) = above, below
    y1, y2 = row1 * ROW + (ROW + BOX_HEIGHT) / 2, row2 * ROW + (ROW - BOX_HEIGHT) / 2
    bend = (y2 - y1) / 2
    return f'<path{attributes} d="M{x1:g} {y1:g}C{x1:g} {y1 + bend:g} {x2:g} {y2 - bend:g} {x2:g} {y2:g}"/>'


if __name__ == "__main__":
    main()
