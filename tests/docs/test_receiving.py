"""The programs of docs/receiving.md accept what they should, and nothing else."""

import asyncio
import base64
import contextlib
import json
import re
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from aiohttp import web

from reportsim.cli.callbacks import as_text
from reportsim.core.callback_policy.addresses import AllowList
from reportsim.core.callback_policy.urls import check_url
from reportsim.core.signing import headers as signed_headers
from reportsim.core.signing import new_secret, parse_secret
from reportsim.engine.delivery.attempt import Reason
from reportsim.settings import Settings
from tests.api.calls import submit
from tests.conftest import serving
from tests.engine.delivery.wire.certificates import needs_openssl
from tests.ports import free_port

PAGE = (Path(__file__).parents[2] / "docs" / "receiving.md").read_text(encoding="utf-8")
SECRET, OTHER = new_secret(), new_secret()
BODY = '{"type":"report.completed","data":{"name":"Zürich ☃ %s $(id)"}}\n'.encode()

FORMS = {
    "Content-Type": "application/json",
    "webhook-id": "msg_[0-9a-f]{32}_1",
    "webhook-timestamp": "[0-9]{10}",
    "webhook-signature": "v1,[A-Za-z0-9+/]{43}=",
    "webhook-attempt": "1",
}

Verify: TypeAlias = Callable[[str, dict[str, str], bytes], bool]


def program(name: str) -> str:
    """The text of a program by its name behind the language."""
    [found] = re.findall(rf"^```\w+ {name}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


def in_path(command: str) -> str:
    """A program of this machine."""
    path = shutil.which(command)
    if path is None:
        pytest.skip(f"the program {command} is missing")
    return path


def in_python(name: str) -> Verify:
    namespace: dict[str, Any] = {}
    exec(program(name), namespace)
    verify: Verify = namespace["verify"]
    return verify


@contextlib.contextmanager
def in_node(folder: Path) -> Iterator[Verify]:
    node = in_path("node")
    (folder / "verify.mjs").write_text(program("node"))
    (folder / "main.mjs").write_text(
        "import { createInterface } from 'node:readline'\n"
        "import { verify } from './verify.mjs'\n"
        "for await (const line of createInterface({ input: process.stdin })) {\n"
        "  const [secret, headers, body] = JSON.parse(line)\n"
        "  console.log(verify(secret, headers, Buffer.from(body, 'base64')))\n"
        "}\n"
    )
    with subprocess.Popen(
        [node, "main.mjs"], cwd=folder, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        asked, told = process.stdin, process.stdout
        assert asked is not None
        assert told is not None

        def verify(secret: str, headers: dict[str, str], body: bytes) -> bool:
            print(json.dumps([secret, headers, base64.b64encode(body).decode()]), file=asked, flush=True)
            return bool(json.loads(told.readline()))

        yield verify
        asked.close()
        assert process.wait(30) == 0


def in_shell(folder: Path) -> Verify:
    needs_openssl()
    script = folder / "verify.sh"
    script.write_text(program("openssl"))

    def verify(secret: str, headers: dict[str, str], body: bytes) -> bool:
        names = ("webhook-id", "webhook-timestamp", "webhook-signature")
        arguments = [secret, *(headers.get(name, "") for name in names)]
        done = subprocess.run(["sh", str(script), *arguments], input=body, cwd=folder, capture_output=True, check=False)
        assert done.returncode in {0, 1}, done.stderr
        assert (done.stdout == b"verified\n") == (done.returncode == 0)
        return done.returncode == 0

    return verify


@pytest.fixture(params=["library", "by-hand", "node", "openssl"])
def verify(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Verify]:
    """Each of the programs."""
    match request.param:
        case "node":
            with in_node(tmp_path) as program_of_node:
                yield program_of_node
        case "openssl":
            yield in_shell(tmp_path)
        case name:
            yield in_python(name)


@dataclass(frozen=True)
class Sent:
    """A callback as it was signed, with whatever was changed on the way."""

    headers: dict[str, str]
    body: bytes = BODY

    def __or__(self, changed: dict[str, str]) -> "Sent":
        return replace(self, headers={name: value for name, value in (self.headers | changed).items() if value})


def sent(*secrets: str, age: int = 0) -> Sent:
    keys = [parse_secret(secret) for secret in secrets]
    return Sent(signed_headers(keys, "msg_01a20c91_1", int(time.time()) - age, BODY))


def test_a_callback_that_was_signed_is_accepted(verify: Verify) -> None:
    for good in (sent(SECRET), sent(SECRET, OTHER), sent(OTHER, SECRET), sent(SECRET, age=250), sent(SECRET, age=-250)):
        assert verify(SECRET, good.headers, good.body)
    both = sent(SECRET).headers["webhook-signature"]
    assert verify(SECRET, (sent(SECRET) | {"webhook-signature": f"v1a,AAAA v2,BBBB {both}"}).headers, BODY)


def test_anything_else_is_not(verify: Verify, tmp_path: Path) -> None:
    good = sent(SECRET)
    signature = good.headers["webhook-signature"]
    evil = f"a[$(touch {tmp_path}/run)]"
    for name, bad in {
        "another secret": sent(OTHER),
        "two other secrets": sent(OTHER, new_secret()),
        "another body": replace(good, body=BODY + b" "),
        "a body cut short": replace(good, body=BODY[:-1]),
        "no body": replace(good, body=b""),
        "another id": good | {"webhook-id": "msg_01a20c91_2"},
        "another time": good | {"webhook-timestamp": str(int(time.time()) - 1)},
        "an old time": sent(SECRET, age=400),
        "a time to come": sent(SECRET, age=-400),
        "no time": good | {"webhook-timestamp": ""},
        "a time that is none": good | {"webhook-timestamp": "now"},
        "a time that is a program": good | {"webhook-timestamp": evil},
        "no signature": good | {"webhook-signature": ""},
        "another version": good | {"webhook-signature": signature.replace("v1,", "v2,")},
        "no version": good | {"webhook-signature": signature.removeprefix("v1,")},
        "half a signature": good | {"webhook-signature": signature[:20]},
        "a signature that is a pattern": good | {"webhook-signature": "v1,* *"},
        "an empty signature": good | {"webhook-signature": "v1,"},
    }.items():
        assert not verify(SECRET, bad.headers, bad.body), name
    assert not (tmp_path / "run").exists()


@contextlib.asynccontextmanager
async def listening(app: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port := free_port()).start()
    try:
        yield f"http://127.0.0.1:{port}/hooks/reports"
    finally:
        await runner.cleanup()


async def test_the_whole_receiver_takes_what_the_service_sends(
    settings: Settings, verify: Verify, capsys: pytest.CaptureFixture[str]
) -> None:
    namespace: dict[str, Any] = {"verify": verify}
    exec(program("receiver"), namespace)
    namespace["SECRET"] = SECRET
    calling = replace(settings, callback_allow=AllowList.parse("127.0.0.0/8"), callback_timeout=10)
    async with listening(namespace["app"]) as url:
        async with serving(replace(calling, webhook_secret=(OTHER, SECRET))) as service:
            id = await submit(service, body={"ledger": "tiny", "callback_url": url})
            assert (await service.ended(id, timeout=30))["callback_status"] == "SUCCESS"
        async with serving(replace(calling, webhook_secret=(OTHER,), callback_attempts=1)) as service:
            wrong = await submit(service, body={"ledger": "tiny", "callback_url": url})
            assert (await service.ended(wrong, timeout=30))["callback_status"] == "FAILED"
    accepted = [json.loads(line)["data"]["id"] for line in capsys.readouterr().out.splitlines()]
    assert accepted == [id]
    assert len(namespace["seen"]) == 1


async def test_the_shapes_shown_are_those_sent(settings: Settings) -> None:
    arrived: asyncio.Future[tuple[Any, bytes]] = asyncio.get_running_loop().create_future()

    async def receive(request: web.Request) -> web.Response:
        arrived.set_result((request.headers.copy(), await request.read()))
        return web.Response()

    app = web.Application()
    app.router.add_post("/hooks/reports", receive)
    async with (
        listening(app) as url,
        serving(replace(settings, callback_allow=AllowList.parse("127.0.0.0/8"))) as service,
    ):
        await service.ended(await submit(service, body={"ledger": "tiny", "callback_url": url}))
    headers, body = await arrived
    [example] = re.findall(r"^```http\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    head, _, text = example.partition("\n\n")
    shown = dict(line.split(": ", 1) for line in head.splitlines()[1:])
    assert set(shown) == set(FORMS)
    for name, form in FORMS.items():
        assert re.fullmatch(form, shown[name])
        assert re.fullmatch(form, headers[name])
    assert list(json.loads(body)) == re.findall(r'"(\w+)":', text)[:3]


def test_the_reasons_are_all_there() -> None:
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)) == set(Reason)


def test_the_command_shown_says_what_is_shown() -> None:
    command = r"^\$ REPORTSIM_CALLBACK_ALLOW=(\S+) \.venv/bin/reportsim callbacks check (\S+)\n(.*)$"
    [(networks, url, said)] = re.findall(command, PAGE, re.MULTILINE)
    assert as_text(url, check_url(url, AllowList.parse(networks))) == said
    assert f"REPORTSIM_CALLBACK_ALLOW={networks} make run" in as_text(url, check_url(url, AllowList()))
