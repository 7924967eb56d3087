"""Pages of a file are those of a plain reader, wherever pieces end and whatever cells hold."""

import csv
import io
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportsim.pages.statement import csv_page
from reportsim.pages.statement.csv_page import page_count, read_page
from reportsim.reports.files.csv_text import split_records

CELLS: Final = st.text(alphabet='ab1,"\n\ré€', max_size=5)


def write(rows: list[list[str]]) -> bytes:
    """A file as reports are written: quotes where they are needed."""
    target = io.StringIO(newline="")
    csv.writer(target, lineterminator="\n").writerows([["first", "second"], *rows])
    return target.getvalue().encode()


@given(
    rows=st.lists(st.tuples(CELLS, CELLS).map(list), max_size=12),
    piece=st.integers(1, 20),
    per_page=st.integers(1, 5),
)
async def test_pages_together_are_the_file(rows: list[list[str]], piece: int, per_page: int) -> None:
    file = io.BytesIO(write(rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_page, "ROWS", per_page)
        found = []
        for number in range(1, page_count(len(rows)) + 1):
            file.seek(0)
            with pytest.MonkeyPatch.context() as pieces:
                header = split_records(file.getvalue(), 1)
                pieces.setattr(csv_page, "PIECE", piece)
                assert header == [["first", "second"]]
                page = await read_page(file, number, len(rows))
            shown = [list(row.values()) for row in page.rows]
            first = (number - 1) * per_page
            assert shown == rows[first : first + per_page]
            assert [*page.before.values()] == rows[first - 1] if page.before else first == 0
            assert [*page.after.values()] == rows[first + per_page] if page.after else len(rows) <= first + per_page
            assert not page.cut
            found += shown
    assert found == rows


async def test_rows_that_are_too_long_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_page, "MOST_BYTES", 1_000)
    rows = [["1", "short"], ["2", 'x"' * 600], ["3", "short"]]
    page = await read_page(io.BytesIO(write(rows)), 1, len(rows))
    assert ([list(row.values()) for row in page.rows], page.cut, page.is_last) == (rows[:1], True, False)


@pytest.mark.parametrize("text", [b"", b'"a', b'"a""', b'"a"",\n', b"a,b", b'a,"b\n', '"é'.encode()[:-1]])
def test_a_record_that_is_not_whole_is_none(text: bytes) -> None:
    assert split_records(text, 5) == []
    assert split_records(b"a,b\n" + text, 5) == [["a", "b"]]
