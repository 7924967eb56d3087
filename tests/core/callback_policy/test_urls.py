"""A callback URL is judged by what would be dialed, before anything is."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from reportsim.core.callback_policy import urls as callback_urls
from reportsim.core.callback_policy.addresses import REASONS, SETTING, AllowList
from reportsim.core.callback_policy.urls import (
    LONGEST,
    REFUSED_PORTS,
    CallbackTarget,
    OwnReceiver,
    Refusal,
    check_dial,
    check_url,
)

ALLOWED = r"""
http://example.com
http://example.com/
https://example.com/hooks/1?token=a%20b&x=1
HTTPS://EXAMPLE.COM/Hooks
hTTp://example.com
http://example.com:80/
https://example.com:443/
http://example.com:1024/
https://example.com:8443/
http://example.com:8080/a/../b
http://example.com:65535/
http://example.com./
http://example.com.:8080/
https://sub.domain.example.co.uk/
http://a.b
http://xn--bcher-kva.de/
http://bücher.de/
http://BÜCHER.de/
http://bücher.example.com:8080/ü?ö=ä
http://日本語.jp/
http://münchen.xn--bcher-kva.example/
http://under_score.example.com/
http://_dmarc.example.com/
http://123.example.com/
http://0x7f.example.com/
http://1.2.3.4.example.com/
http://127.0.0.1.nip.io/
http://localhost.example.com/
http://metadata.google.internal/
http://localhost.localdomain/
http://localtest.me/
http://127-0-0-1.sslip.io/
http://kubernetes.default.svc/
http://host.docker.internal:9000/
http://127.0.0.1_/
http://0.example/
http://09.example/
http://xn--zca.example/
http://example.com:80#:22
http://example.com:80?:22
http://example.com/%00
http://example.com/?url=http://169.254.169.254/
http://a-b.example.com/
http://example.com?x=http://127.0.0.1/
http://example.com#@127.0.0.1/
http://example.com/@127.0.0.1
http://example.com/#fragment
http://example.com/?a=[1]&b=@:/
http://example.com/%0d%0aX-Injected:%201
http://example.com/;v=1/'quotes'(and)!*
http://8.8.8.8/
https://1.1.1.1:8443/hook
http://93.184.216.34:3000/
http://168.63.129.17/
http://[2606:4700:4700::1111]/
https://[2606:4700:4700::1111]:8443/x
http://[2606:4700:4700:0:0:0:0:1111]/
http://[2A00:1450:4001:80B::200E]:9000/
"""
REFUSED = r"""
scheme:
    ws://example.com/ wss://example.com/ ftp://example.com/ file:///etc/passwd gopher://example.com:70/_x
    javascript:alert(1) data:text/plain,x mailto:a@example.com example.com //example.com/ /hook
    http:example.com http:/example.com httpss://example.com htp://example.com httpſ://example.com http+unix://%2Fvar%2Frun/x
    tcp://example.com:2375/ unix:///var/run/docker.sock dict://127.0.0.1:11211/ ldap://example.com/ ://example.com
    http;//example.com
    jar:http://example.com!/ view-source:http://example.com/ blob:http://example.com/x about:blank sftp://example.com/
    telnet://example.com/ netdoc:///etc/passwd php://filter/x https+h2://example.com/ ttp://example.com/
    http.//example.com/
backslash:
    http://example.com\@127.0.0.1/ http://example.com\127.0.0.1 http:\\example.com/ http://example.com/a\b
    https://example.com/?a=\
    http:/\example.com/ http:\/\/example.com/ http://\example.com/ http://example.com:8080\@evil.example/
    http://example.com\.evil.example/
userinfo:
    http://user@example.com/ http://user:secret@example.com/ http://@example.com/ http://:@example.com/
    http://example.com@127.0.0.1/ http://example.com:80@127.0.0.1:8080/ http://a@b@example.com/
    http://127.0.0.1%2f@example.com/ http://a%40b@example.com/
    http://:80@example.com/ http://example.com:@127.0.0.1/ http://a:b@c:d@example.com/ http://foo@[::1]/
    http://[::1]@example.com/
percent-in-host:
    http://%31%32%37.0.0.1/ http://example%2ecom/ http://example.com%00.evil.test/ http://exa%mple.com/
    http://127.0.0.1%23.example.com/ http://example.com:80%38/
    http://localhost%2e/ http://localhost%00.example.com/ http://%6cocalhost/ http://127.0.0.1%09/
    http://example.com:8%30/
zone-id:
    http://[fe80::1%25eth0]/ http://[fe80::1%eth0]/ http://[::1%25lo]:8080/ http://[2606:4700::1111%251]/
    http://[::1%00]/ http://[::1]%00/
empty-host:
    http:// https:// http:/// http:///path http://?x=1 http://#x http://:80/ http://:/
    http:////example.com/ https:///example.com/ https://?example.com https://#example.com
bad-host:
    http://[::1 http://::1]/ http://[]/ http://[]:80/ http://[:]/ http://[127.0.0.1]/ http://[example.com]/
    http://[::1]x/ http://[::1]80/ http://x[::1]/ http://[[::1]]/ http://[v1.fe80::a]/ http://[::g]/
    http://[1::2::3]/ http://::1/ http://2606:4700:4700::1111/ http://1:2:3/ http://example.com:80:80/
    http://-a.example.com/ http://a-.example.com/ http://a..b/ http://.example.com/ http://example.com../ http://./
    http://../ http://exa$mple.com/ http://a,b.com/ http://a;b.com/ http://a(b).com/ http://ex'ample.com/
    http://*.example.com/ http://example!.com/ http://a=b.com/ http://a+b.com/ http://example~.com/
    http://"example".com/ http://<example>.com/ http://exa|mple.com/ http://exa^mple.com/ http://{host}.com/
    http://xn--.com/ http://☃℀.com/ http://example.com／path/ http://ex＠ample.com/
    http://example.com：80/
    http://-1/ http://127.0.0.1-/ http://[::1]:80:80/ http://[::1].example.com/ http://[::1]a http://[1:2:3:4:5:6:7]/
    http://[1:2:3:4:5:6:7:8:9]/ http://[::1/64]/ http://[：：1]/ http://xn--localhost-.com/ http://xn--a/
    http://xn--0.example/ http://example.com..:80/ http://example..com/ http://.../ http://example.com&evil.com/
    http://example.com`id`/ http://$(id).example.com/ http://(127.0.0.1)/ http://[127.0.0.1]:80/ http://[0x7f.1]/
folded-host:
    http://１２７.0.0.1/ http://１２７。０。０。１/ http://127。0。0。1/ http://①②⑦.⓪.⓪.①/ http://127.0.0.①/
    http://𝟏𝟐𝟕.𝟎.𝟎.𝟏/ http://ⓔⓧⓐⓜⓟⓛⓔ.com/ http://ｅｘａｍｐｌｅ.com/ http://example。com/ http://bücher。de/
    http://ⓛocalhost/ http://ｌｏｃａｌｈｏｓｔ:8080/ http://Kube.example.com/ http://exampleſ.com/
    http://169。254。169。254/ http://ⓜetadata.google.internal/ http://example.ｃom/ http://1⁶9.254.169.254/
    http://127。1/ http://２１３０７０６４３３/ http://0ⓧ7f.1/ http://⑯⑨。②⑤④。⑯⑨。②⑤④/ http://１０.0.0.1/ http://⒈⒈⒈⒈/
    http://127.0.0.¹/ http://ｌocalhost/ http://localhost。/
numeric-host:
    http://2130706433/ http://0/ http://1/ http://0x7f000001/ http://0x7f.1/ http://0X7F.0.0.1/ http://127.1/
    http://127.0.1/ http://0177.0.0.1/ http://127.0.0.01/ http://127.000.000.001/ http://017700000001/ http://256.1.1.1/
    http://1.2.3.4.5/ http://127.0.0.1./ http://8.8.8.8./ http://example.0x/ http://example.123/ http://a.0xffg.0xff/
    http://3232235777:8080/ http://0xa9fea9fe/ http://0xA9.0xFE.0xA9.0xFE/ http://4294967297/ http://127.0.0.1.2/
    http://0x7f.0x0.0x0.0x1/ http://0177.0.0.01/ http://127.0x0.0.1/ http://0.0/ http://0x0/ http://00/ http://0.0.0/
    http://010.0.0.1/ http://192.168.0.1./ http://192.168.0.257/ http://0xc0a80001/ http://3232235521/
    http://1.1.1.1.1/ http://0o177.0.0.1/ http://٠.0.0.0/ http://017700000001:8080/ http://0251.0376.0251.0376/
    http://2852039166/
localhost:
    http://localhost/ http://LOCALHOST/ http://localhost./ http://localhost:8080/webhook-test/x https://localhost:8443/
    http://app.localhost/ http://a.b.localhost:3000/ http://LocalHost.:80/ http://ü.LOCALHOST/
single-label:
    http://intranet/ http://receiver:9000/ http://metadata/ http://db./ http://xn--bcher-kva/ http://bücher/ http://host_1/
    http://com/ https://kubernetes:6443/
    http://1e9/ http://0b1111/ http://1-1/ http://https/ http://ip6-localhost/
bad-port:
    http://example.com:/ http://example.com:0/ http://example.com:00/ http://example.com:080/ http://example.com:-1/
    http://example.com:+80/ http://example.com:65536/ http://example.com:99999/ http://example.com:8080a/
    http://example.com:0x50/ http://example.com:８０/ http://example.com:٨٠/ http://example.com:8_0/
    http://example.com:100000000000000000000/ http://[2606:4700:4700::1111]:/ http://[2606:4700:4700::1111]:0/
    http://example.com:http/ http://8.8.8.8:/ http://127.0.0.1:0/
    http://http://example.com/ http://example.com:8080;/ http://example.com:80,443/ http://example.com:1e3/
    http://example.com:௮/ http://example.com:4294967376/
port-refused:
    http://example.com:1/ http://example.com:22/ http://example.com:25/ http://example.com:79/ http://example.com:81/
    http://example.com:442/ http://example.com:444/ http://example.com:1023/ http://example.com:2375/
    http://example.com:3306/ http://example.com:5432/ http://example.com:5672/ http://example.com:6000/
    http://example.com:6063/ http://example.com:6379/ http://example.com:6443/ http://example.com:6667/
    http://example.com:9200/ http://example.com:10250/ http://example.com:11211/ http://example.com:27017/
    http://8.8.8.8:6379/ https://[2606:4700:4700::1111]:2379/ https://bücher.de:8500/
    http://example.com:110/ http://example.com:143/ http://example.com:445/ http://example.com:853/
    http://example.com.:22/ http://example.com:1433/ http://example.com:1521/ http://example.com:2049/
    http://example.com:3389/ http://example.com:5900/ http://example.com:8500/ http://example.com:9042/
    http://example.com:9092/ http://example.com:9300/ http://example.com:15672/ http://example.com:27018/
    http://example.com:2376/ http://example.com:10255/ http://example.com:50070/
loopback:
    http://127.0.0.1/ http://127.0.0.1:8080/ http://127.1.2.3/ http://127.255.255.255:9000/ http://[::1]/
    http://[0:0:0:0:0:0:0:1]:8080/ https://127.0.0.1:8443/ http://127.0.0.1?x http://127.0.0.1#example.com
    http://[0000:0000:0000:0000:0000:0000:0000:0001]/
private:
    http://10.0.0.1/ http://172.16.0.1:8080/ http://172.31.255.255/ http://192.168.0.1/ http://[fd12::1]/ http://[FC00::1]/
metadata:
    http://169.254.169.254/latest/meta-data/ http://169.254.170.2/v2/credentials http://168.63.129.16/ http://[fd00:ec2::254]/
    http://100.100.100.200/ http://192.0.0.192/
    http://[fd00:EC2::254]/ http://[fd20:ce::254]/ http://169.254.169.254:8080/
ipv4-mapped:
    http://[::ffff:127.0.0.1]/ http://[::ffff:7f00:1]/ http://[::FFFF:8.8.8.8]/ http://[0:0:0:0:0:ffff:a9fe:a9fe]:8080/
    http://[::ffff:169.254.169.254]/ http://[::ffff:a9fe:a9fe]/ http://[::ffff:0.0.0.0]/
    http://[::ffff:10.0.0.1]:8443/
ipv4-compatible:
    http://[::127.0.0.1]/ http://[::7f00:1]/
    http://[0:0:0:0:0:0:127.0.0.1]/ http://[::a9fe:a9fe]/
nat64:
    http://[64:ff9b::7f00:1]/
    http://[64:ff9b::a9fe:a9fe]/ http://[64:ff9b::10.0.0.1]/
6to4:
    http://[2002:7f00:1::]/ http://192.88.99.1/
teredo:
    http://[2001:0:7f00:1::]/
unspecified:
    http://0.0.0.0/ http://0.0.0.0:8080/ http://[::]/ http://0.1.2.3/
    http://[::0.0.0.0]/ http://0.0.0.0:9000/
link-local:
    http://169.254.0.1/ http://[fe80::1]/
    http://[fe80::1]:9000/ http://169.254.42.42/ http://169.254.169.123/
multicast:
    http://224.0.0.1/ http://[ff02::1]/
cgnat:
    http://100.64.0.1/
broadcast:
    http://255.255.255.255/
reserved:
    http://240.0.0.1/
ipv4-translated:
    http://[::ffff:0:127.0.0.1]/ http://[::ffff:0:a9fe:a9fe]/
nat64-local:
    http://[64:ff9b:1::7f00:1]/
discard:
    http://[100::1]/
orchid:
    http://[2001:20::1]/
protocol-assignments:
    http://192.0.0.8/ http://[2001:1::1]/
documentation:
    http://192.0.2.1/ http://[2001:db8::1]/ http://[3fff::1]/
benchmark:
    http://198.18.0.1/
site-local:
    http://[fec0::1]/
not-global-unicast:
    http://[4000::1]/
"""
BLANKS = ["\t", "\n", "\r", "\x00", "\x0b", "\x1f", " ", "\x7f", "\x80", "\x85", "\x9f", "\xa0", "\xad"]
BLANKS += [
    "\u200b",
    "\u200d",
    "\u200e",
    "\u2028",
    "\u2029",
    "\u202e",
    "\u2060",
    "\u3000",
    "\ufeff",
    "\ud800",
    "\udfff",
]

OWN = (
    OwnReceiver(ip_address("127.0.0.1"), 8080, "/webhook-test/"),
    OwnReceiver(ip_address("::1"), 41234, "/"),
)
OWN_ALLOWED = """
http://127.0.0.1:8080/webhook-test/demo
http://127.0.0.1:8080/webhook-test/demo?script=503,timeout
http://127.0.0.1:8080/webhook-test/demo?next=/../api/sync//x
HTTP://127.0.0.1:8080/webhook-test/a/b#fragment
http://127.0.0.1:8080/webhook-test/my%20inbox
http://127.0.0.1:8080/webhook-test/ü
http://127.0.0.1:8080/webhook-test/a.b..c
http://127.0.0.1:8080/webhook-test/...
http://[::1]:41234/sink
http://[0:0:0:0:0:0:0:1]:41234/any/path
"""
OWN_REFUSED = r"""
own-route:
    http://127.0.0.1:8080 http://127.0.0.1:8080/ http://127.0.0.1:8080/api/sync http://127.0.0.1:8080/api/benchmark/both
    http://127.0.0.1:8080/webhook-test http://127.0.0.1:8080/webhook-testing/x http://127.0.0.1:8080/Webhook-Test/x
    http://127.0.0.1:8080?/webhook-test/ http://127.0.0.1:8080#/webhook-test/ http://127.0.0.1:8080//webhook-test/x
    http://127.0.0.1:8080/webhook-test/../api/sync http://127.0.0.1:8080/webhook-test/./x
    http://127.0.0.1:8080/webhook-test/.. http://127.0.0.1:8080/webhook-test/a/../../api/sync
    http://127.0.0.1:8080/webhook-test/%2e%2e/api/sync http://127.0.0.1:8080/webhook-test/.%2E/api/sync
    http://127.0.0.1:8080/webhook-test/%2E./api/sync http://127.0.0.1:8080/webhook-test/a%2f..%2fapi
    http://127.0.0.1:8080/webhook-test/..%2Fapi http://127.0.0.1:8080/webhook-test/..%5Capi
    http://127.0.0.1:8080/webhook-test/%252e%252e/api http://127.0.0.1:8080/webhook-test//x
    http://127.0.0.1:8080/webhook-test/%00 http://127.0.0.1:8080/%77ebhook-test/x http://127.0.0.1:8080/api/../webhook-test/x
    http://127.0.0.1:8080/./webhook-test/x https://127.0.0.1:8080/webhook-test/x http://127.0.0.2:8080/webhook-test/x
    http://[::1]:8080/webhook-test/x http://127.0.0.1:41234/sink https://[::1]:41234/sink http://[::1]:41234/../x
loopback:
    http://127.0.0.1/webhook-test/x http://127.0.0.1:8081/webhook-test/x http://[::1]:41235/sink
localhost:
    http://localhost:8080/webhook-test/x
ipv4-mapped:
    http://[::ffff:127.0.0.1]:8080/webhook-test/x
unspecified:
    http://0.0.0.0:8080/webhook-test/x http://[::]:8080/webhook-test/x
numeric-host:
    http://127.1:8080/webhook-test/x http://2130706433:8080/webhook-test/x http://127.0.0.1.:8080/webhook-test/x
userinfo:
    http://a@127.0.0.1:8080/webhook-test/x
backslash:
    http://127.0.0.1:8080/webhook-test/..\api
"""


def table(text: str) -> list[tuple[str, str]]:
    reason, cases = "", []
    for line in text.splitlines():
        if line[:1].isspace():
            cases += [(url, reason) for url in line.split()]
        else:
            reason = line.removesuffix(":")
    return cases


def accepted(url: str, allow: str = "", own: tuple[OwnReceiver, ...] = ()) -> CallbackTarget:
    target = check_url(url, AllowList.parse(allow), own)
    assert isinstance(target, CallbackTarget), target
    return target


def refused(url: str, allow: str = "", own: tuple[OwnReceiver, ...] = ()) -> Refusal:
    refusal = check_url(url, AllowList.parse(allow), own)
    assert isinstance(refusal, Refusal), refusal
    return refusal


def test_the_tables_are_large() -> None:
    urls = {*ALLOWED.split(), *(url for url, _ in table(REFUSED) + table(OWN_REFUSED))}
    assert len(urls) >= 400


@pytest.mark.parametrize("url", ALLOWED.split())
def test_a_public_receiver_is_accepted_as_typed(url: str) -> None:
    target = accepted(url)
    dialed = URL(url)
    assert (target.scheme, target.host, target.port) == (
        dialed.scheme,
        (dialed.raw_host or "").rstrip("."),
        dialed.port,
    )
    assert not target.own


@pytest.mark.parametrize(("url", "reason"), table(REFUSED))
def test_any_other_url_is_refused_with_its_reason(url: str, reason: str) -> None:
    refusal = refused(url)
    assert refusal.reason == reason
    assert refusal.detail.endswith(".")
    assert "secret" not in refusal.detail


@pytest.mark.parametrize(("url", "reason"), table(REFUSED))
def test_opening_every_network_opens_private_addresses_and_local_names_only(url: str, reason: str) -> None:
    verdict = check_url(url, AllowList.parse("0.0.0.0/0,::/0"))
    opened = {"loopback", "private", "cgnat", "reserved", "documentation", "benchmark", "site-local"}
    opened |= {"discard", "orchid", "protocol-assignments", "not-global-unicast"}
    if reason in opened:
        assert isinstance(verdict, CallbackTarget)
    elif reason == "nat64":
        assert isinstance(verdict, CallbackTarget) or verdict.reason == "metadata"
    elif reason == "localhost":
        assert isinstance(verdict, CallbackTarget) == ((URL(url).host or "").rstrip(".") == "localhost")
    elif reason == "single-label":
        assert isinstance(verdict, CallbackTarget) or verdict.reason == "port-refused"
    else:
        assert isinstance(verdict, Refusal)


@pytest.mark.parametrize("blank", BLANKS, ids=ascii)
@pytest.mark.parametrize(
    "url",
    ["{}http://example.com/", "http://1{}27.0.0.1/", "http://example.com/a{}b", "http://example.com/{}"],
)
def test_blanks_and_invisible_characters_are_refused_everywhere(url: str, blank: str) -> None:
    assert refused(url.format(blank)).reason == "forbidden-character"


def test_a_url_has_2048_characters_at_most() -> None:
    url = "http://example.com/".ljust(LONGEST, "x")
    assert accepted(url).port == 80
    assert refused(url + "x").reason == "too-long"


@pytest.mark.parametrize("filler", ["\u3164", "\uffa0", "\u115f", "\ufe0f", "\u034f"])
def test_a_character_that_idna_would_delete_is_refused(filler: str) -> None:
    assert refused(f"http://exam{filler}ple.com/").reason in ("bad-host", "folded-host")


def test_a_parser_that_reads_another_address_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callback_urls, "URL", lambda text: URL("http://127.0.0.1/"))
    assert refused("http://8.8.8.8/").reason == "folded-host"
    assert refused("http://example.com/").reason == "folded-host"


def test_labels_and_names_have_the_lengths_of_dns() -> None:
    assert accepted(f"http://{'a' * 63}.com/").port == 80
    assert refused(f"http://{'a' * 64}.com/").reason == "bad-host"
    assert len(accepted(f"http://{'a.' * 125}com/").host) == 253
    assert refused(f"http://{'a.' * 126}com/").reason == "bad-host"
    assert refused(f"http://{'ü' * 60}.com/").reason == "bad-host"
    assert refused(f"http://{'ü.' * 900}com/").reason == "bad-host"


def test_the_target_says_what_will_be_dialed() -> None:
    target = accepted("HTTPS://Bücher.Example.:8443/a?b=c#d")
    assert target.host == "xn--bcher-kva.example"
    assert target.port == 8443
    assert target.address is None
    assert target.origin == "https://xn--bcher-kva.example:8443"
    assert target.netloc == "xn--bcher-kva.example:8443"
    assert target.resource == "/a?b=c"


AS_TYPED = r"""
/x?sp=%2Ftriggers%2Fmanual%2Frun&u=https%3A%2F%2Fh.example%2Fa%3Fb%3Dc%26d
/%40%3a%3A%2C%21%28%29%7E%7e%c3%A4%C3%a4%41%61%20%25%2525%zz%
/a/../b/./c/..//d/.;x=1/%2e%2E/%2f
/?
/x?
/x??
/x?&&a=&=b&a
/X/Hooks?Sig=aB%2b+%2F==
/a;b=c,d!$'()*~:@[]|^`{}<>"
/x?a=[1]&b={2}|^`<>"
"""


@pytest.mark.parametrize("resource", AS_TYPED.split())
@pytest.mark.parametrize("host", ["example.com", "EXAMPLE.com:8080", "bücher.example", "[2606:4700:4700::1111]:443"])
def test_path_and_query_are_called_as_typed(host: str, resource: str) -> None:
    assert accepted(f"https://{host}{resource}").resource == resource
    assert accepted(f"https://{host}{resource}#frag/ment?#x").resource == resource


@pytest.mark.parametrize(
    ("typed", "resource"),
    [("", "/"), ("#f", "/"), ("?a=/b", "/?a=/b"), ("?", "/?"), ("/ä/%C3%a4?ö=日", "/%C3%A4/%C3%a4?%C3%B6=%E6%97%A5")],
)
def test_a_request_line_has_a_path_and_is_ascii(typed: str, resource: str) -> None:
    assert accepted(f"http://example.com{typed}").resource == resource


@pytest.mark.parametrize(
    ("url", "netloc"),
    [
        ("http://Example.com:80/", "example.com"),
        ("https://example.com:443/", "example.com"),
        ("https://example.com:80/", "example.com:80"),
        ("http://example.com:443/", "example.com:443"),
        ("http://[2606:4700:4700:0:0:0:0:1111]:8080/", "[2606:4700:4700::1111]:8080"),
    ],
)
def test_the_host_header_names_the_port_unless_the_scheme_does(url: str, netloc: str) -> None:
    assert accepted(url).netloc == netloc


def test_a_literal_is_known_before_any_network() -> None:
    target = accepted("http://[2606:4700:4700:0:0:0:0:1111]/")
    assert target.address == ip_address("2606:4700:4700::1111")
    assert target.origin == "http://[2606:4700:4700::1111]:80"


@pytest.mark.parametrize(
    ("url", "allow"),
    [
        ("http://127.0.0.1:9000/", "127.0.0.0/8"),
        ("http://127.0.0.1/", "127.0.0.1"),
        ("http://[::1]:9000/", "::1"),
        ("http://10.1.2.3:8443/", "10.0.0.0/8"),
        ("http://receiver:9000/", "172.16.0.0/12"),
        ("http://bücher:9000/", "172.16.0.0/12"),
        ("http://[64:ff9b::808:808]/", "64:ff9b::/96"),
    ],
)
def test_an_opened_network_may_be_called(url: str, allow: str) -> None:
    assert not accepted(url, allow).own
    assert refused(url).reason


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:5432/", "port-refused"),
        ("http://127.0.0.1:22/", "port-refused"),
        ("http://127.0.0.1:6379/", "port-refused"),
        ("http://127.0.0.1:0/", "bad-port"),
        ("http://10.0.0.1:9000/", "private"),
        ("http://app.localhost:9000/", "localhost"),
        ("http://localhost:22/", "port-refused"),
        ("http://[::ffff:127.0.0.1]:9000/", "ipv4-mapped"),
        ("http://127.1:9000/", "numeric-host"),
    ],
)
def test_an_opened_network_opens_neither_service_ports_nor_other_spellings(url: str, reason: str) -> None:
    assert refused(url, "127.0.0.0/8").reason == reason


@pytest.mark.parametrize(
    ("networks", "address"), [("127.0.0.0/8", "127.0.0.1"), ("::1", "::1"), ("::1/128,127.0.0.1", "127.0.0.1")]
)
def test_localhost_is_the_loopback_address_that_is_opened(networks: str, address: str) -> None:
    target = check_url("http://LocalHost:9000/x", AllowList.parse(networks))
    assert target == CallbackTarget("http", "localhost", 9000, "/x", ip_address(address))
    assert refused("http://localhost:9000/", "10.0.0.0/8").reason == "localhost"


def test_a_refusal_has_the_command_that_opens() -> None:
    assert f"{SETTING}=127.0.0.1 make run" in refused("http://127.0.0.1:9000/").detail
    assert f"{SETTING}=127.0.0.0/8 make run" in refused("http://localhost:9000/").detail


@pytest.mark.parametrize("url", ["http://10.0.0.1/", "http://127.0.0.1:9000/", "http://localhost/", "http://intranet/"])
def test_a_refusal_names_the_setting_that_opens(url: str) -> None:
    assert SETTING in refused(url).detail


@pytest.mark.parametrize("url", ["http://169.254.169.254/", "http://[::ffff:10.0.0.1]/", "http://0.0.0.0/"])
def test_a_refusal_that_no_setting_changes_names_none(url: str) -> None:
    assert SETTING not in refused(url).detail
    assert "never" in refused(url).detail


@pytest.mark.parametrize("port", [*range(6000, 6064), 1433, 2049, 2181, 3389, 5900, 8088, 9092, 50070])
def test_service_ports_are_listed(port: int) -> None:
    assert port in REFUSED_PORTS
    assert refused(f"http://example.com:{port}/").reason == "port-refused"


@pytest.mark.parametrize("port", [1024, 3000, 4000, 5000, 5173, 7000, 8000, 8080, 8081, 8123, 8443, 8888, 9000, 65_535])
def test_ports_of_web_servers_are_open(port: int) -> None:
    assert accepted(f"http://example.com:{port}/").port == port


def test_listed_ports_are_those_that_the_range_would_open() -> None:
    assert all(1024 <= port <= 65_535 for port in REFUSED_PORTS)


class TestOwnReceiver:
    @pytest.mark.parametrize("url", OWN_ALLOWED.split())
    def test_its_paths_are_accepted_at_its_exact_origin(self, url: str) -> None:
        target = accepted(url, own=OWN)
        assert target.own
        assert target.address is not None
        assert check_dial(target.address, target.port, target, AllowList(), OWN) is None

    @pytest.mark.parametrize(("url", "reason"), table(OWN_REFUSED))
    def test_everything_else_of_it_is_refused(self, url: str, reason: str) -> None:
        assert refused(url, own=OWN).reason == reason

    @pytest.mark.parametrize(
        ("url", "reason"), [case for case in table(OWN_REFUSED) if case[1] not in {"loopback", "localhost"}]
    )
    def test_an_opened_loopback_opens_no_other_route(self, url: str, reason: str) -> None:
        assert refused(url, "127.0.0.0/8 ::1", OWN).reason == reason

    def test_localhost_is_the_receiver_where_loopback_is_opened(self) -> None:
        assert accepted("http://localhost:8080/webhook-test/x", "127.0.0.0/8", OWN).own
        assert refused("http://localhost:8080/api/sync", "127.0.0.0/8", OWN).reason == "own-route"

    def test_an_opened_loopback_opens_other_ports(self) -> None:
        assert not accepted("http://127.0.0.1:8081/api/sync", "127.0.0.0/8", OWN).own

    def test_is_refused_once_it_is_gone(self) -> None:
        url = "http://127.0.0.1:8080/webhook-test/x"
        target = accepted(url, own=OWN)
        assert refused(url).reason == "loopback"
        refusal = check_dial("127.0.0.1", 8080, target, AllowList(), ())
        assert refusal is not None
        assert refusal.reason == "loopback"

    def test_may_listen_on_a_private_address_and_any_port(self) -> None:
        own = (OwnReceiver(ip_address("10.0.0.5"), 6379, "/in/", "https"),)
        assert accepted("https://10.0.0.5:6379/in/x", own=own).own
        assert refused("https://10.0.0.5:6379/out", "10.0.0.0/8", own).reason == "own-route"
        assert not accepted("https://10.0.0.6:8443/out", "10.0.0.0/8", own).own

    def test_is_named_where_it_helps(self) -> None:
        for url in ("http://localhost:8080/webhook-test/x", "http://127.0.0.1:8080/api/sync"):
            assert "http://127.0.0.1:8080/webhook-test/" in refused(url, own=OWN).detail

    @pytest.mark.parametrize("prefix", ["", "webhook-test/", "/webhook-test"])
    def test_a_prefix_ends_where_a_path_segment_ends(self, prefix: str) -> None:
        with pytest.raises(ValueError, match="slash"):
            OwnReceiver(ip_address("127.0.0.1"), 8080, prefix)

    def test_writes_an_ipv6_address_in_brackets(self) -> None:
        assert str(OWN[1]) == "http://[::1]:41234/"


# Names that anyone may type, and where they lead to: decided when they are dialed.
LEADS_TO = """
http://localhost.localdomain/               127.0.0.1                       loopback
http://localtest.me/                        93.184.216.34,127.0.0.1         loopback
http://127-0-0-1.sslip.io/                  127.0.0.1                       loopback
http://127.0.0.1.nip.io/                    127.0.0.1,::1                   loopback
http://ip6.localhost.example.com/           ::1                             loopback
http://metadata.google.internal/            169.254.169.254                 metadata
http://instance-data.ec2.internal/          fd00:ec2::254                   metadata
http://wire.example.com/                    168.63.129.16                   metadata
http://kubernetes.default.svc/              10.96.0.1                       private
http://host.docker.internal:9000/           192.168.65.2                    private
http://tailnet.example.com/                 100.100.1.1                     cgnat
http://printer.local/                       169.254.9.9                     link-local
http://printer6.local/                      fe80::1%eth0                    zone-id
http://dns64.example.com/                   64:ff9b::a00:1                  nat64
http://mapped.example.com/                  ::ffff:10.0.0.1                 ipv4-mapped
http://zero.example.com/                    0.0.0.0                         unspecified
http://mixed.example.com/                   2606:4700::1,93.184.216.34,::   unspecified
http://six-to-four.example.com/             2002:a00:1::                    6to4
http://teredo.example.com/                  2001:0:a00:1::                  teredo
http://broadcast.example.com/               255.255.255.255                 broadcast
"""


@pytest.mark.parametrize("case", LEADS_TO.strip().splitlines(), ids=lambda case: case.split()[0])
def test_a_name_is_refused_for_any_address_that_it_leads_to(case: str) -> None:
    url, addresses, reason = case.split()
    target = accepted(url)
    refusals = [check_dial(address, target.port, target, AllowList(), OWN) for address in addresses.split(",")]
    assert [refusal.reason for refusal in refusals if refusal] == [reason] * len([each for each in refusals if each])
    assert any(refusals)


class TestDialing:
    @pytest.mark.parametrize("address", ["93.184.216.34", "2606:4700:4700::1111"])
    def test_a_name_may_lead_to_any_public_address(self, address: str) -> None:
        assert check_dial(address, 443, accepted("https://example.com/"), AllowList(), OWN) is None

    @pytest.mark.parametrize(
        ("address", "reason"),
        [
            ("127.0.0.1", "loopback"),
            ("10.0.0.1", "private"),
            ("169.254.169.254", "metadata"),
            ("::ffff:127.0.0.1", "ipv4-mapped"),
            ("64:ff9b::7f00:1", "nat64"),
            ("fe80::1%eth0", "zone-id"),
            ("not an address", "not-an-address"),
            ("", "not-an-address"),
        ],
    )
    def test_a_name_that_leads_inside_is_refused(self, address: str, reason: str) -> None:
        refusal = check_dial(address, 443, accepted("https://example.com/"), AllowList(), OWN)
        assert refusal is not None
        assert refusal.reason == reason

    def test_a_name_may_lead_to_an_opened_network(self) -> None:
        allow = AllowList.parse("172.16.0.0/12")
        assert check_dial("172.17.0.2", 9000, accepted("http://receiver:9000/", "172.16.0.0/12"), allow, OWN) is None

    @pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2", "::1"])
    def test_a_name_never_leads_to_this_service_even_when_loopback_is_opened(self, address: str) -> None:
        allow = AllowList.parse("127.0.0.0/8 ::1")
        refusal = check_dial(address, 8080, accepted("http://evil.test:8080/webhook-test/x"), allow, OWN)
        assert refusal is not None
        assert refusal.reason == "own-route"

    @pytest.mark.parametrize(("address", "port"), [("8.8.4.4", 80), ("8.8.8.8", 8080), ("127.0.0.1", 80)])
    def test_a_literal_leads_nowhere_else(self, address: str, port: int) -> None:
        refusal = check_dial(address, port, accepted("http://8.8.8.8/"), AllowList(), OWN)
        assert refusal is not None
        assert refusal.reason == "not-the-target"

    def test_an_own_target_leads_nowhere_else(self) -> None:
        target = accepted("http://127.0.0.1:8080/webhook-test/x", own=OWN)
        for address, port in (("127.0.0.2", 8080), ("127.0.0.1", 8081), ("8.8.8.8", 8080), ("::1", 8080)):
            assert check_dial(address, port, target, AllowList.parse("127.0.0.0/8 ::1"), OWN) is not None


PIECES = r"""
    http https :// // / : @ [ ] % %2e %25 ? # \ . .. 127.0.0.1 ::1 0x7f localhost example.com xn-- xn--a
    80 - _ * bücher ß İ K ﬁ ℀ ﷺ ᄀ א ① 。 ８０ ٠.
"""
ODD = st.sampled_from([*PIECES.split(), "\u0300", "\u0660", "\u1806"])


@given(st.text() | st.text(max_size=20).map("http://{}/".format) | st.lists(ODD, max_size=12).map("".join))
def test_no_text_raises_and_what_is_accepted_is_what_was_typed(text: str) -> None:
    verify(text)


@given(st.lists(ODD, max_size=6).map("".join), st.sampled_from(["", ":80", ":8080"]))
def test_no_authority_raises_and_what_is_accepted_is_what_was_typed(host: str, port: str) -> None:
    verify(f"http://{host}{port}/")


def verify(text: str) -> None:
    verdict = check_url(text, AllowList(), OWN)
    if isinstance(verdict, Refusal):
        assert verdict.detail
        return
    dialed = URL(text)
    assert dialed.scheme in ("http", "https")
    assert (dialed.raw_host or "").isascii()
    assert (dialed.user, dialed.password) == (None, None)
    assert verdict.port == dialed.port
    assert verdict.own or verdict.address is None or AllowList().permits(verdict.address)
    if verdict.address is None:
        assert not verdict.host.rpartition(".")[2].isdigit()


def test_address_reasons_and_url_reasons_do_not_collide() -> None:
    of_urls = {reason for _, reason in table(REFUSED) + table(OWN_REFUSED)} - REASONS.keys()
    assert of_urls == {
        *("scheme", "backslash", "userinfo", "percent-in-host", "empty-host", "bad-host", "folded-host"),
        *("numeric-host", "localhost", "single-label", "bad-port", "port-refused", "own-route"),
    }
