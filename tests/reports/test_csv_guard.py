"""Cells of CSV that the database writes: what Python's csv reads back, and what COPY would have written."""

import csv
import io
from typing import Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reportsim.reports.csv_guard import cell, guarded
from reportsim.reports.files.csv_text import count_records, last_record
from reportsim.store.pool import Connection

AWKWARD: Final = "\",;\n\r\t =+-@\\'.|: \u00a0\u2028\uff1d"
TEXT: Final = st.text(st.one_of(st.sampled_from(AWKWARD), st.characters(exclude_characters="\0", codec="utf-8")))
LINES: Final = st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=20)
SELECT: Final = f"""
SELECT string_agg(concat_ws(',', {cell("a")}, number, {cell("b")}) || E'\\n', '' ORDER BY number)
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS line (a, b, number) WHERE $3::boolean IS NOT NULL
"""
GUARDED: Final = f"""
SELECT {guarded("a")} AS a, {guarded("b")} AS b
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS line (a, b, number) ORDER BY number
"""
DRAWN: Final = settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])


@DRAWN
@given(lines=LINES, guard=st.booleans())
async def test_python_reads_what_the_database_wrote(
    connection: Connection, lines: list[tuple[str, str]], guard: bool
) -> None:
    columns = [list(column) for column in zip(*lines, strict=True)]
    text = await connection.fetchval(SELECT, *columns, guard)
    cells = [tuple(row) for row in await connection.fetch(GUARDED, *columns, guard)]
    assert guard or cells == lines
    read = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    assert read == [[a, str(number), b] for number, (a, b) in enumerate(cells, start=1)]
    assert count_records(text.encode()) == len(lines)
    assert last_record(text.encode()) == read[-1]


@DRAWN
@given(lines=LINES)
async def test_cells_are_as_copy_writes_them(connection: Connection, lines: list[tuple[str, str]]) -> None:
    columns = [list(column) for column in zip(*lines, strict=True)]
    text = await connection.fetchval(SELECT, *columns, False)
    copied = io.BytesIO()
    await connection.execute("CREATE TEMPORARY TABLE IF NOT EXISTS line (a text, number bigint, b text)")
    await connection.execute("TRUNCATE line")
    await connection.execute(
        "INSERT INTO line SELECT a, number, b FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS l (a, b, number)",
        *columns,
    )

    async def write(chunk: bytes) -> None:
        copied.write(chunk)

    await connection.copy_from_query("SELECT * FROM line ORDER BY number", output=write, format="csv")
    assert text.encode() == copied.getvalue()
