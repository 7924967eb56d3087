"""GET /api/reports/{file}: the CSV, whole, in part, or not again."""

import base64
import gzip
import hashlib
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from multidict import CIMultiDict
from yarl import URL

from reportsim.api.reports import download_name
from reportsim.settings import Settings
from tests.api.calls import FAILING, UNKNOWN, fetch, submit
from tests.conftest import Report, Service

MARCH: Final = {"from": "2025-03-01", "to": "2025-04-01"}


async def test_the_file_is_what_the_result_says(service: Service, report: Report) -> None:
    status, headers, csv = await fetch(service, report.url)
    assert status == 200
    assert hashlib.sha256(csv).hexdigest() == report.sha256
    assert headers["Content-Type"] == "text/csv; charset=utf-8; header=present"
    assert headers["Content-Length"] == str(len(csv))
    assert headers["ETag"] == report.etag
    assert headers["Accept-Ranges"] == "bytes"
    assert headers["Content-Disposition"].startswith('attachment; filename="trial-balance_')
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert csv.splitlines()[0].startswith(b"account_code,account_name,account_type,")


def test_no_name_of_a_ledger_breaks_the_header() -> None:
    payload = {"report_type": "cash_flow", "ledger": 'Bücher "2025"; x/y', "from": "2025-01-01", "to": "2025-02-01"}
    assert download_name(payload) == "cash-flow_B-cher-2025-x-y_2025-01-01_2025-01-31.csv"


async def test_head_has_the_same_headers_and_no_body(service: Service, report: Report) -> None:
    _, expected, _ = await fetch(service, report.url)
    async with service.client.head(report.url) as answer:
        assert answer.status == 200
        assert await answer.read() == b""
        for name in ("Content-Type", "Content-Length", "ETag", "Accept-Ranges", "Content-Disposition"):
            assert answer.headers[name] == expected[name]


async def test_a_copy_that_is_still_right_is_not_sent_again(service: Service, report: Report) -> None:
    for known in (report.etag, f"W/{report.etag}", f'"other", {report.etag}', "*"):
        status, headers, body = await fetch(service, report.url, If_None_Match=known)
        assert (status, body) == (304, b"")
        assert headers["ETag"] == report.etag
    status, _, body = await fetch(service, report.url, If_None_Match='"other"')
    assert (status, body) == (200, report.csv)


async def test_a_precondition_that_fails_is_412(service: Service, report: Report) -> None:
    for wanted, expected in ((report.etag, 200), ("*", 200), ('"other"', 412)):
        status, _, _ = await fetch(service, report.url, If_Match=wanted)
        assert status == expected


async def test_a_range_is_a_part_of_the_same_bytes(service: Service, report: Report, subtests: pytest.Subtests) -> None:
    for span in ["0-0", "0-9", "10-", "-10", "5-5", "0-99999999", "-99999999"]:
        with subtests.test(span=span):
            size = len(report.csv)
            first, _, last = span.partition("-")
            start = int(first) if first else max(size - int(last), 0)
            end = min(int(last), size - 1) if first and last else size - 1
            status, headers, body = await fetch(service, report.url, Range=f"bytes={span}")
            assert status == 206
            assert body == report.csv[start : end + 1]
            assert headers["Content-Range"] == f"bytes {start}-{end}/{size}"
            assert headers["Content-Length"] == str(len(body))
            assert headers["ETag"] == report.etag


async def test_ranges_put_together_are_the_file(service: Service, report: Report) -> None:
    step = len(report.csv) // 3
    parts = [
        await fetch(service, report.url, Range=f"bytes={n}-{n + step - 1}") for n in range(0, len(report.csv), step)
    ]
    assert b"".join(body for _, _, body in parts) == report.csv


@pytest.mark.parametrize("span", ["99999999-", "-0"])
async def test_a_range_beyond_the_end_is_416(service: Service, report: Report, span: str) -> None:
    status, headers, body = await fetch(service, report.url, Range=f"bytes={span}")
    assert status == 416
    assert headers["Content-Range"] == f"bytes */{len(report.csv)}"
    assert b"/problems/range-not-satisfiable" in body


async def test_a_range_that_is_not_understood_is_ignored(
    service: Service, report: Report, subtests: pytest.Subtests
) -> None:
    for span in ["lines=1-2", "bytes=", "bytes=-", "bytes=9-1", "bytes=a-b", "bytes=0-1,3-4", "0-1"]:
        with subtests.test(span=span):
            status, _, body = await fetch(service, report.url, Range=span)
            assert (status, body) == (200, report.csv)


async def test_a_range_of_another_file_is_ignored(service: Service, report: Report) -> None:
    for condition, status in (
        (report.etag, 206),
        ('"other"', 200),
        (f"W/{report.etag}", 200),
        ("Tue, 24 Nov 2026 06:28:09 GMT", 200),
    ):
        answered, _, body = await fetch(service, report.url, Range="bytes=0-9", If_Range=condition)
        assert answered == status
        assert body == (report.csv[:10] if status == 206 else report.csv)


async def test_an_unknown_or_crooked_name_is_404(service: Service, report: Report, subtests: pytest.Subtests) -> None:
    for name in [
        f"{UNKNOWN}.csv",
        UNKNOWN,
        f"{UNKNOWN}.csv.part",
        f"{UNKNOWN}.CSV",
        f"{UNKNOWN}.csv%00",
        f"{UNKNOWN}.csv%0a",
        "x.csv",
        ".csv",
        "%2e%2e",
        "..%2f..%2fetc%2fpasswd",
        "..%5c..%5csecret.csv",
        f"..%2freports%2f{UNKNOWN}.csv",
        f"{UNKNOWN.upper()}.csv",
    ]:
        with subtests.test(name=name):
            async with service.client.get(URL(f"/api/reports/{name}", encoded=True)) as answer:
                assert answer.status == 404
                assert answer.content_type == "application/problem+json"
                assert (await answer.json())["type"] == "/problems/not-found"


async def test_a_request_without_a_report_has_no_file(service: Service) -> None:
    id = await submit(service, "/api/async", FAILING)
    assert (await service.ended(id))["status"] == "FAILED"
    status, _, _ = await fetch(service, f"/api/reports/{id}.csv")
    assert status == 404


async def test_a_file_that_is_gone_is_made_again_with_the_same_bytes(
    service: Service, settings: Settings, report: Report
) -> None:
    (settings.reports_dir / report.url.rpartition("/")[2]).unlink()
    status, headers, csv = await fetch(service, report.url)
    assert (status, csv) == (200, report.csv)
    assert headers["ETag"] == report.etag


# Validators, conditions and parts, by RFC 9110


async def test_the_file_says_what_it_hashes_to_and_when_it_was_made(service: Service, report: Report) -> None:
    _, headers, _ = await fetch(service, report.url)
    digest = base64.b64encode(bytes.fromhex(report.sha256)).decode()
    assert headers["Repr-Digest"] == f"sha-256=:{digest}:"
    async with service.client.get(f"/api/requests/{report.id}") as answer:
        completed = datetime.fromisoformat((await answer.json())["completed_at"])
    assert report.modified == completed.replace(microsecond=0)
    assert headers["Cache-Control"] == "private, max-age=3600, immutable"
    # The digest is that of the whole file on a part of it, too.
    _, headers, _ = await fetch(service, report.url, Range="bytes=0-1")
    assert headers["Repr-Digest"] == f"sha-256=:{digest}:"


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"from": "2025-01-01", "to": "2026-01-01"}, "trial-balance_tiny_2025-01-01_2025-12-31.csv"),
        ({"from": "2025-01-01", "to": "9999-12-31"}, "trial-balance_tiny_2025-01-01_9999-12-31.csv"),
        ({"report_type": "balance_sheet", "as_of": "2025-03-31"}, "balance-sheet_tiny_2025-03-31.csv"),
        (
            {"report_type": "income_statement", **MARCH, "group_by": "month"},
            "income-statement_tiny_2025-03-01_2025-03-31_by-month.csv",
        ),
        (
            {**MARCH, "compare": "previous_year", "include_zero": True},
            "trial-balance_tiny_2025-03-01_2025-03-31_vs-previous-year_with-zero.csv",
        ),
        (
            {"report_type": "general_ledger", **MARCH, "account_codes": ["1100"], "cash_only": True},
            "general-ledger_tiny_2025-03-01_2025-03-31_cash_1100.csv",
        ),
        (
            {"report_type": "general_ledger", **MARCH, "account_codes": ['a"/' + "é" * 90 + "b" * 7]},
            "general-ledger_tiny_2025-03-01_2025-03-31_a-bbbbbbb.csv",
        ),
        (
            {"report_type": "general_ledger", **MARCH, "account_codes": ["x" * 100]},
            f"general-ledger_tiny_2025-03-01_2025-03-31_{'x' * 30}.csv",
        ),
        (
            {"report_type": "general_ledger", **MARCH, "account_codes": ["1", "2"]},
            "general-ledger_tiny_2025-03-01_2025-03-31_2-accounts.csv",
        ),
    ],
)
async def test_a_file_is_saved_under_a_name_that_says_what_it_is(
    service: Service, options: dict[str, Any], name: str
) -> None:
    async with service.client.post("/api/sync", json={"ledger": "tiny", **options}) as answer:
        url = (await answer.json())["links"]["report"]
    _, headers, _ = await fetch(service, url)
    assert headers["Content-Disposition"] == f'attachment; filename="{name}"'


async def test_dates_are_conditions_where_there_is_no_tag(service: Service, report: Report) -> None:
    def date(seconds: float) -> str:
        return format_datetime((report.modified + timedelta(seconds=seconds)).astimezone(UTC), usegmt=True)

    for headers, status in [
        ({"If_Modified_Since": date(0)}, 304),
        ({"If_Modified_Since": date(3600)}, 304),
        ({"If_Modified_Since": date(-1)}, 200),
        ({"If_Modified_Since": "yesterday"}, 200),
        ({"If_Modified_Since": "Tue, 24 Nov 2026 06:28:09 +99999999999999999999"}, 200),
        ({"If_Unmodified_Since": date(0)}, 200),
        ({"If_Unmodified_Since": date(-1)}, 412),
        ({"If_Unmodified_Since": "yesterday"}, 200),
        # A tag is more exact, and goes before a date.
        ({"If_None_Match": '"other"', "If_Modified_Since": date(0)}, 200),
        ({"If_None_Match": report.etag, "If_Modified_Since": date(-1)}, 304),
        ({"If_Match": report.etag, "If_Unmodified_Since": date(-1)}, 200),
        ({"If_Match": '"other"', "If_Unmodified_Since": date(0)}, 412),
        # The precondition is looked at first.
        ({"If_Match": '"other"', "If_None_Match": report.etag}, 412),
        ({"If_Match": f"W/{report.etag}"}, 412),
        # A date is a weak validator: the range is of no use with it.
        ({"If_Range": date(0), "Range": "bytes=0-1"}, 200),
    ]:
        assert (await fetch(service, report.url, **headers))[0] == status, headers


async def test_a_304_has_what_caches_need_and_no_more(service: Service, report: Report) -> None:
    status, headers, body = await fetch(service, report.url, If_None_Match=report.etag)
    assert (status, body) == (304, b"")
    assert headers["ETag"] == report.etag
    assert headers["Cache-Control"] == "private, max-age=3600, immutable"
    for name in ("Content-Disposition", "Last-Modified", "Repr-Digest", "Accept-Ranges"):
        assert name not in headers


@examples(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
async def test_parts_in_any_order_make_the_file(service: Service, report: Report, data: st.DataObject) -> None:
    size = len(report.csv)
    cuts = sorted(data.draw(st.sets(st.integers(1, size - 1), max_size=6)))
    spans = list(zip([0, *cuts], [*cuts, size], strict=True))
    found = bytearray(size)
    for first, after in data.draw(st.permutations(spans)):
        last = data.draw(st.sampled_from([str(after - 1), "", "99999999"])) if after == size else str(after - 1)
        status, headers, body = await fetch(service, report.url, Range=f"bytes={first}-{last}", If_Range=report.etag)
        assert status == 206
        assert headers["Content-Range"] == f"bytes {first}-{after - 1}/{size}"
        found[first:after] = body
    assert bytes(found) == report.csv


async def test_the_name_of_a_unit_has_no_case(service: Service, report: Report) -> None:
    status, headers, body = await fetch(service, report.url, Range="Bytes=1-3")
    assert (status, body) == (206, report.csv[1:4])
    assert headers["Content-Range"] == f"bytes 1-3/{len(report.csv)}"


async def test_two_ranges_that_contradict_each_other_are_answered_by_the_whole(
    service: Service, report: Report
) -> None:
    ranges = CIMultiDict([("Range", "bytes=0-1"), ("Range", "bytes=3-4")])
    async with service.client.get(report.url, headers=ranges) as answer:
        assert (answer.status, await answer.read()) == (200, report.csv)


async def test_several_ranges_are_answered_by_the_whole(service: Service, report: Report) -> None:
    status, headers, body = await fetch(service, report.url, Range="bytes=0-1,3-4")
    assert (status, body) == (200, report.csv)
    assert "Content-Range" not in headers


async def test_a_compressed_file_beside_it_is_never_sent(service: Service, settings: Settings, report: Report) -> None:
    (settings.reports_dir / f"{report.id}.csv.gz").write_bytes(gzip.compress(b"something else"))
    status, headers, body = await fetch(service, report.url, Accept_Encoding="gzip")
    assert (status, body) == (200, report.csv)
    assert "Content-Encoding" not in headers


async def test_a_link_in_the_folder_is_no_file_of_ours(service: Service, settings: Settings, report: Report) -> None:
    secret = settings.data_dir / "secret.txt"
    secret.write_text("secret")
    (settings.reports_dir / f"{UNKNOWN}.csv").symlink_to(secret)
    (settings.reports_dir / "link.csv").symlink_to(secret)
    for name in (f"{UNKNOWN}.csv", "link.csv", "..%2fsecret.txt"):
        status, _, body = await fetch(service, f"/api/reports/{name}")
        assert status == 404
        assert b"secret" not in body


async def test_an_unknown_file_and_a_bad_name_get_the_same_answer(service: Service) -> None:
    answers = set()
    for name in (f"{UNKNOWN}.csv", "nonsense"):
        async with service.client.get(f"/api/reports/{name}") as answer:
            problem = await answer.json()
            del problem["request_id"]
            answers.add((answer.status, str(problem)))
    assert len(answers) == 1
