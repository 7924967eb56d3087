"""What the benchmark reads: PostgreSQL's log, what wrk prints, events."""

import pytest

from benchmarks.harness.database import Statement, read_statements
from benchmarks.harness.load import Load, read_wrk
from benchmarks.parts.growth import is_of_report
from benchmarks.parts.requests import CLAIM, DUE, TAKE_OVER, kind, mean_ms
from benchmarks.parts.streams import ends

LOG = """\
2026-01-01 00:00:00.000 UTC [7] LOG:  duration: 0.125 ms  bind __asyncpg_stmt_1__: SELECT 1
\tFROM accounts
2026-01-01 00:00:00.000 UTC [7] DETAIL:  Parameters: $1 = '1'
2026-01-01 00:00:00.000 UTC [7] LOG:  duration: 1.500 ms  execute __asyncpg_stmt_1__: SELECT 1
\tFROM accounts
2026-01-01 00:00:00.001 UTC [7] LOG:  checkpoint starting: time
2026-01-01 00:00:00.001 UTC [7] LOG:  duration: 30.000 ms  statement: COPY (SELECT 1) TO STDOUT
"""
WRK = """\
Running 1s test @ http://127.0.0.1:1/healthz
  Latency Distribution
     50%  750.00us
     99%    1.50s
  12 requests in 1.00s, 1.00KB read
  Socket errors: connect 1, read 2, write 3, timeout 4
  Non-2xx or 3xx responses: 5
Requests/sec:   1234.50
"""


def test_the_log_says_how_long_each_step_of_a_statement_took() -> None:
    assert [(each.text.partition(":")[0], each.ms) for each in read_statements(LOG)] == [
        ("bind __asyncpg_stmt_1__", 0.125),
        ("execute __asyncpg_stmt_1__", 1.5),
        ("statement", 30.0),
    ]
    assert [is_of_report(each.text) for each in read_statements(LOG)] == [True, True, False]


def test_wrk_counts_every_kind_of_error() -> None:
    assert read_wrk(WRK) == Load(rate=1234.5, p50=0.75, p99=1500, errors=15, seconds=1)
    nothing = "".join(line for line in WRK.splitlines(keepends=True) if "%" not in line)
    assert read_wrk(nothing.replace("1234.50", "0.00")) == Load(rate=0, p50=1000, p99=1000, errors=15, seconds=1)
    with pytest.raises(ValueError, match="unable to connect"):
        read_wrk("unable to connect to 127.0.0.1:1")


def test_statements_that_claim_are_told_apart() -> None:
    claim = "UPDATE requests WHERE id IN (SELECT id FROM requests WHERE {} ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)"
    assert kind(claim.format("status = 'PENDING'")) == CLAIM
    assert kind(claim.format("lease_until < now()")) == TAKE_OVER
    assert kind(claim.format("callback_due_at < now() - $4::interval")) == DUE
    assert kind("SELECT 1 FROM requests ORDER BY id") is None
    assert kind("SELECT id FROM requests WHERE id = ANY($1) FOR UPDATE SKIP LOCKED") is None


def test_a_statement_is_counted_once_and_its_binding_with_it() -> None:
    text = "UPDATE requests WHERE id IN (SELECT id ORDER BY id FOR UPDATE SKIP LOCKED)"
    steps = [
        Statement(f"{step} s1: {text}", ms) for step, ms in [("bind", 1), ("execute", 2), ("bind", 1), ("execute", 4)]
    ]
    assert mean_ms(steps, CLAIM) == 4
    assert mean_ms(steps, DUE) is None


def test_an_event_is_dated_by_the_newest_end_that_it_tells_of() -> None:
    text = (
        b'id: aa-1\nevent: requests\ndata: {"items":[{"completed_at":null}]}\n\n'
        b"id: aa-2\nevent: requests\ndata: "
        b'{"items":[{"completed_at":"1970-01-01T00:00:01Z"},{"completed_at":"1970-01-01T00:00:02+00:00"}]}\n\n'
    )
    assert ends(text) == {b"aa-2": 2.0}
