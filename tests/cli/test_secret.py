"""`python -m reportsim secret`, rotation, and that no secret is ever in a log."""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from reportsim.cli.logs import JsonFormatter
from reportsim.core.callback_policy.addresses import AllowList
from reportsim.core.signing import new_secret, parse_secret
from reportsim.settings import Settings
from tests.api.calls import submit
from tests.api.test_callbacks import Receiver, receiver
from tests.cli.calls import Done, call, call_beside, start
from tests.conftest import Service, serving

__all__ = ["receiver"]

LOOPBACK = AllowList.parse("127.0.0.0/8")


async def secret(dsn: str, given: str = "") -> str:
    """What the command prints."""
    return printed(await call_beside("secret", environ={"DATABASE_URL": dsn, "REPORTSIM_WEBHOOK_SECRET": given}))


def printed(done: Done) -> str:
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode()


async def delivered(service: Service, receiver: Receiver) -> None:
    """Makes one callback."""
    await service.ended(await submit(service, body={"ledger": "tiny", "callback_url": receiver.url}))


def verifies(secret: str, receiver: Receiver) -> bool:
    """Whether a receiver that has a secret accepts the last callback."""
    arrival = receiver.arrivals[-1]
    try:
        Webhook(secret).verify(arrival.body.decode(), arrival.headers)
    except WebhookVerificationError:
        return False
    return True


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return replace(settings, callback_allow=LOOPBACK)


@pytest.fixture
async def logged(caplog: pytest.LogCaptureFixture) -> AsyncIterator[pytest.LogCaptureFixture]:
    """Everything that anybody logs, at every level."""
    with caplog.at_level(logging.DEBUG):
        yield caplog


async def test_it_is_made_once_and_is_what_callbacks_are_signed_with(
    settings: Settings, receiver: Receiver, dsn: str
) -> None:
    first = printed(await asyncio.to_thread(start, "secret", environ={"DATABASE_URL": dsn}))
    assert len(parse_secret(first.rstrip("\n"))) == 32
    async with serving(settings) as one, serving(settings) as other:
        for service in (one, other):
            await delivered(service, receiver)
            assert verifies(first.strip(), receiver)
    assert await secret(dsn) == first


async def test_those_that_are_given_are_printed_one_a_line(dsn: str) -> None:
    given = [new_secret(), new_secret()]
    assert (await secret(dsn, ",".join(given))).split("\n") == [*given, ""]


async def test_a_rotation_leaves_no_receiver_behind(settings: Settings, receiver: Receiver, dsn: str) -> None:
    """From the secret that was made to a new one: first both sign, then the new one alone."""
    old, new = (await secret(dsn)).strip(), new_secret()
    for signing, valid in [((), (old,)), ((new, old), (old, new)), ((new,), (new,))]:
        async with serving(replace(settings, webhook_secret=signing)) as service:
            await delivered(service, receiver)
        assert [one for one in (old, new) if verifies(one, receiver)] == list(valid)


async def test_the_demo_receiver_takes_either_during_a_rotation(settings: Settings) -> None:
    both = (new_secret(), new_secret())
    async with serving(replace(settings, webhook_secret=both)) as service:
        await service.ended(await submit(service, "/api/callbacks/simulate-failures", {"ledger": "tiny"}))
        async with service.client.get("/api/requests") as answer:
            id = (await answer.json())["items"][0]["id"]
        async with service.client.get(f"/webhook-test/{id}") as answer:
            assert all(item["verified"] for item in (await answer.json())["items"])


async def test_no_log_and_no_answer_has_a_secret(
    settings: Settings, receiver: Receiver, logged: pytest.LogCaptureFixture, dsn: str
) -> None:
    """Given ones, and the one in the database; deliveries that succeed, fail and are refused."""
    kept, given = (await secret(dsn)).strip(), new_secret()
    texts: list[str] = []
    for secrets in ((given,), ()):
        async with serving(replace(settings, webhook_secret=secrets, debug=True)) as service:
            await delivered(service, receiver)
            await service.ended(await submit(service, "/api/callbacks/simulate-failures", {"ledger": "tiny"}))
            body = {"ledger": "tiny", "callback_url": f"{service.url}/webhook-test/mine"}
            await service.ended(await submit(service, body=body))
            for path in ("/", "/metrics", "/readyz", "/api/requests", "/webhook-test/mine", "/api/nothing"):
                async with service.client.get(path) as answer:
                    texts.append(await answer.text())
            texts.append(repr(replace(settings, webhook_secret=secrets)))
    formatter = JsonFormatter()
    texts += [formatter.format(record) for record in logged.records]
    texts += [repr(record.__dict__) for record in logged.records]
    assert len(logged.records) > 10
    for one in (kept, given):
        key = one.removeprefix("whsec_")
        for text in texts:
            assert key not in text
            assert repr(parse_secret(one))[2:-1] not in text


def test_a_mistake_in_it_does_not_print_it(dsn: str) -> None:
    wrong = new_secret()[:-8] + "!!!"
    done = call("secret", environ={"DATABASE_URL": dsn, "REPORTSIM_WEBHOOK_SECRET": wrong})
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"REPORTSIM_WEBHOOK_SECRET" in done.stderr
    assert wrong.encode() not in done.stderr
    assert wrong[6:20].encode() not in done.stderr
