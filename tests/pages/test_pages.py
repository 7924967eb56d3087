"""The pages as a browser without JavaScript gets them."""

import asyncio
import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from uuid import UUID

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from reportsim.core.problems import KINDS
from reportsim.pages import filters, home, request_list
from reportsim.settings import Settings
from tests.benchmark.runs import finished_run
from tests.conftest import Service, serving

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
UNKNOWN = "01890000-0000-7000-8000-000000000000"


class Strictness(HTMLParser):
    """Collects what a strict content policy would refuse, and ids that are given twice."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = dict(attrs)
        inline = tag == "style" or (tag == "script" and "src" not in names)
        if inline or any(name == "style" or name.startswith("on") for name in names):
            self.refused.append(self.get_starttag_text() or tag)
        if value := names.get("id"):
            self.ids.append(value)


async def get_page(service: Service, path: str | URL, status: int = 200) -> str:
    async with service.client.get(path, headers=BROWSER) as answer:
        text = await answer.text()
        assert answer.status == status, text
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
    strictness = Strictness()
    strictness.feed(text)
    assert strictness.refused == []
    assert len(strictness.ids) == len(set(strictness.ids))
    return text


async def submit(service: Service, **form: str) -> tuple[int, str, Mapping[str, str]]:
    """Posts the form and returns the status, the body and the headers."""
    async with service.client.post("/", data=form, headers=BROWSER, allow_redirects=False) as answer:
        return answer.status, await answer.text(), answer.headers


async def submit_for_id(service: Service, **form: str) -> str:
    """Posts the form and returns the id of the new request."""
    status, text, headers = await submit(service, **form)
    assert status == 303, text
    return headers["Location"].removeprefix("/requests/")


async def test_the_home_page_of_a_new_service_shows_its_readiness(service: Service) -> None:
    text = await get_page(service, "/")
    for said in ("Ready", "database ready", "<b>demo</b> 2,000 lines", "4 workers, 0 busy", "demo receiver ready"):
        assert said in text
    assert "No requests yet" in text
    assert '<table id="list"' not in text
    assert f"curl -sS {service.url}/api/async" in text


async def test_a_sync_form_redirects_to_the_finished_request(service: Service) -> None:
    id = await submit_for_id(service, mode="sync", report_type="trial_balance", ledger="demo")
    text = await get_page(service, f"/requests/{id}")
    assert "COMPLETED" in text
    assert "debits equal credits" in text
    assert f'href="/api/reports/{id}.csv"' in text
    async with service.client.get(f"/api/requests/{id}") as answer:
        totals = (await answer.json())["result_payload"]["totals"]
    assert f">{filters.accounting(totals['period_debit'], 2)}</span>" in text
    assert f'href="/requests/{id}"' in await get_page(service, "/")


async def test_an_async_form_has_its_callback_fail_as_often_as_asked(service: Service) -> None:
    id = await submit_for_id(service, mode="async", report_type="trial_balance", failures="2")
    found = await service.ended(id)
    assert (found["mode"], found["callback_status"], found["callback_attempts"]) == ("async", "SUCCESS", 3)
    text = await get_page(service, f"/requests/{id}")
    assert text.count("The receiver answered 503.") == 2
    assert "delivered" in text
    assert f'href="/webhook-test/{id}"' in text


async def test_only_the_options_of_the_chosen_report_are_sent(service: Service) -> None:
    form = {"from": "", "to": "2025-03-01", "as_of": "2025-06-30", "group_by": "month"}
    id = await submit_for_id(service, mode="async", report_type="balance_sheet", service_time_ms="5", **form)
    payload = (await service.ended(id))["input_payload"]
    assert isinstance(payload, dict)
    assert payload["as_of"] == "2025-06-30"
    assert not {"from", "to", "group_by"} & payload.keys()
    assert payload["simulate"]["service_time"] == {"distribution": "fixed", "mean_ms": 5}


async def test_a_refused_form_comes_back_as_it_was_filled_in(service: Service) -> None:
    form = {"service_time_ms": '"><script>', "failures": "many", "from": "2025-02-30"}
    status, text, _ = await submit(service, mode="async", report_type="trial_balance", **form)
    assert status == 422
    assert text.count('aria-invalid="true"') == 3
    assert "There is no such day." in text
    assert 'value="many"' in text
    assert "<script>" not in text.replace('<script type="module"', "")
    async with service.client.get("/api/requests") as answer:
        assert (await answer.json())["items"] == []


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"mode": "both"}, "Choose sync or async."),
        ({"mode": "sync", "report_type": "horoscope"}, "Must be one of"),
        ({"mode": "sync", "ledger": "none"}, "There is no such ledger. Choose one of: demo, tiny."),
        ({"mode": "sync", "report_type": "trial_balance", "from": "2025-03-01", "to": "2025-02-01"}, "is empty"),
        ({"mode": "async", "callback_url": "http://localhost/x"}, "is this machine"),
        (
            {"mode": "async", "callback_url": "http://example.org/", "failures": "1"},
            "Only the demo receiver can be told to fail",
        ),
        ({"mode": "async", "failures": "21"}, "Must be greater than or equal to 0 and less than or equal to 20"),
        ({"mode": "async", "failures": "9" * 5000}, "Not a whole number."),
        ({"mode": "sync", "service_time_ms": "nan"}, "Not a number."),
    ],
)
async def test_errors_of_a_form_are_shown(service: Service, form: dict[str, str], said: str) -> None:
    status, text, _ = await submit(service, **form)
    assert status == 422
    assert said in text


async def test_the_list_says_of_which_days_and_accounts_a_report_is(service: Service) -> None:
    days = {"from": "2025-03-01", "to": "2025-04-01"}
    await submit_for_id(service, mode="sync", report_type="general_ledger", account_codes="1100", **days)
    await submit_for_id(service, mode="sync", report_type="balance_sheet", as_of="2025-06-30")
    text = await get_page(service, "/?q=&limit=5")
    assert "<small>demo<br>2025-03-01 to 2025-03-31, account 1100</small>" in text
    assert "<small>demo<br>as of 2025-06-30</small>" in text


@pytest.mark.parametrize(
    ("form", "named", "said"),
    [
        ({"service_time_ms": "x"}, "service_time_ms", '<a href="#service_time_ms">Service time, ms</a>: Not a number.'),
        ({"from": "2025-03-01", "to": "2025-02-01"}, "to", "to must be after from"),
        ({"from": "x", "to": "x"}, "from", '<li><a href="#from">From</a>: Not a date'),
        ({"ledger": "none"}, "ledger", '<a href="#ledger">Ledger</a>: There is no such ledger.'),
    ],
)
async def test_a_refused_form_names_its_first_wrong_field_and_focuses_it(
    service: Service, form: dict[str, str], named: str, said: str
) -> None:
    _, text, _ = await submit(service, mode="sync", report_type="trial_balance", **form)
    (focused,) = re.findall("<[^>]* autofocus[^>]*>", text)
    assert f'id="{named}"' in focused
    assert said in text[text.index('class="refused"') : text.index('class="fields"')]


async def test_a_refusal_without_a_field_has_the_focus_itself(service: Service) -> None:
    _, text, _ = await submit(service, mode="both")
    assert re.findall("<[^>]* autofocus[^>]*>", text) == ['<div class="refused" role="alert" tabindex="-1" autofocus>']


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{}", "application/json", 415),
        (b"mode=\xff", "application/x-www-form-urlencoded", 400),
        (b"mode=%ff", "application/x-www-form-urlencoded", 400),
        (b"ledger=%00", "application/x-www-form-urlencoded", 400),
        (b"a=1&" * 60, "application/x-www-form-urlencoded", 400),
        (b"a=" + b"1" * 70_000, "application/x-www-form-urlencoded", 413),
    ],
)
async def test_hostile_forms_are_refused(service: Service, body: bytes, kind: str, status: int) -> None:
    async with service.client.post("/", data=body, headers={"Content-Type": kind}) as answer:
        assert answer.status == status
        assert answer.content_type == "text/html"


async def test_a_form_of_another_site_is_refused(service: Service) -> None:
    headers = {"Sec-Fetch-Site": "cross-site"}
    async with service.client.post("/", data={"mode": "async"}, headers=headers) as answer:
        assert answer.status == 403


async def test_the_form_has_the_limits_of_the_endpoints(settings: Settings) -> None:
    async with serving(replace(settings, sync_rate=1, async_rate=2)) as service:
        assert (await submit(service, mode="sync"))[0] == 303
        status, text, headers = await submit(service, mode="sync", report_type="cash_flow")
        assert status == 429
        assert int(headers["Retry-After"]) >= 1
        assert headers["RateLimit-Policy"] == '"sync";q=1;w=60'
        assert f"Try again in {headers['Retry-After']} s." in text
        assert '<option value="cash_flow" selected>' in text
        assert (await submit(service, mode="async"))[0] == 303


async def test_no_slot_in_time_is_shown_on_the_page_of_the_request(settings: Settings) -> None:
    async with serving(replace(settings, workers=1, sync_timeout=0.2)) as service:
        slow = asyncio.create_task(submit_for_id(service, mode="sync", service_time_ms="1000"))
        await asyncio.sleep(0.1)
        id = await submit_for_id(service, mode="sync")
        assert "No worker slot came free in time" in await get_page(service, f"/requests/{id}")
        await slow


async def test_filters_and_pages_are_links(service: Service) -> None:
    for _ in range(3):
        await service.client.post("/api/sync", json={"ledger": "tiny"})
    await service.client.post("/api/async", json={"ledger": "tiny"})
    assert (await get_page(service, "/?mode=sync")).count("<tr id=") == 3
    assert (await get_page(service, "/?mode=async&status=FAILED")).count("<tr id=") == 0
    text = await get_page(service, "/?mode=sync&limit=2")
    assert text.count("<tr id=") == 2
    older = re.search(r'href="([^"]*)" rel="next"', text)
    assert older
    url = URL(older[1].replace("&amp;", "&"))
    assert url.query["mode"] == "sync"
    second = await get_page(service, url)
    assert second.count("<tr id=") == 1
    assert 'rel="next"' not in second
    await get_page(service, url.update_query(mode="async"), 400)
    await get_page(service, "/?status=DONE", 422)
    await get_page(service, "/?utm_source=mail")


async def test_requests_are_found_by_id_its_end_or_idempotency_key(service: Service) -> None:
    headers = {"X-Idempotency-Key": "Order 7/b"}
    async with service.client.post("/api/sync", json={"ledger": "tiny"}, headers=headers) as answer:
        id = (await answer.json())["id"]
    for _ in range(2):
        await service.client.post("/api/sync", json={"ledger": "tiny"})
    for text in (id, id.upper(), id[-8:], f" {id[-12:]} ", "Order 7/b"):
        found = await get_page(service, URL("/").with_query(q=text))
        assert re.findall(r'<tr id="r-([^"]*)"', found) == [id], text
    for text in ("Order 7", "zzzz", "%", id[:-1], "'; --", "abc"):
        found = await get_page(service, URL("/").with_query(q=text))
        assert "No request has the id or idempotency key" in found, text
    assert (await get_page(service, URL("/").with_query(q=""))).count("<tr id=") == 3
    for text in ("x" * 256, "\0", "a\0b"):
        await get_page(service, URL("/").with_query(q=text), 422)


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        ("/api/sync", {"ledger": "tiny"}),
        ("/api/async", {"ledger": "tiny", "simulate": {"seed": 7}}),
        ("/api/callbacks/simulate-failures", {"ledger": "tiny", "failures": 1}),
    ],
)
async def test_a_request_is_run_again_from_its_page(service: Service, endpoint: str, body: dict[str, object]) -> None:
    async with service.client.post(endpoint, json=body) as answer:
        id = (await answer.json())["id"]
    first = await service.ended(id)
    async with service.client.post(f"/requests/{id}/again", allow_redirects=False) as answer:
        assert answer.status == 303
        again = answer.headers["Location"].rpartition("/")[2]
    second = await service.ended(again)
    assert again != id
    assert second["input_payload"] == first["input_payload"]
    assert second["mode"] == first["mode"]
    assert second["callback_attempts"] == first["callback_attempts"]
    async with service.client.post(f"/requests/{UNKNOWN}/again") as answer:
        assert answer.status == 404


async def test_running_again_has_the_limits_of_the_endpoint(settings: Settings) -> None:
    async with serving(replace(settings, sync_rate=1)) as service:
        async with service.client.post("/api/sync", json={"ledger": "tiny"}) as answer:
            id = (await answer.json())["id"]
        async with service.client.post(f"/requests/{id}/again") as answer:
            assert answer.status == 429
            assert "The sync quota is used up." in (text := await answer.text())
            assert "REPORTSIM_SYNC_RATE=0" in text


async def test_a_page_shows_the_rows_of_the_file(service: Service) -> None:
    async with service.client.post("/api/sync", json={}) as answer:
        row = await answer.json()
    text = await get_page(service, f"/requests/{row['id']}")
    assert '<th scope="row">Bank</th>' in text
    service.engine.files.remove([UUID(row["id"])])
    text = await get_page(service, f"/requests/{row['id']}")
    assert "A download generates it again" in text
    assert '<th scope="row">Bank</th>' not in text
    assert f"{filters.money(row['result_payload']['totals']['period_debit'], 2)} <small>EUR</small>" in text


async def test_the_race_can_be_previewed_without_running(service: Service) -> None:
    text = await get_page(service, "/?distribution=fixed&mean_ms=2000&requests=4&workers=1&client_timeout_s=3")
    assert "4 sync requests; clients connected for 11 s in total; 1 result, 3 timed out" in text
    assert "4 async requests; clients connected for 16 ms in total; 4 results;" in text
    part = await get_page(service, "/?fragment=race&distribution=lognormal&sigma=1.5")
    assert "<html" not in part
    assert "Service times: lognormal" in part
    await get_page(service, "/?workers=many", 422)
    async with service.client.get("/api/requests") as answer:
        assert (await answer.json())["items"] == []


async def test_a_part_of_the_page_is_the_same_whatever_the_list_shows(service: Service) -> None:
    for fragment in ("race", "cliff"):
        part = await get_page(service, f"/?fragment={fragment}")
        assert await get_page(service, f"/?fragment={fragment}&status=FAILED&q=x") == part


async def test_the_list_is_shown_without_the_race(service: Service) -> None:
    whole = await get_page(service, "/")
    assert 'id="race"' in whole
    assert ">Wait, or be called back?</h1>" in whole
    for query in ("status=FAILED", "mode=sync", "q=abcd", "limit=10"):
        text = await get_page(service, f"/?{query}")
        assert 'id="race"' not in text
        assert "race.js" not in text
        assert text.count("<h1") == 1
        assert '<a href="/#requests" aria-current="page">Requests</a>' in text


async def test_a_switch_leads_to_the_requests_of_the_newest_run_and_back(service: Service) -> None:
    text = await get_page(service, "/")
    assert "newest race or benchmark" not in text
    earlier, newest = [str(await finished_run(service.engine)) for _ in range(2)]
    ids = [await submit_for_id(service, mode="sync", report_type="trial_balance", ledger="tiny") for _ in range(2)]
    await service.engine.pool.execute("UPDATE requests SET run_id = $1 WHERE id = $2", UUID(newest), UUID(ids[0]))
    text = await get_page(service, "/?mode=async")
    assert '<a href="/?mode=async#requests" aria-current="true">single</a>' in text
    assert f'<a href="/?mode=async&amp;run={newest}#requests">of the newest race or benchmark</a>' in text
    text = await get_page(service, f"/?run={newest}")
    assert f'<a href="/?run={newest}#requests" aria-current="true">of the newest race or benchmark</a>' in text
    assert '<a href="/#requests">single</a>' in text
    assert f"/requests/{ids[0]}" in text
    assert f"/requests/{ids[1]}" not in text
    text = await get_page(service, f"/?run={earlier}")
    assert "The run has no requests, or they are older than the service keeps them." in text
    assert f'<a href="/?run={earlier}#requests" aria-current="true">of another run</a>' in text


async def test_filters_count_the_requests_that_match(service: Service) -> None:
    for _ in range(3):
        await service.client.post("/api/sync", json={"ledger": "tiny"})
    await service.client.post("/api/sync", json={"ledger": "tiny", "simulate": {"failure_rate": 1}})
    await submit_for_id(service, mode="async", service_time_ms="20000")
    text = await get_page(service, "/?mode=sync")
    links = re.findall(r'<li><a href="[^"]*"[^>]*>(\w+) <span class="count">(\d+)<', text)
    assert links[:5] == [("all", "4"), ("PENDING", "0"), ("PROCESSING", "0"), ("COMPLETED", "3"), ("FAILED", "1")]
    assert links[5:8] == [("all", "5"), ("sync", "4"), ("async", "1")]


async def test_live_updates_get_the_same_partial(service: Service) -> None:
    await service.client.post("/api/sync", json={"ledger": "tiny"})
    async with service.client.post("/api/sync", json={"ledger": "tiny"}) as answer:
        id = (await answer.json())["id"]
    whole, part = await get_page(service, "/"), await get_page(service, "/?fragment=list")
    assert part[part.index('<section id="requests"') :].strip() in whole
    assert "<html" not in part
    one = await get_page(service, f"/?fragment=list&mode=async&ids={id}")
    assert one.count("<tr id=") == 1
    assert f'<tr id="r-{id}"' in one
    whole, part = await get_page(service, f"/requests/{id}"), await get_page(service, f"/requests/{id}?fragment=detail")
    assert part.strip() in whole
    await get_page(service, "/?fragment=list&ids=nonsense", 422)


async def test_the_event_stream_starts_at_the_state_of_the_page(service: Service) -> None:
    text = await get_page(service, "/")
    async with service.client.post("/api/async", json={"ledger": "tiny"}) as answer:
        id = (await answer.json())["id"]
    await service.ended(id)
    found = re.search(r'data-events="([^"]*)"', text)
    assert found
    async with service.client.get(found[1], timeout=aiohttp.ClientTimeout(5)) as stream:
        async for line in stream.content:
            assert line != b"event: reset\n"
            if line.startswith(b"data:") and id.encode() in line:
                break


async def test_what_receivers_and_callers_send_is_shown_as_text(service: Service) -> None:
    url = f"{service.url}/webhook-test/inbox?x=<b>bold</b>&y='\""
    async with service.client.post("/api/async", json={"ledger": "tiny", "callback_url": url}) as answer:
        assert answer.status == 202
        id = (await answer.json())["id"]
    await service.ended(id)
    text = await get_page(service, f"/requests/{id}")
    assert "<b>bold" not in text
    assert "&lt;b&gt;bold" in text


@pytest.mark.parametrize("path", [f"/requests/{UNKNOWN}", "/requests/nonsense", "/problems/nonsense", "/static/x/y.js"])
async def test_unknown_things_have_a_page_too(service: Service, path: str) -> None:
    if not path.startswith("/static"):
        assert "<h1>Nothing is here</h1>" in await get_page(service, path, 404)
    async with service.client.get(path) as answer:
        assert answer.status == 404


async def test_browsers_get_pages_for_errors_and_clients_get_documents(service: Service) -> None:
    assert "<h1>Nothing is here</h1>" in await get_page(service, "/nowhere", 404)
    async with service.client.get("/nowhere") as answer:
        assert answer.content_type == "application/problem+json"
        assert answer.headers["Vary"] == "Accept"
    async with service.client.get("/api/nowhere", headers=BROWSER) as answer:
        assert answer.content_type == "application/problem+json"


@pytest.mark.parametrize("slug", list(KINDS))
async def test_every_kind_of_problem_has_its_page(service: Service, slug: str) -> None:
    text = await get_page(service, f"/problems/{slug}")
    assert f"<h1>{KINDS[slug].title}</h1>" in text
    assert f"{KINDS[slug].status} · {slug}" in text


async def test_cancelling_from_the_page(service: Service) -> None:
    id = await submit_for_id(service, mode="async", service_time_ms="20000")
    path = f"/requests/{id}/cancel"
    assert f'action="{path}"' in await get_page(service, f"/requests/{id}")
    async with service.client.post(path, allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, f"/requests/{id}")
    text = await get_page(service, f"/requests/{id}")
    assert "It was cancelled before it ended." in text
    assert path not in text
    async with service.client.post(path) as answer:
        assert answer.status == 409
        assert "The request has ended: FAILED." in await answer.text()
    async with service.client.post(f"/requests/{UNKNOWN}/cancel") as answer:
        assert answer.status == 404


async def test_redelivering_from_the_page(service: Service) -> None:
    id = await submit_for_id(service, mode="async")
    await service.ended(id)
    path = f"/requests/{id}/redeliver"
    assert f'action="{path}"' in await get_page(service, f"/requests/{id}")
    async with service.client.post(path, allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, f"/requests/{id}")
    await service.ended(id)
    assert "Redelivery 1" in await get_page(service, f"/requests/{id}")
    sync = await submit_for_id(service, mode="sync")
    async with service.client.post(f"/requests/{sync}/redeliver") as answer:
        assert answer.status == 409
        assert "It has no callback URL." in await answer.text()


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        ("/api/sync", {"report_type": "income_statement", "group_by": "month"}),
        ("/api/async", {"ledger": "tiny", "simulate": {"seed": 7, "failure_rate": 0.5}}),
        ("/api/callbacks/simulate-failures", {"script": ["503", "reset"]}),
        ("/api/callbacks/simulate-failures", {"failures": 0}),
    ],
)
async def test_the_command_of_a_request_asks_for_the_same_again(
    service: Service, endpoint: str, body: dict[str, object]
) -> None:
    async with service.client.post(endpoint, json=body) as answer:
        first = await answer.json()
    id = first.get("id") or first["request_id"]
    text = await get_page(service, f"/requests/{id}")
    found = re.search(r'<pre id="curl"[^>]*><code>(.*?)</code>', text, re.DOTALL)
    assert found
    words = shlex.split(found[1].replace("&#39;", "'").replace("&#34;", '"'))
    assert words[:3] == ["curl", "-sS", service.url + endpoint]
    async with service.client.post(words[2], json=json.loads(words[-1])) as answer:
        second = await answer.json()
    assert second["input_payload"] == first["input_payload"]
    query = [URL(item["callback_url"] or "").query_string for item in (first, second)]
    assert query[0] == query[1]


async def test_static_files_are_cached_by_their_content(service: Service) -> None:
    text = await get_page(service, "/")
    urls = re.findall(r'"(/static/[^"]+)"', text)
    names = {url.rpartition("/")[2] for url in urls}
    assert names == {"app.js", "cliff.js", "cliff.json", "race.js", "style.css", "favicon.svg"}
    for url in urls:
        async with service.client.get(url) as answer:
            assert answer.status == 200
            assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
        digest = url.split("/")[2]
        async with service.client.get(url.replace(digest, "0" * 12)) as answer:
            assert answer.status == 200
            assert answer.headers["Cache-Control"] == "no-cache"
        async with service.client.get(url, headers={"Accept-Encoding": "identity"}) as answer:
            assert "Content-Encoding" not in answer.headers
    async with service.client.get("/favicon.ico") as answer:
        assert (answer.status, answer.content_type) == (200, "image/svg+xml")


@pytest.mark.parametrize("name", ["../app.py", "..%2fapp.py", "%2e%2e/app.py", "app.js/", "app.js%00", ""])
async def test_no_url_leaves_the_static_folder(service: Service, name: str) -> None:
    async with service.client.get(URL(f"{service.url}/static/0/{name}", encoded=True)) as answer:
        assert answer.status == 404


async def test_a_page_of_many_rows_does_not_hold_the_loop(service: Service) -> None:
    async with service.client.get("/?limit=101") as answer:
        assert answer.status == 422
    async with service.client.get("/?limit=100") as answer:
        assert answer.status == 200


async def test_without_the_database_the_page_is_not_ready(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    async def check_database(request: web.Request) -> tuple[bool, bool]:
        return False, False

    monkeypatch.setattr(home, "check_database", check_database)
    text = await get_page(service, "/", 503)
    assert "Not ready" in text
    assert "The database does not answer" in text
    for fragment in ("list", "race", "cliff"):
        await get_page(service, f"/?fragment={fragment}", 503)
    assert "<form" not in text


def test_values_are_formatted_for_people() -> None:
    assert filters.money(-123456789, 2) == "−1,234,567.89"
    assert filters.money(5, 3) == "0.005"
    assert filters.money(1200, 0) == "1,200"
    assert filters.duration(0) == "0 ms"
    assert filters.duration(31.44) == "31.4 ms"
    assert filters.duration(999.9) == "1 s"
    assert filters.duration(125_000) == "2 min 5 s"
    assert filters.size(1790) == "1.79 kB"
    assert filters.size(66_000_000_000) == "66 GB"
    assert filters.timestamp(None) == "–"
    assert ">2026-01-02 03:04:05<" in filters.timestamp(datetime(2026, 1, 2, 3, 4, 5, 678000, UTC))


def test_the_prefix_of_ids_sorts_between_earlier_and_later_ones() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    milliseconds = int(at.timestamp() * 1000)
    earlier, later = (str(UUID(int=(milliseconds + step) << 80 | 0x7 << 76)) for step in (-1, 1))
    assert earlier < request_list.id_prefix(at) < later


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("accept", [BROWSER["Accept"], "*/*"])
async def test_run_again_over_quota_is_shown_on_the_page_of_the_request(
    settings: Settings, mode: str, accept: str
) -> None:
    async with serving(replace(settings, sync_rate=1, async_rate=1)) as service:
        id = await submit_for_id(service, mode=mode, report_type="trial_balance", ledger="tiny")
        async with service.client.post(f"/requests/{id}/again", headers={"Accept": accept}) as answer:
            assert answer.status == 429
            assert answer.content_type == "text/html"
            assert int(answer.headers["Retry-After"]) >= 1
            assert f"The {mode} quota is used up." in await answer.text()
        status, text, headers = await submit(service, mode=mode, report_type="trial_balance", ledger="tiny")
        assert (status, headers["Content-Type"]) == (429, "text/html; charset=utf-8")
        assert f"The {mode} quota is used up." in text


async def test_every_refusal_of_a_form_is_a_page(service: Service, subtests: pytest.Subtests) -> None:
    forms = {
        re.sub(r"{\w+}", UNKNOWN, route.resource.canonical)
        for route in service.app.router.routes()
        if route.resource and route.method == "POST" and route.handler.__module__.startswith("reportsim.pages.")
    }
    assert len(forms) >= 6
    for path in forms:
        for content, sent in [("application/json", b"{}"), ("application/x-www-form-urlencoded", b"%ff=\xff")]:
            with subtests.test(path=path, content=content):
                headers = {"Content-Type": content, "Accept": "*/*"}
                async with service.client.post(path, data=sent, headers=headers) as answer:
                    assert answer.status in {400, 404, 415}
                    assert answer.content_type == "text/html"
                    await answer.read()
