"""Whatever a URL, a name, a redirect or the environment says: nobody who is refused is ever connected to."""

import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest
from yarl import URL

from reportsim.core.callback_policy.addresses import AllowList
from reportsim.core.callback_policy.urls import CallbackTarget, OwnReceiver, Refusal
from reportsim.engine.delivery import ssrf_guard as module
from reportsim.engine.delivery.attempt import Reason
from reportsim.engine.delivery.http_client import open_client
from reportsim.engine.delivery.ssrf_guard import HostResolver, ResourceShortage, SsrfGuard, is_here
from reportsim.settings import Settings
from reportsim.store.pool import Pool
from tests.conftest import serving
from tests.engine.delivery.wire.names import Asking, Names
from tests.engine.delivery.wire.sockets import (
    OPEN,
    PUBLIC,
    Answer,
    Silent,
    answering,
    post,
    resets,
    says,
    target_of,
)
from tests.engine.jobs import finished, submit
from tests.ports import free_port
from tests.store.rows import new

OK = says(b"HTTP/1.1 204 No Content\r\n\r\n")
EVIL = "evil.example"
# What a name may lead to, beside or instead of where it may be called.
INSIDE = [
    *("127.0.0.1", "0.0.0.0", "127.0.0.3", "::1", "::", "::ffff:127.0.0.1", "::ffff:127.0.0.2", "::127.0.0.1"),
    *("10.0.0.1", "169.254.169.254", "192.168.0.1", "100.64.0.1", "fd00::1", "fe80::1", "fd00:ec2::254"),
    *("64:ff9b::7f00:1", "2002:7f00:1::", "224.0.0.1", "255.255.255.255"),
]
# How a loopback address can be written in a URL.
SPELLINGS = [
    *(
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "017700000001",
    ),
    *("127.0.0.1.", "0.0.0.0", "0", "127.000.000.001", "127。0。0。1", "１２７.0.0.1", "①②⑦.0.0.1", "localhost"),
    *("LOCALHOST", "localhost.", "[::1]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::]"),
    *("[::127.0.0.1]", "[::1%25lo]", "user@127.0.0.1", "example.com@127.0.0.1"),
]


def shaped(url: str, host: str | None = None) -> CallbackTarget:
    """A target as no check at submit would let it through: what the dial alone has to refuse."""
    dialed = URL(url)
    return CallbackTarget(dialed.scheme, host or dialed.raw_host or "", dialed.port or 80, dialed.raw_path)


class TestNames:
    @pytest.mark.parametrize("address", INSIDE)
    async def test_that_lead_inside_are_refused(self, silent: Silent, names: Names, address: str) -> None:
        names.script = [[address]]
        async with open_client(SsrfGuard(OPEN, []), Asking(names)) as session:
            outcome = await post(session, target_of(f"http://{EVIL}:{silent.port}/"))
        assert (outcome.success, outcome.reason, outcome.final) == (False, Reason.REFUSED, True)
        assert outcome.remote_ip is None
        assert names.asked == 1

    @pytest.mark.parametrize("order", ["good first", "bad first"])
    @pytest.mark.parametrize("address", INSIDE)
    async def test_of_whose_answers_one_leads_inside_are_not_called_at_all(
        self, silent: Silent, names: Names, address: str, order: str
    ) -> None:
        names.script = [[PUBLIC, address] if order == "good first" else [address, PUBLIC]]
        async with answering(OK, port=silent.port) as good, open_client(SsrfGuard(OPEN, []), Asking(names)) as session:
            outcome = await post(session, target_of(f"http://{EVIL}:{silent.port}/"))
            assert good.heads == []
        assert (outcome.reason, outcome.final, outcome.remote_ip) == (Reason.REFUSED, True, None)

    async def test_are_asked_for_once_per_attempt_so_that_rebinding_gains_nothing(
        self, silent: Silent, names: Names
    ) -> None:
        names.script = [[PUBLIC], ["127.0.0.1"], ["::1"], [PUBLIC]]
        target = target_of(f"http://{EVIL}:{silent.port}/")
        async with answering(OK, port=silent.port) as good, open_client(SsrfGuard(OPEN, []), Asking(names)) as session:
            outcomes = [await post(session, target) for _ in range(4)]
            assert len(good.heads) == 2
        assert names.asked == 4
        assert [outcome.reason for outcome in outcomes] == [None, Reason.REFUSED, Reason.REFUSED, None]
        assert [outcome.remote_ip for outcome in outcomes] == [PUBLIC, None, None, PUBLIC]

    async def test_that_lead_nowhere_are_a_failure_of_dns(self, names: Names) -> None:
        names.script = [[]]
        async with open_client(SsrfGuard(OPEN, []), Asking(names)) as session:
            outcome = await post(session, target_of(f"http://{EVIL}:{free_port()}/"))
        assert (outcome.reason, outcome.final) == (Reason.DNS, False)

    async def test_with_very_many_addresses_are_tried_at_a_few(self, names: Names) -> None:
        names.script = [[f"127.0.1.{number}" for number in range(1, 200)]]
        dialed: list[str] = []

        class Counting(SsrfGuard):
            def socket(self, address: tuple[Any, ...]) -> socket.socket:
                dialed.append(address[4][0])
                return super().socket(address)

        async with open_client(Counting(AllowList.parse("127.0.1.0/24"), []), Asking(names)) as session:
            outcome = await post(session, target_of(f"http://{EVIL}:{free_port()}/"))
        assert outcome.reason is Reason.CONNECT
        assert len(set(dialed)) == module.MOST_ADDRESSES

    @pytest.mark.parametrize("answer", [OK, resets], ids=["it answers", "it resets"])
    async def test_with_several_addresses_are_logged_with_the_one_that_connected(
        self, names: Names, monkeypatch: pytest.MonkeyPatch, answer: Answer
    ) -> None:
        """The first address connects only once the second is being dialed, which never connects."""
        loop = asyncio.get_running_loop()
        connect, second = loop.sock_connect, asyncio.Event()

        async def late(connecting: socket.socket, where: Any) -> None:
            if where[0] == "127.0.0.3":
                second.set()
                await asyncio.Event().wait()
            elif where[0] == PUBLIC:
                await second.wait()
            await connect(connecting, where)

        monkeypatch.setattr(loop, "sock_connect", late)
        names.script = [[PUBLIC, "127.0.0.3"]]
        allow = AllowList.parse(f"{PUBLIC} 127.0.0.3")
        async with answering(answer) as receiver, open_client(SsrfGuard(allow, []), Asking(names)) as session:
            outcome = await post(session, target_of(f"http://{EVIL}:{receiver.port}/", allow))
            assert len(receiver.heads) == 1
        assert second.is_set()
        assert outcome.success is (answer is OK)
        assert outcome.remote_ip == PUBLIC


class TestUrls:
    @pytest.mark.parametrize("host", SPELLINGS)
    async def test_spell_no_loopback_address_that_is_reached(self, silent: Silent, host: str) -> None:
        """First the check at submit, then the dial as if there were no such check, with the system's own resolver."""
        url = f"http://{host}:{silent.port}/"
        assert isinstance(SsrfGuard(OPEN, []).check_url(url), Refusal)
        async with open_client(SsrfGuard(OPEN, [])) as session:
            for target in (shaped(url), shaped(url, host)):
                outcome = await post(session, target)
                assert not outcome.success
                assert outcome.remote_ip is None

    @pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]", "localhost"])
    async def test_are_checked_again_when_they_are_dialed(self, silent: Silent, host: str) -> None:
        async with open_client(SsrfGuard(OPEN, [])) as session:
            outcome = await post(session, shaped(f"http://{host}:{silent.port}/"))
        assert (outcome.reason, outcome.final) == (Reason.REFUSED, True)

    @pytest.mark.parametrize("host", [EVIL, PUBLIC])
    async def test_lead_to_the_port_that_was_checked(self, silent: Silent, host: str) -> None:
        guard = SsrfGuard(OPEN, [])
        dial = module.Dial(target_of(f"http://{host}:{free_port()}/"))
        module.current.set(dial)
        with pytest.raises(module.RefusedAddress):
            guard.socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", (PUBLIC, silent.port)))
        assert dial.refusal is not None
        assert dial.refusal.reason == "not-the-target"

    async def test_localhost_is_dialed_at_the_address_that_is_opened(self) -> None:
        guard = SsrfGuard(AllowList.parse("127.0.0.0/8"), [])
        answer = says(b"HTTP/1.1 204 No Content\r\n\r\n")
        async with answering(answer, host="127.0.0.1") as good, open_client(guard) as session:
            target = guard.check_url(f"http://localhost:{good.port}/")
            assert isinstance(target, CallbackTarget)
            outcome = await post(session, target)
        assert (outcome.success, outcome.remote_ip) == (True, "127.0.0.1")


class TestRedirects:
    @pytest.mark.parametrize("status", [300, 301, 302, 303, 305, 307, 308])
    @pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost", "2130706433"])
    async def test_are_never_followed(self, silent: Silent, status: int, host: str) -> None:
        where = f"http://{host}:{silent.port}/"
        head = (
            f"HTTP/1.1 {status} Over There\r\nLocation: {where}\r\nRefresh: 0; url={where}\r\nContent-Length: 0\r\n\r\n"
        )
        async with answering(says(head.encode())) as good, open_client(SsrfGuard(OPEN, [])) as session:
            outcome = await post(session, target_of(f"http://{PUBLIC}:{good.port}/"))
        assert (outcome.reason, outcome.status_code) == (Reason.STATUS, status)


class TestEnvironment:
    @pytest.fixture(autouse=True)
    def proxied(self, silent: Silent, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("http_proxy", "https_proxy", "all_proxy", "ws_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{silent.port}")
            monkeypatch.setenv(name.upper(), f"http://127.0.0.1:{silent.port}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)

    async def test_names_no_proxy_for_what_may_be_called(self, silent: Silent) -> None:
        async with answering(OK) as good, open_client(SsrfGuard(OPEN, [])) as session:
            outcome = await post(session, target_of(f"http://{PUBLIC}:{good.port}/"))
            assert len(good.heads) == 1
        assert (outcome.success, outcome.remote_ip) == (True, PUBLIC)

    @pytest.mark.parametrize("scheme", ["http", "https"])
    async def test_names_no_proxy_for_what_may_not(self, silent: Silent, names: Names, scheme: str) -> None:
        names.script = [["10.0.0.1"]]
        async with open_client(SsrfGuard(OPEN, []), Asking(names)) as session:
            outcome = await post(session, target_of(f"{scheme}://{EVIL}:{silent.port}/"))
        assert outcome.reason is Reason.REFUSED


class TestOwnAddresses:
    async def test_its_other_routes_are_not_reached_by_any_address_of_the_machine(self, silent: Silent) -> None:
        """A service that listens everywhere also answers at addresses that may be called."""
        address = outer_address()
        guard = SsrfGuard(
            AllowList.parse(f"{address} 127.0.0.0/8"), [OwnReceiver(ip_address("127.0.0.1"), silent.port, "/in/")]
        )
        guard.everywhere = silent.port
        async with open_client(guard) as session:
            for host in (address, PUBLIC):
                outcome = await post(session, shaped(f"http://{host}:{silent.port}/api/sync", host))
                assert outcome.reason is Reason.REFUSED
                assert "own-route" in (outcome.error_message or "")

    async def test_an_address_of_the_machine_at_another_port_is_somebody_else(self) -> None:
        address = outer_address()
        guard = SsrfGuard(AllowList.parse(address), [])
        guard.everywhere = free_port()
        async with answering(OK, host=address) as good, open_client(guard) as session:
            outcome = await post(session, target_of(f"http://{address}:{good.port}/", guard.allow))
        assert outcome.success

    @pytest.mark.parametrize(("address", "here"), [("127.0.0.1", True), ("192.0.2.200", False), ("2001:db8::1", False)])
    def test_are_told_from_others_without_a_packet(self, address: str, here: bool) -> None:
        assert is_here(address, 80) is here


def outer_address() -> str:
    """An address of this machine that is not a loopback address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.200", 80))  # of UDP: sends nothing
        except OSError:
            pytest.skip("this machine has loopback addresses only")
        return str(probe.getsockname()[0])


Found = list[tuple[Any, ...]]


def answers(*addresses: str, scope: int = 0) -> Found:
    """What getaddrinfo returns for some addresses."""
    return [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, 0, 0, scope))
        if ":" in address
        else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0))
        for address in addresses
    ]


@pytest.fixture
def look_up(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str], Found]], list[str]]:
    """Exchanges the system's resolver; returns the names that it is asked for."""

    def exchange(find: Callable[[str], Found]) -> list[str]:
        asked: list[str] = []

        def getaddrinfo(host: str, *_: object, **__: object) -> Found:
            asked.append(host)
            return find(host)

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        return asked

    return exchange


class TestLookups:
    async def test_an_address_with_a_scope_is_refused(self, silent: Silent, look_up: Any) -> None:
        look_up(lambda _: answers("fe80::1", scope=1))
        async with open_client(SsrfGuard(AllowList.parse("0.0.0.0/0 ::/0"), [])) as session:
            outcome = await post(session, target_of(f"http://{EVIL}:{silent.port}/"))
        assert outcome.reason is Reason.REFUSED
        assert "zone-id" in (outcome.error_message or "")

    @pytest.mark.parametrize(
        "error", [socket.gaierror(-2, "unknown"), OSError("no network"), UnicodeError("label too long")]
    )
    async def test_what_goes_wrong_is_a_failure_of_dns(self, look_up: Any, error: Exception) -> None:
        def fail(_: str) -> Found:
            raise error

        look_up(fail)
        async with open_client(SsrfGuard(OPEN, [])) as session:
            outcome = await post(session, target_of(f"http://{EVIL}/"))
        assert (outcome.reason, outcome.final) == (Reason.DNS, False)

    async def test_names_that_hang_delay_no_other(self, look_up: Any) -> None:
        found = threading.Event()

        def find(host: str) -> Found:
            if host.startswith("slow"):
                found.wait(60)
            return answers(PUBLIC)

        asked = look_up(find)
        lookups = HostResolver()
        slow = [asyncio.ensure_future(lookups.resolve(f"slow{number}.example")) for number in range(100)]
        await asyncio.sleep(0)
        try:
            async with asyncio.timeout(20):
                assert (await lookups.resolve("quick.example"))[0]["host"] == PUBLIC
        finally:
            found.set()
        assert len(asked) <= 101
        for waiting in slow:
            waiting.cancel()
        await asyncio.gather(*slow, return_exceptions=True)

    async def test_a_name_is_looked_up_once_at_a_time_however_many_ask(self, look_up: Any) -> None:
        def find(_: str) -> Found:
            time.sleep(0.3)
            return answers(PUBLIC)

        asked = look_up(find)
        lookups = HostResolver()
        impatient = asyncio.ensure_future(lookups.resolve(EVIL, 80))
        patient = [asyncio.ensure_future(lookups.resolve(EVIL, 8000 + number)) for number in range(20)]
        await asyncio.sleep(0.05)
        impatient.cancel()
        found = await asyncio.gather(*patient)
        assert [each[0]["port"] for each in found] == [8000 + number for number in range(20)]
        assert len(asked) == 1
        await lookups.resolve(EVIL)
        assert len(asked) == 2

    async def test_no_more_than_so_many_hang_at_once(self, look_up: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """Beyond that none is begun, and a destination that answered lately has a place all the same."""
        monkeypatch.setattr(module, "MOST_LOOKUPS", 3)
        monkeypatch.setattr(module, "LOOKUP_WAIT_S", 0.05)
        released = threading.Event()

        def find(host: str) -> Found:
            if host != "known.example":
                released.wait(30)
            return answers(PUBLIC)

        asked = look_up(find)
        lookups = HostResolver()
        waiting = [asyncio.ensure_future(lookups.resolve(f"{number}.example")) for number in range(3)]
        await asyncio.sleep(0)
        try:
            with pytest.raises(ResourceShortage, match="too many"):
                await lookups.resolve("one.more.example")
            assert len(asked) == 3
            module.current.set(module.Dial(target_of("http://known.example/"), known=True))
            assert (await lookups.resolve("known.example"))[0]["host"] == PUBLIC
        finally:
            released.set()
        await asyncio.gather(*waiting)
        assert (await lookups.resolve("one.more.example"))[0]["host"] == PUBLIC

    def test_a_lookup_that_hangs_does_not_keep_the_process(self) -> None:
        program = (
            "import asyncio, socket, time; from reportsim.engine.delivery.ssrf_guard import HostResolver\n"
            "socket.getaddrinfo = lambda *_, **__: time.sleep(60)\n"
            "async def main():\n"
            "    task = asyncio.create_task(HostResolver().resolve('evil.example'))\n"
            "    await asyncio.sleep(0.1); task.cancel()\n"
            "asyncio.run(main())"
        )
        subprocess.run([sys.executable, "-c", program], timeout=30, check=True)


async def test_what_is_opened_is_said_at_the_start(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(settings):
        assert "callbacks may also go to" not in caplog.text
    async with serving(replace(settings, callback_allow=AllowList.parse("10.0.0.0/8 ::1"))):
        assert "callbacks may also go to 10.0.0.0/8, ::1/128" in caplog.text


async def test_a_service_refuses_a_name_that_was_rebound(
    settings: Settings, pool: Pool, silent: Silent, look_up: Any
) -> None:
    """All of it: submitted, delivered, answered by 503, and refused when the name leads inside."""
    script = [answers(PUBLIC), answers(PUBLIC, "127.0.0.1")]
    real = socket.getaddrinfo

    def find(host: str) -> Found:
        return script.pop(0) if host == EVIL else list(real(host, None))

    look_up(find)
    busy = says(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
    async with (
        answering(busy, port=silent.port) as good,
        serving(replace(settings, callback_allow=OPEN, callback_waits=(0.01,))) as service,
    ):
        request = await submit(service.engine, new(callback_url=f"http://{EVIL}:{silent.port}/"))
        done = await finished(pool, request)
        assert len(good.heads) == 1
    rows = await pool.fetch("SELECT reason, remote_ip FROM callback_logs ORDER BY attempt_number")
    assert [tuple(row) for row in rows] == [("status", PUBLIC), ("refused", None)]
    assert (done.callback_status, done.callback_attempts) == ("FAILED", 2)
