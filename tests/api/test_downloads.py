"""GET /api/reports/{file}: the CSV, whole, in part, or not again."""

import hashlib

import pytest
from yarl import URL

from reportsim.settings import Settings
from tests.api.calls import FAILING, UNKNOWN, fetch, submit
from tests.conftest import Report, Service


async def test_the_file_is_what_the_result_says(service: Service, report: Report) -> None:
    status, headers, csv = await fetch(service, report.url)
    assert status == 200
    assert hashlib.sha256(csv).hexdigest() == report.sha256
    assert headers["Content-Type"] == "text/csv; charset=utf-8; header=present"
    assert headers["Content-Length"] == str(len(csv))
    assert headers["ETag"] == report.etag
    assert headers["Accept-Ranges"] == "bytes"
    assert headers["Content-Disposition"] == f'attachment; filename="{report.url.rpartition("/")[2]}"'
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert csv.splitlines()[0].startswith(b"account_code,account_name,account_type,")


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
