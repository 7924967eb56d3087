"""The traceparent header, as W3C Trace Context has it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportsim.core.tracing import TraceContext, child, new_traceparent, parse_traceparent

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
VALID = f"00-{TRACE}-{PARENT}-01"


@pytest.mark.parametrize(
    ("value", "sampled"),
    [
        (VALID, True),
        (f"00-{TRACE}-{PARENT}-00", False),
        (f"00-{TRACE}-{PARENT}-03", True),
        (f"00-{TRACE}-{PARENT}-02", False),
        (f"00-{TRACE}-{PARENT}-ff", True),
        (f"01-{TRACE}-{PARENT}-01", True),
        (f"cc-{TRACE}-{PARENT}-00", False),
        (f"cc-{TRACE}-{PARENT}-01-what-the-future-brings", True),
        (f"fe-{TRACE}-{PARENT}-01-", True),
    ],
)
def test_a_valid_header_is_read(value: str, sampled: bool) -> None:
    assert parse_traceparent([value]) == TraceContext(TRACE, PARENT, sampled)


@pytest.mark.parametrize(
    "values",
    [
        [],
        [VALID, VALID],
        [VALID, ""],
        [""],
        [f"{VALID},{VALID}"],
        [VALID.upper()],
        [VALID.replace("a", "A")],
        [VALID + "-"],
        [VALID + "-extra"],
        [VALID + "x"],
        [VALID + "\n"],
        [" " + VALID],
        [f"cc-{TRACE}-{PARENT}-01x"],
        [f"cc-{TRACE}-{PARENT}-01.x"],
        [f"ff-{TRACE}-{PARENT}-01"],
        [f"0-{TRACE}-{PARENT}-01"],
        [f"00-{'0' * 32}-{PARENT}-01"],
        [f"00-{TRACE}-{'0' * 16}-01"],
        [f"00-{TRACE[1:]}-{PARENT}-01"],
        [f"00-{TRACE}0-{PARENT}-01"],
        [f"00-{TRACE}-{PARENT[1:]}-01"],
        [f"00-{TRACE}-{PARENT}-1"],
        [f"00-{TRACE}-{PARENT}-0g"],
        [f"00-{TRACE}-{PARENT}"],
        [f"00_{TRACE}_{PARENT}_01"],
        [f"00-{TRACE[:-1]}\uff11-{PARENT}-01"],
        [f"00-{TRACE[:-1]}\u0661-{PARENT}-01"],
    ],
    ids=lambda values: ascii(values)[:60],
)
def test_anything_else_starts_a_new_trace(values: list[str]) -> None:
    assert parse_traceparent(values) is None


@given(st.lists(st.text(), max_size=3))
def test_no_header_raises(values: list[str]) -> None:
    parse_traceparent(values)


def test_a_new_trace_reads_back() -> None:
    trace = parse_traceparent([new_traceparent()])
    assert trace is not None
    assert trace.sampled
    other = parse_traceparent([new_traceparent()])
    assert other is not None
    assert other.trace_id != trace.trace_id


@pytest.mark.parametrize("sampled", [True, False])
def test_a_child_keeps_the_trace_and_its_flag_and_changes_the_parent(sampled: bool) -> None:
    step = parse_traceparent([child(TraceContext(TRACE, PARENT, sampled).traceparent)])
    assert step is not None
    assert (step.trace_id, step.sampled) == (TRACE, sampled)
    assert step.parent_id != PARENT


def test_a_later_version_goes_on_as_version_00() -> None:
    context = parse_traceparent([f"cc-{TRACE}-{PARENT}-ff-more"])
    assert context is not None
    assert context.traceparent == VALID


def test_an_id_is_never_zero() -> None:
    trace = new_traceparent(bytes)
    assert parse_traceparent([trace]) is not None
    assert parse_traceparent([child(trace, bytes)]) is not None
