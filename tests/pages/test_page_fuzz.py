"""Pages with whatever a query or a form can hold: never a 5xx, and never a loop that stands still."""

import asyncio
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final
from urllib.parse import urlencode

import pytest
from aiohttp import web

from reportsim.benchmark.runner import Runner
from reportsim.core import service_time
from reportsim.pages import benchmarks
from reportsim.pages.benchmark_form import PRESETS, SERVICE_TIMES, VALUES
from reportsim.pages.endpoint import handlers as endpoint
from reportsim.pages.endpoint.form import VALUES as ENDPOINT_VALUES
from reportsim.pages.race.controls import RaceForm
from reportsim.pages.request_list import HomeQuery
from reportsim.reports.catalog import CATALOG
from reportsim.schemas.submission_parser import default_options
from reportsim.settings import Settings
from reportsim.store.benchmarks import AlreadyRunning
from tests.api.calls import TINY, UNKNOWN, submit
from tests.conftest import Service, serving
from tests.web.callback_time import measured_callbacks, within_bound

SEED: Final = 20_261_128
BROWSER: Final = {"Accept": "text/html"}
PAGES: Final = ("reportsim.pages.", "reportsim.demo_receiver.", "reportsim.api.openapi.page")
ASSETS: Final = "reportsim.pages.assets"
# Every name that a page's query or form knows, and some that none does.
NAMES: Final = sorted(
    {
        *HomeQuery().fields,
        *RaceForm().fields,
        *VALUES,
        *ENDPOINT_VALUES,
        *(option for report in CATALOG for option in default_options(report)),
        *(
            "mode",
            "load",
            "callback_url",
            "failures",
            "service_time_ms",
            "predict",
            "preset",
            "id",
            "format",
            "script",
            "__proto__",
            "",
        ),
    }
)
VALUES_TO_TRY: Final = (
    *("", "0", "1", "-1", "2", "12", "0.5", "1e308", "-1e308", "1e-320", "1e999", "nan", "inf", "-inf", "-0", "1_0"),
    *("9" * 309, "9" * 400, "9" * 4_300, "9" * 5_000, "-" + "9" * 400, "0." + "0" * 400 + "1", "0x10", "１２", " 7 "),
    *("-40", "40", "1e200", "-1e200", "60000", "60001", "3600", "86401", "99999999999999999999"),
    *SERVICE_TIMES,
    *(preset.name for preset in PRESETS),
    *CATALOG,
    *(
        "sync",
        "async",
        "race",
        "cliff",
        "95",
        "both",
        "demo",
        "tiny",
        "list",
        "detail",
        "run",
        "inbox",
        "json",
        "poisson",
        "burst",
    ),
    *("ramp", "queued", "running", "PENDING", "COMPLETED", "2025-02-30", "0001-01-01", "9999-12-31", "month"),
    *(UNKNOWN, UNKNOWN.upper(), "0" * 32, "\0", "\ud800".encode("utf-8", "surrogatepass"), "é" * 200, "<script>", "%"),
    *("http://[::1", "http://example.org:99999/", "https://" + "a" * 3_000, "500,timeout,reset", ",".join("1" * 2_000)),
)
FAMILIES: Final[Sequence[Sequence[str]]] = (tuple(RaceForm().fields), tuple(VALUES), tuple(ENDPOINT_VALUES), NAMES)


def cases(rounds: int, seed: int) -> Iterator[list[tuple[str, Any]]]:
    """Queries and forms: each name with each value alone, then many at once, then very many."""
    source = random.Random(seed)
    for name in NAMES:
        yield [(name, source.choice(VALUES_TO_TRY))]
    for _ in range(rounds):
        family = source.choice(FAMILIES)
        names = source.choices(family, k=source.randint(1, 12))
        yield [(name, source.choice(VALUES_TO_TRY)) for name in names]
    for name in ("x", "~", "requests", "seed", "id"):
        yield [(f"{name}{number if name in 'x~' else ''}", "1") for number in range(1_300)]


def paths(app: web.Application, filled: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Every page and every form."""
    for route in app.router.routes():
        assert route.resource is not None
        module = route.handler.__module__
        if route.method != "HEAD" and module.startswith(PAGES) and module != ASSETS:
            yield route.method, re.sub(r"{(\w+)}", lambda match: filled[match[1]], route.resource.canonical)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process is started for a prediction or a run, and no report takes long: the service's own code is watched."""

    async def predict(_: object) -> dict[str, Any]:
        raise TimeoutError

    async def refuse(*_: object) -> None:
        raise AlreadyRunning

    monkeypatch.setattr(benchmarks, "predict_in_process", predict)
    monkeypatch.setattr(endpoint, "answer_in_process", predict)
    monkeypatch.setattr(Runner, "start", refuse)
    monkeypatch.setattr(service_time, "LONGEST_MS", 20.0)


async def send(service: Service, method: str, path: str, case: list[tuple[str, Any]]) -> None:
    """Sends a case and judges the answer."""
    encoded = urlencode(case)
    # What does not fit into a request's line is the server's to refuse.
    sends_form = method == "POST"
    url = path if sends_form else f"{path}?{encoded[:7_000]}"
    body = encoded.encode() if sends_form else None
    headers = {**BROWSER, "Content-Type": "application/x-www-form-urlencoded"} if sends_form else BROWSER
    async with (
        asyncio.timeout(20),
        service.client.request(method, url, data=body, headers=headers, allow_redirects=False) as answer,
    ):
        text = await answer.text()
        predicted = answer.status == 503 and "The prediction takes too long" in text
        assert answer.status < 500 or predicted, (method, path, case, text)
        assert len(text) < 500_000, (method, path, case)


async def fuzz(service: Service, rounds: int, seed: int) -> None:
    """Every page and form with every case."""
    id = await submit(service, "/api/sync", TINY)
    filled = {"id": id, "inbox": "mine", "slug": "not-found"}
    found = sorted(set(paths(service.app, filled)))
    assert len(found) > 12
    with measured_callbacks() as taken:
        for case in cases(rounds, seed):
            for method, path in found:
                try:
                    await within_bound(taken, partial(send, service, method, path, case))
                except AssertionError as error:
                    raise AssertionError(method, path, case) from error


@pytest.mark.usefixtures("alone")
async def test_no_query_or_form_of_a_page_fails_or_stalls_the_loop(settings: Settings) -> None:
    quiet = replace(settings, callback_waits=(), callback_attempts=1, sync_timeout=0.2)
    async with serving(quiet) as service:
        await fuzz(service, rounds=20, seed=SEED)


@pytest.mark.slow
@pytest.mark.usefixtures("alone")
async def test_nor_do_thousands_of_them(settings: Settings) -> None:
    quiet = replace(settings, callback_waits=(), callback_attempts=1, sync_timeout=0.2)
    async with serving(quiet) as service:
        await fuzz(service, rounds=400, seed=SEED + 1)
