"""Target files: what they may say, and one line that names the key for each mistake."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportsim.benchmark.results.samples import Outcome
from reportsim.measure.target.model import Callback, Poll, Stream
from reportsim.measure.target.reader import read_target
from reportsim.measure.target.templates import TargetError
from tests.measure.malformed import EXAMPLES, FULL, MALFORMED

ENVIRON = {"TOKEN": "s3cr3t-token", "SECRET": "whsec_" + "QUJD" * 8, "BROKEN": "a\nb"}


def test_a_whole_file_is_read() -> None:
    target = read_target(FULL, ENVIRON)
    assert target.sync is not None
    assert target.later is not None
    values = {"index": "7", "key": "k-7", "callback_url": 'http://us/"7"'}
    request = target.sync.request.fill(values)
    assert (request.method, request.url) == ("POST", "https://a.example/report")
    assert request.headers == {"Authorization": "Bearer s3cr3t-token", "Content-Type": "application/json"}
    assert request.body == b'{"n":"7","deep":[{"again":"is 7"}],"flag":true}'
    later = target.later.request.fill(values)
    assert later.body == b'{"notify":"http://us/\\"7\\""}'
    assert later.headers["Idempotency-Key"] == "k-7"
    assert isinstance(target.later.way, Callback)
    assert target.later.way.verify is not None
    assert {str(origin) for origin in target.origins} == {"https://a.example"}
    assert not target.is_local
    assert target.limits.result_deadline_s == 60


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_way_is_read(name: str) -> None:
    target = read_target(EXAMPLES[name], ENVIRON)
    assert target.later is not None
    assert isinstance(target.later.way, {"callback": Callback, "poll": Poll, "sse": Stream}[name.partition(" ")[0]])
    assert target.is_local


def test_there_are_enough_mistakes() -> None:
    assert len(MALFORMED) >= 40


@pytest.mark.parametrize("name", MALFORMED)
def test_a_mistake_is_one_line_that_names_its_key(name: str) -> None:
    key, text = MALFORMED[name]
    with pytest.raises(TargetError) as caught:
        read_target(text, ENVIRON)
    said = str(caught.value)
    assert re.match(re.escape(key) + r"(:| )", said), said
    assert "\n" not in said
    assert not any(secret in said for secret in ENVIRON.values()), "a value of the environment is shown"


@given(st.integers(0, len(FULL) - 1), st.integers(0, 12), st.text(max_size=6))
def test_whatever_is_changed_is_read_or_refused_in_a_line(at: int, cut: int, more: str) -> None:
    try:
        read_target(FULL[:at] + more + FULL[at + cut :], ENVIRON)
    except TargetError as error:
        assert str(error).isprintable()


def test_states_are_compared_as_text() -> None:
    text = FULL.replace('done = ["ok"]', 'done = [true, 3, "ok"]')
    target = read_target(text, ENVIRON)
    assert target.sync is not None
    assert target.sync.result is not None
    judge = target.sync.result.judge
    values: list[object] = [True, 3, "ok", "error", None, {}, "other"]
    assert [judge({"state": value}) for value in values] == [
        *[Outcome.OK] * 3,
        Outcome.JOB_FAILED,
        *[None] * 3,
    ]


def test_values_are_escaped_for_where_they_stand() -> None:
    text = EXAMPLES["poll by id"].replace("${id}", "${id}?key=${key}")
    target = read_target(text, ENVIRON)
    assert target.later is not None
    assert isinstance(target.later.way, Poll)
    from reportsim.measure.target.model import escape_url

    values = {"id": "a/b?c", "key": "k&x", "index": "0", "location": ""}
    assert target.later.way.url.fill(values, escape_url) == "http://127.0.0.1:9/jobs/a%2Fb%3Fc?key=k%26x"
