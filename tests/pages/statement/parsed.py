"""The statement on a page, read back from its HTML."""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser


@dataclass
class Cell:
    """A cell: its text, and what names the entries of its figure."""

    text: str = ""
    source: str | None = None
    span: int = 1

    @property
    def minor(self) -> int:
        """The amount in minor units."""
        if self.text in {"", "–"}:
            return 0
        digits = int(self.text.strip("()").replace(",", "").replace(".", ""))
        return -digits if self.text.startswith("(") else digits


@dataclass
class Row:
    """A line: its class, and its cells."""

    kind: str
    cells: list[Cell] = field(default_factory=list)

    @property
    def texts(self) -> list[str]:
        return [cell.text for cell in self.cells]


class Statement(HTMLParser):
    """The lines of the statement of a page, the heads first."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.head: list[Row] = []
        self.groups: list[list[Row]] = []
        self._rows: list[Row] = []
        self._in_cell = False
        start = page.index('<section id="statement"')
        self.html = page[start : page.index("</section>", start)]
        self.feed(self.html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = dict(attrs)
        match tag:
            case "thead":
                self._rows = self.head
            case "tbody":
                self._rows = []
                self.groups.append(self._rows)
            case "tr":
                self._rows.append(Row(names.get("class") or "row"))
            case "th" | "td":
                self._rows[-1].cells.append(Cell(span=int(names.get("colspan") or 1)))
                self._in_cell = True
            case "button":
                self._rows[-1].cells[-1].source = names["value"]

    def handle_endtag(self, tag: str) -> None:
        if tag in {"th", "td"}:
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self._rows[-1].cells[-1].text += data

    @property
    def notes(self) -> list[str]:
        """What is said beneath the figures, also on paper."""
        return re.findall('<p class="note">(.*?)</p>', self.html)

    @property
    def rows(self) -> list[Row]:
        """All lines below the heads."""
        return [row for group in self.groups for row in group]

    def line(self, label: str) -> Row:
        """The one line with a label."""
        (found,) = (row for row in self.rows if row.cells[0].text == label)
        return found

    def group(self, label: str) -> list[Row]:
        """The lines of accounts or entries below a head."""
        (found,) = (group for group in self.groups if group[0].cells[0].text == label)
        return [row for row in found if row.kind == "row"]
