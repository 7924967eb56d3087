"""Every address that a callback may not reach is refused, and every public one is let through."""

import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportsim.core.callback_policy.addresses import NEVER_OPENED, REASONS, SETTING, AllowList, classify, explain

REFUSED = """
6to4:
    192.88.99.0 192.88.99.1 192.88.99.255 2002:: 2002:7f00:1:: 2002:a00:1::1 2002:808:808::1
    2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff
benchmark:
    198.18.0.0 198.18.0.1 198.19.255.255 2001:2:: 2001:2:0:ffff::1
broadcast:
    255.255.255.255
cgnat:
    100.64.0.0 100.64.0.1 100.100.100.199 100.100.100.201 100.127.255.255
discard:
    100:: 100::1 100::ffff:ffff:ffff:ffff
documentation:
    192.0.2.0 192.0.2.1 192.0.2.255 198.51.100.0 198.51.100.7 198.51.100.255 203.0.113.0 203.0.113.9
    203.0.113.255 2001:db8:: 2001:db8::1 2001:db8:ffff:ffff:ffff:ffff:ffff:ffff 3fff:: 3fff::1
    3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff
ipv4-compatible:
    ::2 ::7f00:1 ::127.0.0.1 ::10.0.0.1 ::192.168.0.1 ::8.8.8.8 ::169.254.169.254 ::255.255.255.255
ipv4-mapped:
    ::ffff:0.0.0.0 ::ffff:127.0.0.1 ::ffff:7f00:1 ::ffff:10.0.0.1 ::ffff:100.64.0.1 ::ffff:169.254.169.254
    ::ffff:a9fe:a9fe ::ffff:168.63.129.16 ::ffff:192.168.1.1 ::ffff:224.0.0.1 ::ffff:8.8.8.8 ::FFFF:1.1.1.1
    0:0:0:0:0:ffff:7f00:1 ::ffff:255.255.255.255 ::ffff:100.100.100.200 ::ffff:0.0.0.1 ::ffff:192.0.0.192
ipv4-translated:
    ::ffff:0:127.0.0.1 ::ffff:0:169.254.169.254 ::ffff:0:7f00:1 ::ffff:0:10.0.0.1 ::ffff:0:8.8.8.8
link-local:
    169.254.0.0 169.254.0.1 169.254.0.23 169.254.42.42 169.254.169.123 169.254.169.253 169.254.255.255
    fe80:: fe80::1 fe80::a9fe:a9fe
    fe80::5efe:7f00:1 fe80::200:5efe:127.0.0.1 febf::1 febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff
loopback:
    127.0.0.0 127.0.0.1 127.0.0.53 127.1.2.3 127.255.255.254 127.255.255.255 ::1 0:0:0:0:0:0:0:1
    0000:0000:0000:0000:0000:0000:0000:0001
metadata:
    169.254.169.254 169.254.170.2 169.254.170.23 168.63.129.16 100.100.100.200 192.0.0.192 fd00:ec2::254
    fd00:ec2::23 fd00:ec2::250 fd00:ec2::123 fd00:ec2::253 FD00:EC2::254 fd00:ec2:ffff::
    fd00:0ec2:0:0:0:0:0:254 fd20:ce::254 fd00:42::42 fd00:100::100:200 fd00:a9fe:a9fe::1 fd00:c1::a9fe:a9fe
multicast:
    224.0.0.0 224.0.0.1 224.0.0.251 232.1.1.1 233.252.0.1 239.255.255.250 239.255.255.255 ff00:: ff01::1
    ff02::1 ff02::fb ff05::2 ff0e::1 ff3e::1 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff
nat64:
    64:ff9b:: 64:ff9b::7f00:1 64:ff9b::127.0.0.1 64:ff9b::a9fe:a9fe 64:ff9b::8.8.8.8 64:ff9b::ffff:ffff
nat64-local:
    64:ff9b:1:: 64:ff9b:1::7f00:1 64:ff9b:1::10.0.0.1 64:ff9b:1:7f00:0:100:: 64:ff9b::1:7f00:1 64:ff9b:ffff::1
not-global-unicast:
    ::1:0:0:0 0:1:: 1:: 64:: 64:ff9a:: 64:ff9c::1 100:0:0:1:: 100:0:0:1::1 200::1 400::1
    1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 4000:: 4000::1 5f00:: 5f00::1 6000::1 8000::1 a000::1 c000::1
    e000::1 f000::1 f800::1 fa00::1 fbff::1 fe00::1 fe7f::1
orchid:
    2001:10::1 2001:1f:ffff::1 2001:20::1 2001:2f:ffff:ffff:ffff:ffff:ffff:ffff
private:
    10.0.0.0 10.0.0.1 10.1.2.3 10.255.255.255 172.16.0.0 172.17.0.1 172.20.1.1 172.31.255.255 192.168.0.0
    192.168.0.1 192.168.178.1 192.168.255.255 fc00:: fc00::1 fd00::1 fd12:3456:789a::1 fd00:ec1:ffff::1
    fd00:ec3::1 fd20:ce::253 fd00:42::43 fd00:c1::1 fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff
protocol-assignments:
    192.0.0.0 192.0.0.1 192.0.0.8 192.0.0.9 192.0.0.10 192.0.0.170 192.0.0.171 192.0.0.191 192.0.0.193
    192.0.0.255 2001:1::1 2001:1::2 2001:1::3 2001:3::1 2001:4:112::1 2001:30::1 2001:1ff:ffff::1
reserved:
    240.0.0.0 240.0.0.1 247.1.1.1 250.255.0.1 254.255.255.255 255.0.0.0 255.255.255.254
site-local:
    fec0:: fec0::1 feff::1 feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff
teredo:
    2001:: 2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:0:7f00:1:: 2001:0:ffff:ffff:ffff:ffff:ffff:ffff
unspecified:
    0.0.0.0 0.0.0.1 0.1.2.3 0.255.255.255 :: 0:0:0:0:0:0:0:0
zone-id:
    fe80::1%eth0 fe80::1%25eth0 ::1%lo ::ffff:127.0.0.1%1 2606:4700::1111%eth0
"""
NO_ADDRESS = [
    *("", " ", "127.0.0.1 ", " 127.0.0.1", "127.1", "127.0.1"),
    *("0", "2130706433", "0x7f.1", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1"),
    *("127.0.0.01", "127.000.000.001", "1.2.3.4.5", "256.1.1.1", "1.2.3", "1.2.3.4."),
    *("1.2.3.-4", "1.2.3.+4", "1.2..4", "1.2.3.4/32", "10.0.0.0/8", "localhost"),
    *("example.com", "[::1]", "[127.0.0.1]", ":", ":::", "::1::"),
    *("1::2::3", "::g", "::1/128", "12345::", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9"),
    *(
        "::127.1",
        "::ffff:127.0.0.01",
        "\uff11\uff12\uff17.0.0.1",
        "127\u30020\u30020\u30021",
        "\u2460\u2461\u2466.0.0.1",
        "\u0661\u0662\u0667.0.0.1",
    ),
    *("::\uff11", "127.0.0.1\n", "127.0.0.1\x00", "1" * 10_000, ":" * 10_000, "\xe9"),
    *("\ud800"),
]
PUBLIC = """
    1.0.0.0 1.0.0.1 1.1.1.1 8.8.4.4 8.8.8.8 9.9.9.9 9.255.255.255 11.0.0.0 34.117.59.81 100.63.255.255
    100.128.0.0 126.255.255.255 128.0.0.0 140.82.121.3 151.101.1.69 168.63.129.15 168.63.129.17
    169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 191.255.255.255 192.0.1.0 192.0.1.255 192.0.3.0
    192.31.196.1 192.52.193.1 192.88.98.255 192.88.100.0 192.167.255.255 192.169.0.0 192.175.48.1
    198.17.255.255 198.20.0.0 198.51.99.255 198.51.101.0 203.0.112.255 203.0.114.0 223.255.255.255 2000::
    2000::1 2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff 2001:200::1 2001:4860:4860::8888 2001:500:88:200::10
    2001:db7:ffff::1 2001:db9::1 2001:ffff::1 2003::1 2400:cb00::1 2600:1f18::1 2606:4700:4700::1111
    2620:fe::fe 2620:4f:8000::1 2800::1 2a00:1450:4001:80b::200e 2a01:4f8::1 2c0f:fb50::1 3000::1 3ffe::1
    3fff:1000::1 3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff
"""


def refused() -> Iterator[tuple[str, str]]:
    code = ""
    for word in REFUSED.split():
        if word.endswith(":") and word[:-1] in REASONS:
            code = word[:-1]
        else:
            yield word, code
    yield from ((text, "not-an-address") for text in NO_ADDRESS)


CASES = list(refused())
METADATA = "169.254.169.254 169.254.0.1 169.254.170.2 fd00:ec2::254 fd20:ce::254 168.63.129.16 100.100.100.200"
METADATA += " 192.0.0.192 fd00:42::42 fd00:100::100:200 fd00:a9fe:a9fe::1 fd00:c1::a9fe:a9fe"
BAD_NETWORKS = """
    10.0.0.1/8 10.0.0.0/33 10.0.0.0/ 10.0.0.0/-1 10.0.0.0/255.0.0.0 10/8 ::/129 localhost * 10.* 0x0a.0.0.0/8
    fe80::%eth0/64 fd00::1%eth0 10.0.0.0/8/8 \uff110.0.0.0/8
"""
CLOSED_NETWORKS = """
    169.254.169.254 169.254.0.0/16 168.63.129.16/32 fd00:ec2::254 fd00:ec2::/32 0.0.0.0/8 ::ffff:10.0.0.0/104
    ::ffff:0:0/96 ::/128 fe80::/10 2002::/16 2001::/32 224.0.0.0/4 ff00::/8 64:ff9b:1::/48 255.255.255.255
    ::ffff:0:127.0.0.1 192.88.99.0/24
"""
EVERYTHING = AllowList.parse("0.0.0.0/0, ::/0")


def test_the_tables_are_large_and_name_every_reason() -> None:
    assert len({address for address, _ in CASES} | set(PUBLIC.split())) >= 300
    assert {code for _, code in CASES} == REASONS.keys()
    assert REASONS.keys() >= NEVER_OPENED


@pytest.mark.parametrize(("address", "code"), CASES, ids=[ascii(address)[:40] for address, _ in CASES])
def test_an_address_that_is_not_public_is_refused_with_its_reason(address: str, code: str) -> None:
    assert classify(address) == code
    assert AllowList().refusal(address) == code
    assert not AllowList().permits(address)


@pytest.mark.parametrize("address", PUBLIC.split())
def test_a_public_address_may_be_dialed(address: str) -> None:
    assert classify(address) is None
    assert classify(ip_address(address)) is None
    assert AllowList().permits(address)


@given(st.ip_addresses())
def test_the_verdict_is_never_laxer_than_the_stdlib(address: IPv4Address | IPv6Address) -> None:
    if classify(address) is None:
        assert address.is_global
        wrong = (address.is_multicast, address.is_reserved, address.is_loopback, address.is_link_local)
        assert not any(wrong)


@given(st.ip_addresses())
def test_text_and_object_have_the_same_verdict(address: IPv4Address | IPv6Address) -> None:
    assert classify(str(address)) == classify(address) == classify(str(address).upper())


@pytest.mark.parametrize("prefix", ["::ffff:", "::ffff:0:", "64:ff9b:1::"])
@given(address=st.ip_addresses(v=4))
def test_an_ipv6_spelling_of_an_ipv4_address_is_never_opened(prefix: str, address: IPv4Address) -> None:
    assert not EVERYTHING.permits(f"{prefix}{address}")


@given(st.ip_addresses(v=4))
def test_a_nat64_address_is_opened_only_with_the_address_it_carries(address: IPv4Address) -> None:
    assert AllowList.parse("64:ff9b::/96").permits(f"64:ff9b::{address}") == AllowList().permits(address)
    assert EVERYTHING.permits(f"64:ff9b::{address}") == EVERYTHING.permits(address)


@given(st.text())
def test_text_never_raises(text: str) -> None:
    assert classify(text) in REASONS or AllowList().permits(text)


@pytest.mark.parametrize("code", sorted(REASONS))
def test_a_refusal_says_the_way_out_where_there_is_one(code: str) -> None:
    sentence = explain("10.0.0.1", code)
    assert "10.0.0.1" in sentence
    assert (SETTING in sentence) == (code not in NEVER_OPENED)


def test_a_refusal_of_a_long_text_stays_short() -> None:
    assert len(explain("x" * 100_000, "not-an-address")) < 200


class TestAllowList:
    def test_reads_networks_addresses_commas_and_blanks(self) -> None:
        allow = AllowList.parse(" 10.0.0.0/8,192.168.1.7\n fd00::/8 , ::1, ")
        assert [str(network) for network in allow.networks] == [
            *("10.0.0.0/8", "192.168.1.7/32", "fd00::/8", "::1/128")
        ]

    def test_is_empty_by_default(self) -> None:
        assert AllowList.parse("") == AllowList.parse(" , ") == AllowList()

    @pytest.mark.parametrize("text", BAD_NETWORKS.split())
    def test_a_bad_network_is_named_in_the_error(self, text: str) -> None:
        with pytest.raises(ValueError, match=re.escape(text.partition("/")[0])):
            AllowList.parse(f"192.168.0.0/16,{text}")

    @pytest.mark.parametrize("text", CLOSED_NETWORKS.split())
    def test_a_network_that_would_open_nothing_is_an_error(self, text: str) -> None:
        with pytest.raises(ValueError, match="never called"):
            AllowList.parse(text)

    @pytest.mark.parametrize(
        ("text", "address"),
        [
            ("127.0.0.0/8", "127.0.0.1"),
            ("127.0.0.1", "127.0.0.1"),
            ("10.0.0.0/8 172.16.0.0/12", "172.17.0.1"),
            ("::1", "::1"),
            ("fd00::/8", "fd12::1"),
            ("100.64.0.0/10", "100.64.1.1"),
            ("198.18.0.0/15", "198.18.0.1"),
            ("192.0.2.0/24", "192.0.2.1"),
            ("240.0.0.0/4", "240.0.0.1"),
            ("fec0::/10", "fec0::1"),
            ("2001:db8::/32", "2001:db8::1"),
            ("5f00::/16", "5f00::1"),
            ("0.0.0.0/0", "192.168.0.1"),
            ("::/0", "fd00::1"),
            ("64:ff9b::/96", "64:ff9b::8.8.8.8"),
            ("64:ff9b::/96 10.0.0.0/8", "64:ff9b::10.0.0.1"),
        ],
    )
    def test_opens_what_it_lists(self, text: str, address: str) -> None:
        assert AllowList.parse(text).permits(address)
        assert AllowList.parse(text).permits(ip_address(address))

    @pytest.mark.parametrize(
        ("text", "address", "code"),
        [
            ("127.0.0.1", "127.0.0.2", "loopback"),
            ("127.0.0.0/8", "::1", "loopback"),
            ("::/0", "127.0.0.1", "loopback"),
            ("0.0.0.0/0", "::1", "loopback"),
            ("127.0.0.0/8", "::ffff:127.0.0.1", "ipv4-mapped"),
            ("10.0.0.0/8", "11.0.0.1.", "not-an-address"),
            ("10.0.0.0/8", "172.16.0.1", "private"),
            ("fd00::/8", "fd00:ec2::254", "metadata"),
            ("fc00::/7", "fd20:ce::254", "metadata"),
            ("fc00::/7", "fd00:42::42", "metadata"),
            ("fc00::/7", "fd00:100::100:200", "metadata"),
            ("fc00::/7", "fd00:a9fe:a9fe::1", "metadata"),
            ("fc00::/7", "fd00:c1::a9fe:a9fe", "metadata"),
            ("fd00::/8", "fd12::1%eth0", "zone-id"),
            ("::/0", "fe80::1", "link-local"),
            ("100.64.0.0/10", "100.100.100.200", "metadata"),
            ("192.0.0.0/24", "192.0.0.192", "metadata"),
            ("0.0.0.0/0", "0.0.0.0", "unspecified"),
            ("::/0", "::", "unspecified"),
            ("::/0", "64:ff9b::127.0.0.1", "loopback"),
            ("0.0.0.0/0 ::/0", "64:ff9b::169.254.169.254", "metadata"),
            ("0.0.0.0/0 ::/0", "64:ff9b::0.0.0.0", "unspecified"),
            ("10.0.0.0/8", "64:ff9b::10.0.0.1", "nat64"),
        ],
    )
    def test_opens_nothing_else(self, text: str, address: str, code: str) -> None:
        assert AllowList.parse(text).refusal(address) == code

    @pytest.mark.parametrize("address", METADATA.split())
    def test_never_opens_metadata_in_any_spelling(self, address: str) -> None:
        assert not EVERYTHING.permits(address)
        if ":" not in address:
            for prefix in ("::ffff:", "::", "::ffff:0:", "64:ff9b::", "64:ff9b:1::"):
                assert not EVERYTHING.permits(prefix + address)

    @given(st.ip_addresses())
    def test_only_ever_adds_to_what_is_public(self, address: IPv4Address | IPv6Address) -> None:
        assert EVERYTHING.permits(address) >= AllowList().permits(address)
        assert EVERYTHING.permits(address) or classify(address) in NEVER_OPENED | {"nat64"}
