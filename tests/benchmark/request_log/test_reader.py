"""Logs of other services: each format gives its durations and its rate, anything else one clear error."""

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reportsim.benchmark.request_log import reader
from reportsim.benchmark.request_log.errors import LogError
from reportsim.benchmark.request_log.reader import FEWEST, LONGEST_LINE, RequestLog, Reservoir, read_log
from reportsim.benchmark.request_log.units import Unit

START: Final = datetime(2025, 11, 1, 10, tzinfo=UTC)
# Two requests a second for a minute, then five a second for a minute.
MOMENTS: Final = [START + timedelta(seconds=n / 2) for n in range(120)] + [
    START + timedelta(seconds=60 + n / 5) for n in range(300)
]
TIMES_MS: Final = [5 * (1 + n % 100) for n in range(len(MOMENTS))]
REQUEST: Final = '"POST /reports?a=\\"b\\" HTTP/1.1" 200 512'


def local(moment: datetime) -> str:
    return f"{moment:%d/%b/%Y:%H:%M:%S} +0000"


def read(text: str | bytes, unit: Unit | None = None, name: str | None = None) -> RequestLog:
    return read_log(io.BytesIO(text if isinstance(text, bytes) else text.encode()), unit=unit, name=name)


def rows(line: Callable[[datetime, int], str], header: str = "") -> str:
    lines = [line(moment, ms) for moment, ms in zip(MOMENTS, TIMES_MS, strict=True)]
    return "\n".join([*filter(None, [header]), *lines])


@pytest.mark.parametrize(
    ("format", "text"),
    [
        ("an access log", rows(lambda at, ms: f'::1 - - [{local(at)}] {REQUEST} "-" "curl/8 (x)" {ms / 1000:.3f}')),
        (
            "an access log",
            rows(lambda at, ms: f'h - bob [{local(at)}] {REQUEST} "-" "c" "10.0.0.1" rt={ms / 1000:.3f} -'),
        ),
        ("an access log", rows(lambda at, ms: f"::1 - - [{local(at)}] {REQUEST} {1000 * ms}")),
        ("an access log", rows(lambda at, ms: f"::1 - - [{local(at)}] {REQUEST} duration_ms={ms}")),
        ("JSON lines", rows(lambda at, ms: json.dumps({"time_local": local(at), "request_time": f"{ms / 1000:.3f}"}))),
        ("JSON lines", rows(lambda at, ms: json.dumps({"@timestamp": at.isoformat(), "durationMs": ms}))),
        ("JSON lines", rows(lambda at, ms: json.dumps({"ts": at.timestamp(), "latency": f"{ms}ms"}))),
        (
            "CSV",
            rows(lambda at, ms: f'{at.isoformat()},"a,b",{ms}', "time,path,response time (ms)".replace(" (ms)", "_ms")),
        ),
        ("CSV", rows(lambda at, ms: f"{1000 * at.timestamp():.0f};{ms / 1000}", "timeStamp;elapsed_s")),
        ("CSV", "﻿" + rows(lambda at, ms: f"{at:%Y-%m-%d %H:%M:%S.%f}\t{ms} ms", "at\ttook")),
    ],
)
def test_every_format_gives_the_durations_and_the_rate(format: str, text: str) -> None:
    found = read(text)
    assert (found.format, found.count) == (format, len(TIMES_MS))
    assert found.durations.times_s == pytest.approx(sorted(ms / 1000 for ms in TIMES_MS))
    assert found.rate is not None
    assert found.rate.mean == pytest.approx(3.5, rel=0.02)
    assert found.rate.busiest == pytest.approx(5, rel=0.02)


def test_a_plain_column_has_durations_but_no_rate() -> None:
    text = "\r\n".join(f"{ms}" for ms in TIMES_MS)
    found = read(text, Unit.MS)
    assert found.durations.mean_s == pytest.approx(sum(TIMES_MS) / len(TIMES_MS) / 1000)
    assert found.rate is None
    assert read(text, Unit.S).durations.mean_s == pytest.approx(1000 * found.durations.mean_s)


def test_a_written_unit_counts_before_the_one_asked_for_and_that_before_the_name() -> None:
    text = "duration_ms\n" + "\n".join(["1.5s"] * FEWEST)
    assert read(text, Unit.US).durations.mean_s == pytest.approx(1.5)
    text = "duration_ms\n" + "\n".join(["7"] * FEWEST)
    assert read(text).durations.mean_s == pytest.approx(0.007)
    assert read(text, Unit.S).durations.mean_s == pytest.approx(7)


def test_apaches_seconds_need_the_unit() -> None:
    text = "\n".join([f"h - - [{local(START)}] {REQUEST} 2"] * FEWEST)
    assert read(text).durations.mean_s == pytest.approx(2e-6)
    assert read(text, Unit.S).durations.mean_s == pytest.approx(2)


def test_a_column_a_key_and_a_field_can_be_named() -> None:
    assert read("duration_s,db_ms\n" + "9,3\n" * FEWEST, name="db_ms").durations.mean_s == pytest.approx(0.003)
    assert read('{"a": 1, "wait": 4}\n' * FEWEST, Unit.MS, "wait").durations.mean_s == pytest.approx(0.004)
    line = f'h - - [{local(START)}] {REQUEST} rt=0.5 urt="0.25"\n'
    assert read(line * FEWEST, name="urt").durations.mean_s == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "0 durations: at least 20 are needed"),
        ("1s\n2s\n", "2 durations: at least 20 are needed"),
        ("0s\n" * FEWEST, "all durations are 0"),
        ("0.25\n", "line 1: 0.25 has no unit: write 0.25s or 0.25ms"),
        ("\n\n1s\nslow\n", "line 4: expected a duration, such as 0.12, 120ms or 1.5s, found “slow”"),
        ("-1s\n", "line 1: expected a column or key such as duration_ms"),
        ("1s\n-1s\n", "line 2: expected a duration"),
        ("1s\n1e9s\n", "line 2: expected a duration from 0 to a day, found 1e+09 s"),
        ("1s\n4 parsecs\n", "line 2: expected the unit s, ms, us or ns, found “parsecs”"),
        (
            "path,status\n/,200\n",
            "line 1: expected a column or key such as duration_ms or request_time, found “path, status”",
        ),
        (
            "latency_ms,elapsed_ms\n1,2\n",
            "line 1: which one is the duration: latency_ms, elapsed_ms? Say which field (--field)",
        ),
        ("duration_ms,path\n1,/\n2\n", "line 3: expected 2 columns as in the header, found 1"),
        ('duration_ms,path\n1,"/\n', "line 2: expected every quoted cell to end within its line"),
        ("time,duration_ms\nnoon,3\n", "line 2: expected a time in ISO 8601 or seconds since 1970, found “noon”"),
        ('{"duration_ms": 1}\n{"other": 1}\n', "line 2: expected a number as “duration_ms”"),
        ('{"duration_ms": true}\n', "line 1: expected a number as “duration_ms”"),
        ('{"duration_ms": 1}\n[1]\n', "line 2: expected a JSON object, found “[1]”"),
        ('{"duration": 1}\n', "line 1: 1 has no unit"),
        (f"h - - [{local(START)}] {REQUEST}\n", "line 1: expected an access-log line with nginx's $request_time"),
        (f"h - - [{local(START)}] GET / 200 1 0.5\n", "line 1: expected the request in quotes"),
        (f"h - - [{local(START).replace('Nov', 'Foo')}] {REQUEST} 0.5\n", "line 1: there is no time 01/Foo/2025:10"),
        ("1s\n" + "9" * (LONGEST_LINE + 1), "line 2: the line is longer than 65,536 bytes"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, said: str) -> None:
    with pytest.raises(LogError) as error:
        read(text)
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)


WORDS = st.sampled_from(
    [
        *(
            "0",
            "1",
            "0.5",
            "5ms",
            "1e308s",
            "9e99",
            "-",
            ",",
            ";",
            "\t",
            '"',
            "{",
            "}",
            "[",
            "]",
            "nan",
            "inf",
            " ",
            "\n",
        ),
        *("duration_ms,time", "request_time", "latency", "\0", "\ud800", "é", "200", "0.5s\n" * FEWEST),
        *('{"duration_ms": 1}', '{"took_s": 1e999, "time": -1}', '{"took_s": "1", "at": "0001-01-01T00:00+14:00"}'),
        *(f"h - - [{local(START)}] {REQUEST}", "[99/Jan/2025:25:61:61 +9999]", "[01/Jan/0001:00:00:00 +2359]"),
    ]
)


@given(st.lists(WORDS, max_size=60).map("".join) | st.text(max_size=200), st.sampled_from([None, *Unit]))
@example('{"duration_s": 1, "time": "9999-12-31T23:59:59-14:00"}\n' * FEWEST, None)
def test_any_text_gives_a_result_or_one_clear_error(text: str, unit: Unit | None) -> None:
    try:
        found = read(text.encode("utf-8", "surrogatepass"), unit)
    except LogError as error:
        assert str(error).isprintable()
        assert len(str(error)) < 1_000
    else:
        assert found.count >= FEWEST
        assert found.durations.mean_s > 0
        assert found.rate is None or 0 < found.rate.mean <= found.rate.busiest


@given(st.binary(max_size=300))
def test_and_so_do_any_bytes(data: bytes) -> None:
    with pytest.raises(LogError):
        read(data.replace(b"\n", b""))


def test_a_reservoir_is_a_uniform_sample_of_bounded_size() -> None:
    shares = []
    for seed in range(200):
        reservoir = Reservoir(Random(seed), size=20)
        for value in range(1_000):
            reservoir.add(value)
        assert len(reservoir.kept) == 20
        shares.append(sum(reservoir.kept) / 20)
    assert sum(shares) / len(shares) == pytest.approx(499.5, abs=15)


def test_a_long_log_is_sampled_the_same_way_each_time() -> None:
    text = "\n".join(f"{number}ms" for number in range(1, 5_001)).encode()
    first, second = (read_log(io.BytesIO(text), seed=1, most_kept=500) for _ in range(2))
    assert (first.count, len(first.durations.times_s)) == (5_000, 500)
    assert first.durations.times_s == second.durations.times_s
    assert first.durations.times_s != read_log(io.BytesIO(text), seed=2, most_kept=500).durations.times_s


def test_a_log_over_too_many_minutes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MOST_MINUTES", 3)
    text = "ts,duration_s\n" + "\n".join(f"{3600 * hour},1" for hour in range(5))
    with pytest.raises(LogError, match=r"^line 5: the requests are in more than 3 minutes"):
        read(text)
