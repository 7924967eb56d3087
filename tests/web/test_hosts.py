"""Which hosts are served, in every form that a request can name one, wherever the service listens."""

from dataclasses import replace

import pytest

from reportsim.settings import Settings
from reportsim.web.middleware.origin import allowed_hosts, host_name
from tests.conftest import Service, serving
from tests.web.raw import exchange

SERVED = (
    *("localhost", "LOCALHOST", "localhost.", "localhost:1", "LocalHost.:65535", "127.0.0.1", "127.0.0.1:80"),
    *("10.0.0.7", "10.0.0.7:8080", "192.168.1.1.", "[::1]", "[::1]:8080", "[0:0:0:0:0:0:0:1]", "[FE80::1]:80"),
    *("[::ffff:127.0.0.1]", "reports.example.org", "Reports.Example.org.:443"),
)
REFUSED = (
    *("evil.example", "evil.example:8080", "evil.example.", "127.0.0.1.evil.example", "localhost.evil.example"),
    *(
        "localhost..",
        ".localhost",
        "x.localhost",
        "localhost@evil.example",
        "evil.example@localhost",
        "reports.example",
    ),
    *("0x7f.0.0.1", "2130706433", "127.1", "127.0.0.1:80:80", "[::1", "::1", "[::1]x", "[evil.example]", "127.0.0.1/x"),
    *("localhost evil.example", "localhost,evil.example", "*", "xn--localhost-.example", "１２７.0.0.1", ""),
)


@pytest.fixture
def exposed(settings: Settings) -> Settings:
    return replace(settings, public_url="http://reports.example.org:8080")


async def status_of(service: Service, target: str, *hosts: str, version: str = "1.1", extra: str = "") -> int:
    lines = "".join(f"Host: {host}\r\n" for host in hosts)
    request = f"GET {target} HTTP/{version}\r\n{lines}{extra}\r\n"
    return (await exchange(service.url, request.encode())).status


async def test_addresses_localhost_and_the_public_host_are_served_and_no_other_name(
    exposed: Settings, subtests: pytest.Subtests
) -> None:
    async with serving(exposed) as service:
        for host in SERVED:
            with subtests.test(host=host):
                assert await status_of(service, "/healthz", host) == 200
        for host in REFUSED:
            with subtests.test(host=host):
                assert await status_of(service, "/healthz", host) in {400, 421}


async def test_the_refusal_names_the_setting(service: Service) -> None:
    async with service.client.get("/healthz", headers={"Host": "evil.example"}) as answer:
        assert answer.status == 421
        detail = (await answer.json())["detail"]
    assert "evil.example" in detail
    assert "REPORTSIM_ALLOWED_HOSTS" in detail


async def test_a_rebound_name_can_neither_read_nor_write(service: Service) -> None:
    headers = {"Host": "evil.example", "Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"}
    for method, path in [("POST", "/api/sync"), ("GET", "/api/requests"), ("GET", "/"), ("GET", "/api/events")]:
        async with service.client.request(method, path, headers=headers) as answer:
            assert answer.status == 421
            await answer.read()


@pytest.mark.parametrize("host", ["127.0.0.3", "0.0.0.0"])
async def test_nor_where_the_service_listens_at_another_address(settings: Settings, host: str) -> None:
    async with serving(settings, host=host) as service:
        for name in ("evil.example", "evil.example:8080", "localhost.evil.example", "reports.internal"):
            headers = {"Host": name, "Origin": f"http://{name}", "Sec-Fetch-Site": "same-origin"}
            for method, path in [("POST", "/api/sync"), ("GET", "/api/requests"), ("GET", "/")]:
                async with service.client.request(method, path, headers=headers) as answer:
                    assert answer.status == 421
                    await answer.read()
        async with service.client.post("/api/sync", json={"ledger": "tiny"}) as answer:
            assert answer.status == 200


@pytest.mark.parametrize("host", ["127.0.0.3", "0.0.0.0", "::", "reports.internal"])
def test_where_it_listens_makes_no_other_name_served(settings: Settings, host: str) -> None:
    assert "evil.example" not in allowed_hosts(replace(settings, host=host))
    assert ("reports.internal" in allowed_hosts(replace(settings, host=host))) is (host == "reports.internal")


async def test_a_target_in_absolute_form_goes_before_the_header(service: Service) -> None:
    port = service.url.rpartition(":")[2]
    assert await status_of(service, "http://evil.example/healthz", "127.0.0.1") == 421
    assert await status_of(service, f"http://evil.example:{port}/healthz", f"127.0.0.1:{port}") == 421
    assert await status_of(service, "http://127.0.0.1@evil.example/healthz", "127.0.0.1") in {400, 421}
    assert await status_of(service, "HTTP://evil.example/healthz", "127.0.0.1") in {400, 421}
    assert await status_of(service, f"http://127.0.0.1:{port}/healthz", f"127.0.0.1:{port}") == 200
    assert await status_of(service, "http://[::1]/healthz", "localhost") == 200
    origin = f"Origin: http://127.0.0.1:{port}\r\nContent-Length: 0\r\n"
    raw = f"POST http://127.0.0.1:{port}/api/sync HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{origin}\r\n"
    assert (await exchange(service.url, raw.encode())).status == 200


async def test_several_hosts_are_refused_whichever_comes_first(service: Service) -> None:
    for hosts in (("127.0.0.1", "evil.example"), ("evil.example", "127.0.0.1"), ("127.0.0.1", "127.0.0.1")):
        assert await status_of(service, "/healthz", *hosts) == 400


async def test_a_probe_without_a_host_is_served(service: Service) -> None:
    assert await status_of(service, "/healthz", version="1.0") == 200


@pytest.mark.parametrize("entry", ["Reports.example.org", "reports.example.org.", "reports.example.org:8443"])
def test_a_host_can_be_set_as_it_is_written_anywhere(settings: Settings, entry: str) -> None:
    assert "reports.example.org" in allowed_hosts(replace(settings, allowed_hosts=(entry,)))
    assert host_name("REPORTS.example.org.:443") == "reports.example.org"


async def test_the_refusal_of_no_host_at_all_says_so(service: Service) -> None:
    reply = await exchange(service.url, b"GET /healthz HTTP/1.1\r\nHost:\r\n\r\n")
    assert reply.status == 421
    assert b"A request without a host name is not served here" in reply.body
