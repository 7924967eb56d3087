"""Turns the rows in which something is wrong into faults with the lines of their files."""

from collections.abc import Sequence
from typing import Final

from reportsim.store.ledger_import.csv_reader import SHOWN, CsvFile, Fault, Faulty
from reportsim.store.pool import Connection

LONG_S: Final = 3600.0


async def refuse(
    connection: Connection,
    file: CsvFile,
    table: str,
    problems: Sequence[str],
    contradictions: Sequence[str] = (),
    chart: CsvFile | None = None,
) -> None:
    """Refuses the file whose rows a table has, if a statement finds a problem.

    The statements give `at`, the row, and `what`. Those of contradictions also give the row that says otherwise, as
    `entry` of the same table or `chart` of that of the accounts file.

    Raises:
        Faulty: the first problems, with the lines of the file they are in.
    """
    plain = [
        f"SELECT at, what, NULL::tid AS entry, NULL::tid AS chart FROM ({problem}) AS plain" for problem in problems
    ]
    in_chart = count_rows("import_chart", "chart") if chart else "0"
    statement = f"""
SELECT {count_rows(table, "at")} AS number, what, {count_rows(table, "entry")} AS entry, {in_chart} AS chart
FROM ({" UNION ALL ".join([*plain, *contradictions])} ORDER BY at LIMIT {SHOWN + 1}) AS problem ORDER BY at"""
    found = await connection.fetch(statement, timeout=LONG_S)
    if not found:
        return
    lines = file.lines({number for row in found for number in (row["number"], row["entry"]) if number})
    chart_lines = chart.lines({row["chart"] for row in found if row["chart"]}) if chart else {}
    faults = []
    for row in found:
        place = f" in {file.path}:{lines[row['entry']]}" if row["entry"] else ""
        if chart and row["chart"]:
            place = f" in {chart.path}:{chart_lines[row['chart']]}"
        faults.append(Fault(file.path, lines.get(row["number"], 0), row["what"] + place))
    raise Faulty(faults)


def count_rows(table: str, row: str) -> str:
    """The number of a row of a table, from 1 on in the order of the file; 0 where there is none."""
    return f"(SELECT count(*) FROM {table} WHERE ctid <= {row})"
