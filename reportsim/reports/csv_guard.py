"""Cells of CSV in SQL: texts that no spreadsheet takes for a formula, and quotes where RFC 4180 wants them."""

from typing import Final

# What makes a formula, also full-width and small, as East Asian spreadsheets take it; where a cell may begin: at the
# start, or after what a spreadsheet may split at; and what it may pass over before the formula. Code points are written
# as escapes, which databases of every encoding accept.
SIGNS: Final = r"=+\-@\uFF1D\uFF0B\uFF0D\uFF20\uFE66\uFE62\uFE63\uFE6B"
STARTS: Final = r"^|[;,|:\t\n\v\f\r\u0085\u2028\u2029\uFF0C\uFF1B]"
PASSED_OVER: Final = r'[ \t\n\v\f\r"\u00A0\u200B-\u200D\u2060\u3000\uFEFF]*'
FORMULA: Final = f"({STARTS})({PASSED_OVER})([{SIGNS}])"
SUSPECT: Final = rf"[{SIGNS}]|^[\t\r]"
# What stands in a cell as it is: neither quotes nor a guard can be needed. Most texts are like that.
PLAIN: Final = rf'^[^{SIGNS}",\t\n\r]+$'


def guarded(expression: str) -> str:
    """A text that no spreadsheet takes for a formula, where $3 asks for that."""
    quote = rf"CASE WHEN left({expression}, 1) IN (E'\t', E'\r') THEN '''' ELSE '' END"
    inner = rf"regexp_replace({expression}, '{FORMULA}', '\1\2''\3', 'g')"
    return f"CASE WHEN $3 AND {expression} ~ '{SUSPECT}' THEN {quote} || {inner} ELSE {expression} END"


def cell(expression: str) -> str:
    """A text as a cell of a CSV line, in quotes where it has to be (RFC 4180) or is empty; nothing for NULL."""
    return f"""coalesce(CASE WHEN {expression} ~ '{PLAIN}' THEN {expression} ELSE (
        SELECT CASE WHEN text = '' OR text ~ E'[",\\n\\r]' THEN '"' || replace(text, '"', '""') || '"' ELSE text END
        FROM (SELECT {guarded(expression)} AS text OFFSET 0) AS guarded) END, '')"""
