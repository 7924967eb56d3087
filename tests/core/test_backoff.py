"""Waits between attempts: the list, what lengthens it, and what a hostile receiver cannot do to it."""

import math
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportsim.core.backoff import LONGEST_HINT, parse_retry_after, wait_after

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
WAITS = st.lists(st.floats(0, 86_400), min_size=1, max_size=10)
SHARES = st.floats(0, 1)


class TestWait:
    @pytest.mark.parametrize(("attempt", "wait"), [(1, 2), (2, 4), (3, 8), (4, 8), (100, 8), (10**30, 8)])
    def test_follows_the_list_and_repeats_its_last_entry(self, attempt: int, wait: float) -> None:
        assert wait_after(attempt, (2, 4, 8)) == wait

    @pytest.mark.parametrize(
        ("hint", "wait"),
        [(None, 4), (0, 4), (3.9, 4), (-5, 4), (60, 60), (3600, 3600), (1e9, 3600), (math.inf, 3600)],
    )
    def test_is_lengthened_by_a_hint_up_to_the_cap(self, hint: float | None, wait: float) -> None:
        assert wait_after(2, (2, 4, 8), retry_after=hint) == wait

    def test_longer_than_the_cap_stays(self) -> None:
        assert wait_after(1, (7200,), retry_after=1e9) == 7200

    def test_ignores_a_hint_that_is_no_number(self) -> None:
        assert wait_after(1, (2,), retry_after=math.nan) == 2

    @pytest.mark.parametrize(("random", "wait"), [(0, 8), (0.5, 10), (1, 12), (0.75, 11)])
    def test_is_spread_evenly_by_jitter(self, random: float, wait: float) -> None:
        assert wait_after(1, (10,), jitter=0.2, random=random) == pytest.approx(wait)

    @given(st.integers(1, 50), WAITS, SHARES, SHARES, st.floats(0, 1e6))
    def test_is_never_shortened_by_a_hint(
        self, attempt: int, waits: list[float], jitter: float, random: float, hint: float
    ) -> None:
        plain = wait_after(attempt, waits, jitter=jitter, random=random)
        hinted = wait_after(attempt, waits, retry_after=hint, jitter=jitter, random=random)
        assert hinted >= plain
        assert hinted >= min(hint, 3600)
        assert hinted <= max(plain, 3600)

    @given(st.integers(1, 50), WAITS, SHARES, SHARES)
    def test_stays_within_its_jitter(self, attempt: int, waits: list[float], jitter: float, random: float) -> None:
        base = wait_after(attempt, waits)
        assert base in waits
        wait = wait_after(attempt, waits, jitter=jitter, random=random)
        assert math.isfinite(wait)
        assert max(base * (1 - jitter) - 1e-6, 0) <= wait <= base * (1 + jitter) + 1e-6

    @pytest.mark.parametrize("attempt", [0, -1])
    def test_counts_attempts_from_one(self, attempt: int) -> None:
        with pytest.raises(ValueError, match="from 1"):
            wait_after(attempt, (2,))

    @pytest.mark.parametrize("waits", [(), (-1,), (math.nan,), (math.inf,)])
    def test_needs_finite_waits(self, waits: tuple[float, ...]) -> None:
        with pytest.raises(ValueError, match="wait"):
            wait_after(1, waits)

    @pytest.mark.parametrize(("jitter", "random"), [(-0.1, 0), (1.1, 0), (math.nan, 0), (0, -0.1), (0, 1.1)])
    def test_needs_shares(self, jitter: float, random: float) -> None:
        with pytest.raises(ValueError, match="jitter"):
            wait_after(1, (2,), jitter=jitter, random=random)


class TestRetryAfter:
    @pytest.mark.parametrize(
        ("value", "seconds"),
        [
            ("0", 0),
            ("120", 120),
            ("007", 7),
            (" 5\t", 5),
            ("2147483648", LONGEST_HINT),
            ("9" * 400, LONGEST_HINT),
            ("9" * 8000, LONGEST_HINT),
            ("Sun, 01 Mar 2026 12:02:00 GMT", 120),
            ("Sunday, 01-Mar-26 12:02:00 GMT", 120),
            ("Sun Mar  1 12:02:00 2026", 120),
            ("Sun Mar 01 12:02:00 2026", 120),
            ("Sun, 01 Mar 2026 11:59:59 GMT", 0),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 0),
            ("Sunday, 06-Nov-94 08:49:37 GMT", 0),
            ("Sun Nov  6 08:49:37 1994", 0),
            ("Sun, 01 Mar 2026 12:00:60 GMT", 59),
            ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_HINT),
            (
                "Thursday, 01-Mar-76 12:00:00 GMT",
                (datetime(2076, 3, 1, 12, tzinfo=UTC) - NOW).total_seconds(),
            ),
            ("Tuesday, 01-Mar-77 12:00:00 GMT", 0),
        ],
    )
    def test_is_read_in_every_form_of_the_standard(self, value: str, seconds: float) -> None:
        assert parse_retry_after(value, NOW) == seconds

    @pytest.mark.parametrize(
        "value",
        [
            *(
                "",
                " ",
                "-1",
                "+5",
                "1.5",
                "1e3",
                "0x10",
                "1_000",
                "5 s",
                "5,6",
                "inf",
                "nan",
                "soon",
                "٣",
                "５",
                "²",
                "5\n",
            ),
            *(
                "\x00",
                "Sun, 01 Mar 2026 12:02:00",
                "Sun, 01 Mar 2026 12:02:00 UTC",
                "Sun, 01 Mar 2026 12:02:00 +0000",
            ),
            *("sun, 01 mar 2026 12:02:00 gmt", "Sun, 1 Mar 2026 12:02:00 GMT", "01 Mar 2026 12:02:00 GMT"),
            *(
                "Sun, 31 Feb 2026 12:02:00 GMT",
                "Sun, 00 Mar 2026 12:02:00 GMT",
                "Sun, 01 Mar 0000 12:02:00 GMT",
            ),
            *(
                "Sun, 01 Mar 2026 24:00:00 GMT",
                "Sun, 01 Mar 2026 12:60:00 GMT",
                "Sun, 01 Mar 2026 12:00:61 GMT",
            ),
            *(
                "Sun Mar 1 12:02:00 2026",
                "Sun, 01 Mar 2026 12:02 GMT",
                "2026-03-01T12:02:00Z",
                "Sun, ０1 Mar 2026 12:02:00 GMT",
            ),
        ],
    )
    def test_that_says_nothing_is_none(self, value: str) -> None:
        assert parse_retry_after(value, NOW) is None

    @given(st.text() | st.from_regex(r"\A[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} GMT\Z"))
    def test_of_any_text_is_bounded_and_never_raises(self, value: str) -> None:
        seconds = parse_retry_after(value, NOW)
        assert seconds is None or 0 <= seconds <= LONGEST_HINT

    @given(st.integers(0, 10**12))
    def test_in_seconds_is_what_it_says(self, seconds: int) -> None:
        assert parse_retry_after(str(seconds), NOW) == min(seconds, LONGEST_HINT)

    @given(st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31)), st.integers(-720, 720))
    def test_as_a_date_counts_from_now_in_any_zone(self, date: datetime, offset: int) -> None:
        date = date.replace(microsecond=0, tzinfo=UTC)
        now = NOW.astimezone(timezone(timedelta(minutes=offset)))
        expected = min(max((date - NOW).total_seconds(), 0), LONGEST_HINT)
        assert parse_retry_after(format_datetime(date, usegmt=True), now) == expected

    def test_needs_an_aware_clock(self) -> None:
        with pytest.raises(ValueError, match="aware"):
            parse_retry_after("Sun, 01 Mar 2026 12:02:00 GMT", datetime(2026, 3, 1))
