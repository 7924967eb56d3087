"""The log of a real process: one JSON object a line, one line for each request and attempt, and never a secret."""

import json
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from reportsim.core.signing import new_secret
from tests.engine.receiver import Receiver
from tests.faults.process import ServerProcess

PASSWORD = "correct-horse-battery"
TOKEN = "tok-3f6a9c"


def with_password(dsn: str) -> str:
    """The same address with a password, which a server that trusts everybody does not ask for."""
    parts = urlsplit(dsn)
    user, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}:{PASSWORD}@{host}"))


async def test_it_tells_everything_once_and_no_secret(own_dsn: str, tmp_path: Path, receiver: Receiver) -> None:
    receiver.status = lambda arrival: 503 if arrival.attempt == 1 else 204
    secret = new_secret()
    environ = {"REPORTSIM_WEBHOOK_SECRET": secret, "REPORTSIM_CALLBACK_WAITS": "0.1"}
    async with ServerProcess(with_password(own_dsn), tmp_path, **environ) as server, server.client() as api:
        ids = []
        for number in range(5):
            headers = {"X-Request-Id": f"mine-{number}"}
            body = {"ledger": "tiny", "callback_url": f"{receiver.url()}?token={TOKEN}"}
            async with api.session.post("/api/async", json=body, headers=headers) as answer:
                assert answer.status == 202
                ids.append((await answer.json())["id"])
        for id in ids:
            assert (await api.over(id))["callback_status"] == "SUCCESS"
        for path in ("/nothing-here", "/two%0a%1b[2Jlines", "/healthz", "/readyz"):
            async with api.session.get(path):
                pass
        async with api.session.post("/api/async", data=b"{", headers={"Content-Type": "application/json"}) as answer:
            assert answer.status == 400
        assert await server.terminate() == 0
        text = server.log
    lines: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    assert [line["message"] for line in lines if line["level"] != "info"] == ["callbacks may also go to 127.0.0.0/8"]

    submissions = [line for line in lines if line["message"].startswith("POST /api/async 202")]
    pairs = [(line["request_id"], line["row"]) for line in submissions]
    assert sorted(pairs) == [(f"mine-{number}", id) for number, id in enumerate(ids)]
    attempts = [line for line in lines if "attempt" in line]
    assert Counter((line["row"], line["attempt"], line["status"]) for line in attempts) == Counter(
        (id, number, status) for id in ids for number, status in ((1, 503), (2, 204))
    )
    traces = {line["row"]: line["trace"] for line in submissions}
    assert all(line["trace"] == traces[line["row"]] for line in attempts)
    assert {line["request_id"] for line in attempts} == {f"mine-{number}" for number in range(5)}

    messages = Counter(line["message"].rpartition(" 4")[0] for line in lines if line["logger"] == "reportsim.http")
    assert messages["GET /nothing-here"] == messages["GET /two%0A%1B%5B2Jlines"] == messages["POST /api/async"] == 1
    assert not any("healthz" in line["message"] or "readyz" in line["message"] for line in lines)

    # A signature begins with its version.
    for word in ("whsec_", secret.removeprefix("whsec_"), PASSWORD, TOKEN, "v1,"):
        assert word not in text
