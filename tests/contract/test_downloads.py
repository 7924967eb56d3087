"""Downloads by RFC 9110: every validator, conditions in their order, parts that make the whole."""

import base64
import gzip
import re
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from multidict import CIMultiDict

from reportsim.settings import Settings
from tests.api.calls import UNKNOWN, fetch
from tests.conftest import Report, Service


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


async def test_the_name_in_content_disposition_is_the_file_s(service: Service, report: Report) -> None:
    _, headers, _ = await fetch(service, report.url)
    assert re.fullmatch(r'attachment; filename="[0-9a-f-]{36}\.csv"', headers["Content-Disposition"])


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
