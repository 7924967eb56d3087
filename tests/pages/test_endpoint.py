"""The page for an endpoint's own numbers, as a browser without JavaScript gets it."""

import html
import math
import re
import shlex
from random import Random

import pytest

from reportsim.pages.endpoint import handlers
from reportsim.pages.endpoint.form import LONGEST_TEXT
from tests.cli.calls import call_beside
from tests.conftest import Service
from tests.web.callback_time import without_a_stall

TYPED = {"p50_ms": "120", "p99_ms": "900", "rate": "40", "workers": "8", "client_timeout_s": "2"}


async def post(service: Service, form: dict[str, str], status: int = 200) -> str:
    async with service.client.post("/predict", data=form) as answer:
        text = await answer.text()
        assert (answer.status, answer.content_type) == (status, "text/html"), text
        assert not re.search(r"\sstyle=|\son\w+=", text)
        return text


def error_of(text: str, field: str) -> str:
    """The error beside a field, which the field refers to."""
    found = re.search(rf'<p class="error" id="{field}-error">(.*?)</p>', text)
    assert found, text
    assert re.search(rf'id="{field}"[^>]* aria-invalid="true" aria-describedby="{field}-error', text)
    return found[1]


async def test_percentiles_give_the_knee_its_plot_and_the_command_that_repeats_it(service: Service) -> None:
    async with service.client.get("/predict") as answer:
        text = await answer.text()
        assert answer.status == 200
    assert "When does your endpoint time out?" in text
    assert "<svg" not in text.partition("<h1>")[2]
    text = await without_a_stall(lambda: post(service, TYPED))
    [headline] = re.findall(r'<h2 id="answer-title">(.*?)</h2>', text)
    assert re.match(r"Your endpoint begins to time out at 4\d requests/s with 8 workers", headline)
    assert "knee 4" in text
    assert "yours 40/s" in text
    assert 'id="p50_ms" name="p50_ms" type="number"' in text
    assert 'value="120"' in text
    [command] = re.findall(r"<code>(\S+ predict .*?)</code>", text)
    words = shlex.split(command)
    done = await call_beside("predict", *words[2:-2])
    assert done.returncode == 0, done.stderr
    assert headline in done.stdout.decode()


async def test_pasted_durations_are_read_in_another_process(service: Service) -> None:
    source = Random(1)
    drawn = [f"7;{1000 * source.lognormvariate(math.log(0.12), 0.8):.0f}" for _ in range(2_000)]
    times = "\r\n".join(["latency_ms;waited", *drawn])
    form = {**TYPED, "p50_ms": "", "p99_ms": "", "rate": "", "durations": times, "unit": "ms", "field": "waited"}
    text = await without_a_stall(lambda: post(service, form))
    assert "2,000 requests from CSV" in text
    assert "save the durations as durations.txt" in text
    assert "--from durations.txt --unit ms --field waited --workers 8 --timeout 2 --plot knee.svg" in text


@pytest.mark.parametrize(
    ("changed", "field", "said"),
    [
        ({"p50_ms": "", "p99_ms": ""}, "durations", "Give durations, or p50 and p99."),
        ({"p50_ms": ""}, "p50_ms", "p50 and p99 belong together."),
        ({"p50_ms": "1000"}, "p99_ms", "p99 must not be below p50"),
        ({"p50_ms": "fast"}, "p50_ms", "Not a number."),
        ({"workers": ""}, "workers", "Missing data for required field."),
        ({"workers": "1001"}, "workers", "Must be greater than or equal to 1 and less than or equal to 1000."),
        ({"client_timeout_s": "0"}, "client_timeout_s", "Must be greater"),
        ({"rate": "1000000"}, "rate", "at most 1,000 are computed with"),
        ({"unit": "parsec"}, "unit", "Must be one of"),
        ({"p50_ms": "", "p99_ms": "", "durations": "1s\r\nslow"}, "durations", "line 2: expected a duration"),
        ({"p50_ms": "", "p99_ms": "", "durations": "0.12"}, "durations", "line 1: 0.12 has no unit"),
    ],
)
async def test_a_refused_form_keeps_its_values_and_says_why(
    service: Service, changed: dict[str, str], field: str, said: str
) -> None:
    text = await post(service, {**TYPED, **changed}, 422)
    assert said in error_of(text, field)
    assert re.findall(r'<\w+ id="(\w+)"[^>]* autofocus', text) == [field]
    assert text.count(" autofocus") == 1
    for name, value in {**TYPED, **changed}.items():
        if name not in {"durations", "unit"}:
            assert re.search(rf'name="{name}" [^>]*value="{value}"', text)
    assert f'<a href="#{field}">' in text
    assert "<title>Error: " in text
    assert "There is no prediction." in text


async def test_every_page_and_the_cliff_lead_to_the_form(service: Service) -> None:
    for path in ("/", "/benchmarks", "/predict"):
        async with service.client.get(path) as answer:
            text = await answer.text()
        [current] = re.findall(r'<a href="/predict"( aria-current="page")?>Your endpoint</a>', text)
        assert bool(current) == (path == "/predict")
        assert ('<a href="/predict">Your own endpoint’s numbers</a>' in text) == (path == "/")


def textarea_of(text: str) -> str:
    found = re.search(r"<textarea[^>]*>(.*?)</textarea>", text, re.DOTALL)
    assert found
    return html.unescape(found[1])


@pytest.mark.parametrize("line", ["0.12s é\r\n", "1\r\n", "é\r\n"])
async def test_a_text_is_bounded_by_its_bytes_as_one_sees_them_and_is_kept_when_it_has_more(
    service: Service, line: str
) -> None:
    lines = LONGEST_TEXT // len(line.replace("\r", "").encode())
    most = line * lines
    # The durations and percentiles exclude each other: this is found out without a prediction.
    text = await post(service, {**TYPED, "durations": most}, 422)
    assert "Give either durations, or p50 and p99." in text
    text = await post(service, {**TYPED, "durations": most + 2 * line}, 413)
    size = len((most + 2 * line).strip().replace("\r", "").encode())
    assert error_of(text, "durations").startswith(f"The text has {size:,} bytes; a text of at most 65,536 fits.")
    assert "use the command, which reads any length" in text
    assert re.search(r'<textarea id="durations"[^>]* autofocus>', text)
    assert textarea_of(text).splitlines() == (most + 2 * line).strip().splitlines()
    assert 'name="p99_ms" type="number"' in text
    assert 'value="900"' in text


async def test_a_body_that_is_refused_unread_says_its_size(service: Service) -> None:
    text = await post(service, {**TYPED, "durations": "0.1s\n" * 100_000}, 413)
    assert re.match(
        r"The encoded form has \d{3},\d{3} bytes; a text of at most 65,536 fits", error_of(text, "durations")
    )


async def test_a_nul_is_refused_beside_its_field(service: Service) -> None:
    text = await post(service, {**TYPED, "field": "a\0b"}, 422)
    assert error_of(text, "field") == "There is a NUL in it."
    assert 'value="ab"' in text
    assert 'value="900"' in text


async def test_a_prediction_that_takes_too_long_is_refused(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(_: object) -> None:
        raise TimeoutError

    monkeypatch.setattr(handlers, "answer_in_process", never)
    text = await post(service, TYPED, 503)
    assert "<b>There is no prediction.</b> The prediction takes too long" in text
    assert 'value="120"' in text
