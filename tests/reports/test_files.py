"""Report files: whole or not there, bounded on disk, and made again when they are gone."""

import asyncio
import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from reportsim.core.problems import Problem
from reportsim.reports.catalog import CATALOG
from reportsim.reports.files import folder
from reportsim.reports.files.draft import Draft
from reportsim.reports.files.folder import ReportFiles
from reportsim.reports.generate import generate
from reportsim.settings import Settings
from reportsim.store import ledgers
from reportsim.store.pool import Connection, Pool
from tests.conftest import Service, serving
from tests.reports.books import entries, new_id, store, store_entries, transaction
from tests.reports.oracle import Book
from tests.reports.test_reports import CHART, small

LIMIT = 1_000


def separate(path: Path) -> ReportFiles:
    """A folder in which every report has a file."""
    return ReportFiles(path, LIMIT, small=0)


def names(path: Path) -> set[str]:
    return {item.name for item in path.iterdir()}


async def put(files: ReportFiles, id: UUID, size: int, *, error: BaseException | None = None) -> None:
    with files.draft(id) as draft:
        await draft.write(b"x" * size)
        if error is not None:
            raise error


async def until(condition: Callable[[], object]) -> None:
    """Waits for something that nothing tells."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


async def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    files = separate(tmp_path)
    good, bad = new_id(), new_id()
    with files.draft(good) as draft:
        await draft.write(b"a\n")
        assert not files.path(good).exists()
        await draft.write(b"b\n")
    assert files.path(good).read_bytes() == b"a\nb\n"
    assert (draft.bytes, draft.sha256) == (4, hashlib.sha256(b"a\nb\n").hexdigest())
    for error in (ValueError(), asyncio.CancelledError(), Problem("report-failed", "")):
        with pytest.raises(type(error)):
            await put(files, bad, 3_000_000, error=error)
    assert names(tmp_path) == {f"{good}.csv"}


async def test_two_writers_of_one_report_do_not_meet(tmp_path: Path) -> None:
    files = separate(tmp_path)
    id = new_id()
    # As another process on the same disk may do, under the same name.
    with files.draft(id) as one:
        await one.write(b"one")
        with separate(tmp_path).draft(id) as two:
            await two.write(b"two")
        assert files.path(id).read_bytes() == b"two"
    assert files.path(id).read_bytes() == b"one"
    assert names(tmp_path) == {f"{id}.csv"}


async def test_a_failing_execution_leaves_the_file_of_a_good_one(tmp_path: Path) -> None:
    files = separate(tmp_path)
    id = new_id()
    await put(files, id, 10)
    with pytest.raises(ValueError, match="no"), files.draft(id):
        raise ValueError("no")
    assert files.path(id).stat().st_size == 10


async def test_the_oldest_files_go_when_the_limit_is_passed(tmp_path: Path) -> None:
    files = separate(tmp_path)
    ids = [new_id() for _ in range(6)]
    for id in ids[:5]:
        await put(files, id, 200)
    assert names(tmp_path) == {f"{id}.csv" for id in ids[:5]}
    await put(files, ids[5], 201)
    assert names(tmp_path) == {f"{id}.csv" for id in ids[2:]}
    await put(files, ids[0], 500)  # made again: now the newest
    assert names(tmp_path) == {f"{id}.csv" for id in (*ids[4:], ids[0])}


async def test_a_file_beyond_the_limit_is_kept_alone(tmp_path: Path) -> None:
    files = separate(tmp_path)
    small_one, big, next_one = new_id(), new_id(), new_id()
    await put(files, small_one, 10)
    await put(files, big, 5_000)
    assert names(tmp_path) == {f"{big}.csv"}
    await put(files, next_one, 10)
    assert names(tmp_path) == {f"{next_one}.csv"}


async def test_what_is_written_twice_or_removed_is_not_counted(tmp_path: Path) -> None:
    files = separate(tmp_path)
    ids = [new_id() for _ in range(3)]
    for _ in range(10):
        await put(files, ids[0], 600)
    await put(files, ids[1], 400)
    assert names(tmp_path) == {f"{id}.csv" for id in ids[:2]}
    files.remove([ids[0], new_id()])
    assert names(tmp_path) == {f"{ids[1]}.csv"}
    await put(files, ids[2], 600)
    assert names(tmp_path) == {f"{id}.csv" for id in ids[1:]}


async def test_a_start_counts_what_is_there_and_removes_what_a_crash_left(tmp_path: Path) -> None:
    ids = [new_id() for _ in range(4)]
    for id in reversed(ids):
        (tmp_path / f"{id}.csv").write_bytes(b"x" * 300)
    (tmp_path / f"{new_id()}.boot-1.part").write_bytes(b"half")
    (tmp_path / "notes.txt").write_bytes(b"not ours" * 1_000)
    files = separate(tmp_path)
    assert names(tmp_path) == {"notes.txt", *(f"{id}.csv" for id in ids[1:])}
    await put(files, new_id(), 101)
    assert f"{ids[1]}.csv" not in names(tmp_path)


async def test_a_start_beside_a_running_process_leaves_its_work_alone(tmp_path: Path) -> None:
    files = separate(tmp_path)
    id = new_id()
    with files.draft(id) as draft:
        await draft.write(b"whole")
        separate(tmp_path)
    assert files.path(id).read_bytes() == b"whole"


async def test_a_folder_that_was_deleted_comes_back(tmp_path: Path) -> None:
    files = separate(tmp_path / "reports")
    (tmp_path / "reports").rmdir()
    await put(files, new_id(), 10)
    assert len(names(tmp_path / "reports")) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
async def test_a_full_disk_fails_the_report_instead_of_being_waited_for(tmp_path: Path) -> None:
    part = tmp_path / "full.part"
    part.symlink_to("/dev/full")
    draft = Draft(part)
    with pytest.raises(Problem, match="could not be written"):
        await draft.write(b"x" * 2_000_000)
    draft.discard()
    assert names(tmp_path) == set()


async def test_a_folder_that_cannot_be_written_to_fails_the_report(tmp_path: Path) -> None:
    files = separate(tmp_path / "reports")
    (tmp_path / "reports").rmdir()
    (tmp_path / "reports").write_text("in the way")
    with pytest.raises(Problem, match="could not be written"):
        await put(files, new_id(), 10)


async def test_small_reports_are_no_files_until_they_are_read(tmp_path: Path) -> None:
    files = ReportFiles(tmp_path, LIMIT * LIMIT)
    small_one, large = new_id(), new_id()
    await put(files, small_one, folder.SMALL - 1)
    await put(files, large, folder.SMALL)
    assert names(tmp_path) == {f"{large}.csv"}
    assert files.size(small_one) == folder.SMALL - 1
    assert files.ids() == [small_one, large]
    assert names(tmp_path) == {f"{large}.csv"}
    for _ in range(2):
        with files.open(small_one) as handle:  # type: ignore[union-attr]
            assert handle.read() == b"x" * (folder.SMALL - 1)
    assert names(tmp_path) == {f"{small_one}.csv", f"{large}.csv"}
    files.remove([small_one, large])
    assert (names(tmp_path), files.ids(), files.size(small_one), files.open(large)) == (set(), [], None, None)


async def test_memory_for_small_reports_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "CACHE", 1_000)
    files = ReportFiles(tmp_path, LIMIT)
    ids = [new_id() for _ in range(6)]
    for id in (*ids[:5], ids[4], ids[4]):
        await put(files, id, 200)
    assert files.ids() == ids[:5]
    await put(files, ids[5], 201)
    assert files.ids() == ids[2:]
    assert files.open(ids[0]) is None
    # What became a file makes room for others.
    files.path(ids[2])
    await put(files, ids[0], 200)
    assert set(files.ids()) == {ids[0], *ids[2:]}


async def test_a_report_that_was_small_and_is_large_is_there_once(tmp_path: Path) -> None:
    files = ReportFiles(tmp_path, LIMIT * LIMIT)
    id = new_id()
    for size in (10, folder.SMALL, 20, folder.SMALL + 1):
        await put(files, id, size)
        assert (files.ids(), files.size(id)) == ([id], size)


async def test_the_shared_files_of_an_older_build_are_removed(tmp_path: Path) -> None:
    (tmp_path / f"{new_id()}.spool").write_bytes(b"reports")
    ReportFiles(tmp_path, LIMIT)
    assert names(tmp_path) == set()


async def made(service: Service, **body: Any) -> dict[str, Any]:
    """A finished report."""
    async with service.client.post("/api/sync", json={"ledger": "tiny", **body}) as answer:
        assert answer.status == 200, await answer.text()
        found: dict[str, Any] = await answer.json()
        return found


async def fetched(service: Service, request: dict[str, Any]) -> tuple[int, str]:
    """Status of the download, and the hash of its bytes or the type of its problem."""
    async with asyncio.timeout(5), service.client.get(request["links"]["report"]) as answer:
        body = await answer.read()
        if answer.status == 200:
            return 200, hashlib.sha256(body).hexdigest()
        assert answer.content_type == "application/problem+json"
        problem = await answer.json()
        assert problem["status"] == answer.status
        return answer.status, problem["type"]


def file_of(service: Service, request: dict[str, Any]) -> Path:
    """The report's own file; a small one gets it by being asked for."""
    return service.engine.files.path(UUID(request["id"]))


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[UUID]:
    """The requests whose files were made again."""
    seen: list[UUID] = []
    real = generate

    async def counting(pool: Any, request: Any, draft: Any) -> Any:
        seen.append(request.id)
        return await real(pool, request, draft)

    monkeypatch.setattr("reportsim.engine.regeneration.generate", counting)
    return seen


@pytest.mark.parametrize("report_type", CATALOG)
async def test_a_file_that_is_gone_is_made_again(
    service: Service, settings: Settings, counted: list[UUID], report_type: str
) -> None:
    request = await made(service, report_type=report_type)
    path = file_of(service, request)
    assert await fetched(service, request) == (200, request["result_payload"]["sha256"])
    assert counted == []
    path.unlink()
    assert await fetched(service, request) == (200, request["result_payload"]["sha256"])
    assert counted == [UUID(request["id"])]
    assert path.stat().st_size == request["result_payload"]["bytes"]
    assert await fetched(service, request) == (200, request["result_payload"]["sha256"])
    assert len(counted) == 1


async def test_downloads_at_once_make_a_file_once(service: Service, settings: Settings, counted: list[UUID]) -> None:
    requests = [await made(service, ledger="demo", report_type="general_ledger") for _ in range(2)]
    for request in requests:
        file_of(service, request).unlink()
    found = await asyncio.gather(*(fetched(service, request) for request in requests for _ in range(20)))
    assert set(found) == {(200, requests[0]["result_payload"]["sha256"])}
    assert sorted(counted) == sorted(UUID(request["id"]) for request in requests)


async def test_a_client_that_leaves_does_not_stop_the_making(
    service: Service, settings: Settings, counted: list[UUID]
) -> None:
    request = await made(service, ledger="demo", report_type="general_ledger")
    file_of(service, request).unlink()
    leaving = asyncio.create_task(fetched(service, request))
    await until(lambda: counted)
    leaving.cancel()
    await until(lambda: file_of(service, request).exists())
    assert await fetched(service, request) == (200, request["result_payload"]["sha256"])
    assert len(counted) == 1


async def test_a_changed_ledger_gives_an_error_and_no_file(
    connection: Connection, service: Service, settings: Settings
) -> None:
    ledger_id = await store(connection, small(), "changed")
    request = await made(service, ledger="changed", report_type="general_ledger")
    file_of(service, request).unlink()
    await connection.execute("UPDATE postings SET description = 'Other' WHERE ledger_id = $1", ledger_id)
    assert await fetched(service, request) == (500, "/problems/report-differs")
    assert not file_of(service, request).exists()
    await connection.execute("DELETE FROM postings WHERE ledger_id = $1 AND line_no = 1", ledger_id)
    assert await fetched(service, request) == (500, "/problems/report-failed")
    assert not file_of(service, request).exists()


async def test_a_deleted_ledger_leaves_files_and_makes_none(
    connection: Connection, service: Service, settings: Settings
) -> None:
    await store(connection, small(), "deleted")
    request = await made(service, ledger="deleted")
    assert await ledgers.delete(connection, "deleted")
    assert await fetched(service, request) == (200, request["result_payload"]["sha256"])
    file_of(service, request).unlink()
    assert await fetched(service, request) == (410, "/problems/report-expired")
    # A ledger that takes the name is another one.
    await store(connection, small(), "deleted")
    assert await fetched(service, request) == (410, "/problems/report-expired")


async def test_another_version_of_the_report_is_not_made(
    connection: Connection, service: Service, settings: Settings, counted: list[UUID]
) -> None:
    request = await made(service)
    await connection.execute("UPDATE requests SET report_version = 0 WHERE id = $1", UUID(request["id"]))
    assert await fetched(service, request) == (200, request["result_payload"]["sha256"])
    file_of(service, request).unlink()
    assert await fetched(service, request) == (410, "/problems/report-expired")
    assert counted == []


async def test_a_report_of_an_older_version_is_made_where_it_has_the_same_bytes(
    connection: Connection, service: Service, settings: Settings
) -> None:
    """An upgrade does not keep the small reports of the build before, and most come out as they were."""
    request = await made(service)
    older = "UPDATE requests SET report_version = 1 WHERE id = $1"
    await connection.execute(older, UUID(request["id"]))
    file_of(service, request).unlink()
    assert await fetched(service, request) == (200, request["result_payload"]["sha256"])
    ledger_id = await store(connection, small(), "guarded")
    request = await made(service, ledger="guarded", report_type="general_ledger")
    await connection.execute(older, UUID(request["id"]))
    await connection.execute("UPDATE postings SET description = 'Other' WHERE ledger_id = $1", ledger_id)
    file_of(service, request).unlink()
    assert await fetched(service, request) == (410, "/problems/report-expired")
    assert not file_of(service, request).exists()


async def test_without_a_slot_a_download_is_asked_to_come_back(settings: Settings) -> None:
    async with serving(replace(settings, workers=1, sync_timeout=0.1)) as service:
        request = await made(service)
        file_of(service, request).unlink()
        busy = {"simulate": {"service_time": {"distribution": "fixed", "mean_ms": 1_000}}}
        async with service.client.post("/api/async", json=busy) as answer:
            assert answer.status == 202
            running = (await answer.json())["id"]
        await until(lambda: service.engine.slots.busy)
        async with service.client.get(request["links"]["report"]) as answer:
            assert answer.status == 503
            assert answer.headers["Retry-After"] == "1"
            assert (await answer.json())["type"] == "/problems/no-capacity"
        await service.ended(running)
        assert await fetched(service, request) == (200, request["result_payload"]["sha256"])


@pytest.mark.parametrize("report_type", CATALOG)
async def test_later_entries_change_nothing_for_earlier_requests(
    connection: Connection,
    service: Service,
    settings: Settings,
    report_type: str,
) -> None:
    ledger_id = await store(connection, small(), "growing")
    options = {"as_of": "2025-12-31"} if report_type == "balance_sheet" else {"from": "2024-01-01", "to": "2026-01-01"}
    before = await made(service, ledger="growing", report_type=report_type, **options)
    more = Book(
        accounts=CHART,
        entries=entries(transaction(500, date(2024, 12, 1), ("1000", 70), ("4000", -70), description="Late")),
    )
    await store_entries(connection, ledger_id, more, version=2)
    file_of(service, before).unlink()
    assert await fetched(service, before) == (200, before["result_payload"]["sha256"])
    after = await made(service, ledger="growing", report_type=report_type, **options)
    assert after["result_payload"]["sha256"] != before["result_payload"]["sha256"]


async def test_files_are_evicted_and_come_back_on_demand(settings: Settings) -> None:
    async with serving(replace(settings, reports_max_mb=1)) as service:
        # About 130 kB each.
        requests = [await made(service, ledger="demo", report_type="general_ledger") for _ in range(12)]
        size = requests[0]["result_payload"]["bytes"]
        kept = 1_000_000 // size
        assert 1 < kept < 12
        assert names(settings.reports_dir) == {request["result_payload"]["file"] for request in requests[-kept:]}
        assert await fetched(service, requests[0]) == (200, requests[0]["result_payload"]["sha256"])
        assert file_of(service, requests[0]).exists()
        assert sum(path.stat().st_size for path in settings.reports_dir.iterdir()) <= 1_000_000


@pytest.mark.parametrize("report_type", CATALOG)
async def test_sync_and_async_make_the_same_bytes(service: Service, report_type: str) -> None:
    body = {"report_type": report_type, "ledger": "demo", "simulate": {"seed": 7}}
    one = await made(service, **body)
    async with service.client.post("/api/async", json=body) as answer:
        id = (await answer.json())["id"]
    other: Any = await service.ended(id)
    for name in ("sha256", "rows", "bytes", "totals", "checks", "currency", "exponent"):
        assert one["result_payload"][name] == other["result_payload"][name]


async def test_timings_are_honest(settings: Settings) -> None:
    async with serving(replace(settings, workers=1)) as service:
        body = {"ledger": "tiny", "simulate": {"service_time": {"distribution": "fixed", "mean_ms": 150}}}
        loop = asyncio.get_running_loop()

        async def timed() -> tuple[datetime, float, dict[str, float]]:
            started = loop.time()
            request = await made(service, **body)
            created = datetime.fromisoformat(request["created_at"])
            return created, (loop.time() - started) * 1000, request["result_payload"]["timings_ms"]

        found = sorted(await asyncio.gather(*(timed() for _ in range(3))), key=lambda each: each[0])
        for place, (created, seen, timings) in enumerate(found):
            assert set(timings) == {"queue", "service", "total"}
            assert 150 <= timings["service"] < 400
            assert timings["queue"] + timings["service"] <= timings["total"] + 0.01
            # One slot: whoever comes second waits for the whole service of the first, but for what had passed of it.
            passed = (created - found[0][0]).total_seconds() * 1000
            assert timings["queue"] >= 150 * place - passed - 20
            assert timings["total"] <= seen + 5


async def test_a_report_that_takes_longer_than_its_simulation_counts_with_its_real_time(service: Service) -> None:
    simulate = {"service_time": {"distribution": "fixed", "mean_ms": 0.01}}
    request = await made(service, ledger="demo", report_type="general_ledger", simulate=simulate)
    assert request["result_payload"]["timings_ms"]["service"] > 1


async def test_failures_that_were_asked_for_and_cancelled_requests_leave_no_file(
    service: Service, settings: Settings
) -> None:
    async with service.client.post("/api/sync", json={"simulate": {"failure_rate": 1}}) as answer:
        assert answer.status == 500
        ids = [(await answer.json())["id"]]
    slow = {"simulate": {"service_time": {"distribution": "fixed", "mean_ms": 5_000}}}
    async with service.client.post("/api/async", json=slow) as answer:
        ids.append((await answer.json())["id"])
    await until(lambda: service.engine.slots.busy)
    await asyncio.sleep(0.2)
    async with service.client.post(f"/api/requests/{ids[-1]}/cancel") as answer:
        assert answer.status == 200
    await service.ended(ids[-1])
    await asyncio.sleep(0.05)
    assert not any(service.engine.files.path(UUID(id)).exists() for id in ids)


async def test_a_file_that_was_cut_short_is_made_again(
    service: Service, settings: Settings, counted: list[UUID]
) -> None:
    request = await made(service)
    os.truncate(file_of(service, request), 0)
    assert await fetched(service, request) == (200, request["result_payload"]["sha256"])
    assert len(counted) == 1


async def test_conditions_and_heads_are_answered_without_making_a_file(
    service: Service, counted: list[UUID], pool: Pool
) -> None:
    request = await made(service)
    etag, url = f'"{request["result_payload"]["sha256"]}"', request["links"]["report"]
    modified = datetime.fromisoformat(request["completed_at"])
    service.engine.files.remove([UUID(request["id"])])
    calls: list[tuple[str, dict[str, str], int]] = [
        ("HEAD", {}, 200),
        ("HEAD", {"Range": "bytes=0-1"}, 200),
        ("HEAD", {"If-None-Match": etag}, 304),
        ("GET", {"If-None-Match": etag}, 304),
        ("GET", {"If-None-Match": f'"other", W/{etag}'}, 304),
        ("GET", {"If-None-Match": "*"}, 304),
        ("GET", {"If-Modified-Since": format_datetime(modified, usegmt=True)}, 304),
        ("GET", {"If-Match": '"other"'}, 412),
        ("GET", {"If-Match": f"W/{etag}"}, 412),
        ("GET", {"If-Unmodified-Since": "Mon, 01 Jan 2024 00:00:00 GMT"}, 412),
        ("GET", {"Range": "bytes=99999999-"}, 416),
        ("GET", {"Range": "bytes=99999999-", "If-Range": etag}, 416),
    ]
    for method, headers, status in calls:
        async with service.client.request(method, url, headers=headers) as answer:
            assert answer.status == status, (method, headers)
            assert status not in {200, 304} or answer.headers["ETag"] == etag
            assert method == "GET" or answer.headers.get("Content-Length") != "0" or status == 304
    assert counted == []
    # What can never be made again is gone, whatever is asked about it.
    await pool.execute("UPDATE requests SET ledger_id = 32000 WHERE id = $1::text::uuid", request["id"])
    for method, headers, _ in calls:
        async with service.client.request(method, url, headers=headers) as answer:
            assert answer.status == 410, (method, headers)
    await pool.execute("UPDATE requests SET report_version = 32000 WHERE id = $1::text::uuid", request["id"])
    for method in ("HEAD", "GET"):
        async with service.client.request(method, url, headers={"If-None-Match": etag}) as answer:
            assert answer.status == 410
    assert counted == []


async def test_reports_whose_rows_another_replica_pruned_go_too(service: Service, pool: Pool) -> None:
    kept, pruned = await made(service), await made(service)
    large = await made(service, ledger="demo", report_type="general_ledger")
    await pool.execute(
        "DELETE FROM requests WHERE id = ANY($1::text[]::uuid[])", [request["id"] for request in (pruned, large)]
    )
    await service.engine._sweeper.prune()
    assert service.engine.files.ids() == [UUID(kept["id"])]
    assert await fetched(service, kept) == (200, kept["result_payload"]["sha256"])
