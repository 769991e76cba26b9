"""Which header fields cross the proxy: what is hop-by-hop stays behind, what names somebody is never forged."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.extract.header_name import fold
from sidecar.http.headers import HeaderRules, connection_options, encode_fields, upgrade_options

FORWARDED = [(b"X-Forwarded-For", b"10.0.0.1"), (b"X-Forwarded-Proto", b"http"), (b"X-Forwarded-Host", b"h")]
HOST = (b"Host", b"h")


def request(*fields, rules=None, trusted=False, upgrade=False, peer="10.0.0.1"):
    """Give the fields of a request as the upstream gets them, `Host` first."""
    rules = rules or HeaderRules()
    return list(rules.request_fields([HOST, *fields], peer=peer, trusted=trusted, upgrade=upgrade))


def response(*fields, rules=None, upgrade=False):
    return (rules or HeaderRules()).response_fields(list(fields), upgrade=upgrade)


def test_order_duplicates_and_case_are_kept():
    """End-to-end fields are passed on in their order, with duplicates and letter case."""
    fields = [(b"X-B", b"1"), (b"x-a", b"2"), (b"X-B", b"3"), (b"ACCEPT", b"*/*"), (b"Cookie", b"a"), (b"cookie", b"b")]
    assert request(*fields) == [HOST, *fields, *FORWARDED]
    assert response(*fields) == fields


@pytest.mark.parametrize(
    "name",
    [
        b"Connection", b"Keep-Alive", b"Proxy-Connection", b"TE", b"Trailer", b"Upgrade", b"HTTP2-Settings",
        b"kEEP-aLIVE",
    ],
)  # fmt: skip
def test_hop_by_hop_fields_do_not_pass(name):
    """Hop-by-hop fields are removed in both directions."""
    assert request((name, b"x")) == [HOST, *FORWARDED]
    assert response((name, b"x"), (b"X-A", b"1")) == [(b"X-A", b"1")]


@pytest.mark.parametrize("name", [b"Proxy-Authorization", b"proxy-authenticate"])
def test_proxy_credentials_pass(name):
    """`Proxy-Authorization` and its challenge are passed on (RFC 9110, section 11.7)."""
    assert request((name, b"x")) == [HOST, (name, b"x"), *FORWARDED]
    assert response((name, b"x")) == [(name, b"x")]


@pytest.mark.parametrize(
    "name",
    [b"Content_Length", b"Content.Length", b"Transfer_Encoding", b"Transfer!Encoding", b"CONTENT_Type"],
)
def test_look_alikes_of_the_fields_that_frame_a_body_do_not_pass(name):
    """A field that a careless server takes for `Content-Length` or `Transfer-Encoding` is removed."""
    assert request((b"Content-Length", b"5"), (name, b"0")) == [HOST, (b"Content-Length", b"5"), *FORWARDED]
    assert response((name, b"0")) == [(name, b"0")]


def test_nominated_fields_do_not_pass():
    """A field that `Connection` names is removed, however the option is written."""
    fields = [(b"X-Hop", b"1"), (b"Connection", b"close, x-HOP ,,"), (b"connection", b"\tx-other"), (b"X-Other", b"2")]
    assert request(*fields) == [HOST, *FORWARDED]
    assert response(*fields) == []


@pytest.mark.parametrize(
    "name", [b"Host", b"Content-Length", b"Content-Type", b"Content-Encoding", b"X-User", b"X-Forwarded-For"]
)
def test_some_fields_cannot_be_nominated_away(name):
    """`Connection` cannot remove fields that say how the body is read, who asks, and from where."""
    rules = HeaderRules(user_header="X-User")
    fields = [(b"Content-Length", b"1"), (b"Content-Type", b"a/b"), (b"Content-Encoding", b"gzip"), (b"X-User", b"ann")]
    assert request((b"Connection", name), *fields, rules=rules) == [HOST, *fields, *FORWARDED]


@pytest.mark.parametrize("name", [b"Content-Length", b"content-TYPE", b"Content-Encoding"])
def test_what_tells_how_an_answer_is_read_cannot_be_nominated_away(name):
    """`Connection` in a response cannot remove the fields that say how it is read."""
    assert response((b"Connection", name), (name, b"1"), (b"X-A", b"2")) == [(name, b"1"), (b"X-A", b"2")]


def test_an_answer_is_no_upgrade_unless_it_says_so():
    """`Upgrade` in a response that is no upgrade is removed."""
    assert HeaderRules().response_fields([(b"Upgrade", b"websocket"), (b"X-A", b"1")]) == [(b"X-A", b"1")]


@pytest.mark.parametrize("name", [b"X-Sidecar-Session", b"x-sidecar-reason", b"X_Sidecar_Session", b"x.SIDECAR-any"])
def test_our_own_fields_come_from_nobody_else(name):
    """The sidecar's own fields are removed in each spelling, in both directions."""
    assert request((name, b"known")) == [HOST, *FORWARDED]
    assert response((name, b"known")) == []


@pytest.mark.parametrize("name", [b"X_User_Id", b"x.user.id", b"X-User_Id", b"X!User!Id"])
def test_look_alikes_of_the_user_header_do_not_pass(name):
    """A look-alike of the user header is removed where one is configured, and the header itself is passed on."""
    rules = HeaderRules(user_header="X-User-Id")
    assert request((name, b"eve"), (b"x-USER-id", b"ann"), rules=rules) == [HOST, (b"x-USER-id", b"ann"), *FORWARDED]
    assert request((name, b"eve")) == [HOST, (name, b"eve"), *FORWARDED]


def test_forwarding_fields_of_strangers_are_replaced():
    """`X-Forwarded-*` of an untrusted address is replaced, and its look-alikes are removed."""
    lies = [(b"X-Forwarded-For", b"1.1.1.1"), (b"x-forwarded-proto", b"https"), (b"X-Forwarded-Host", b"evil")]
    assert request(*lies, (b"X_Forwarded_For", b"2.2.2.2")) == [HOST, *FORWARDED]


def test_forwarding_fields_of_trusted_proxies_are_extended():
    """`X-Forwarded-For` of a trusted proxy is extended by its address; protocol and host are kept."""
    said = [
        (b"X-Forwarded-For", b"1.1.1.1, 2.2.2.2"),
        (b"X-Forwarded-Proto", b"https"),
        (b"X-Forwarded-Host", b"public"),
        (b"x-forwarded-for", b"3.3.3.3"),
    ]
    assert request(*said, trusted=True) == [
        HOST,
        (b"X-Forwarded-For", b"1.1.1.1, 2.2.2.2, 3.3.3.3, 10.0.0.1"),
        (b"X-Forwarded-Proto", b"https"),
        (b"X-Forwarded-Host", b"public"),
    ]
    assert request(trusted=True) == [HOST, *FORWARDED]


def test_without_address_or_host_nothing_is_made_up():
    """No `X-Forwarded-*` is added where the address or the host is not known."""
    fields = HeaderRules().request_fields([], peer=None, trusted=False, upgrade=False)
    assert list(fields) == [(b"X-Forwarded-For", b"unknown"), (b"X-Forwarded-Proto", b"http")]
    fields = HeaderRules().request_fields([], peer=None, trusted=True, upgrade=False)
    assert list(fields) == [(b"X-Forwarded-For", b"unknown"), (b"X-Forwarded-Proto", b"http")]


@pytest.mark.parametrize(
    ("peer", "trusted"),
    [
        ("10.1.2.3", True),
        ("11.1.2.3", False),
        ("::ffff:10.1.2.3", True),
        ("fe80::1%eth0", True),
        ("fe81::1", False),
        (None, False),
    ],
)
def test_only_the_named_networks_are_trusted(peer, trusted):
    """An address is trusted in the configured networks alone, also as IPv4 in IPv6, or with a zone."""
    networks = [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fe80::/64")]
    assert HeaderRules(trusted=networks).trusts(peer) == trusted
    assert not HeaderRules().trusts(peer)


def test_an_upgrade_passes_where_it_may():
    """An upgrade and its answer are passed on with their connection option."""
    asked = [(b"Connection", b"keep-alive, Upgrade"), (b"Upgrade", b"h2c, websocket"), (b"Sec-WebSocket-Key", b"x")]
    assert request(*asked, upgrade=True) == [
        HOST,
        (b"Sec-WebSocket-Key", b"x"),
        (b"Upgrade", b"websocket"),
        (b"Connection", b"Upgrade"),
        *FORWARDED,
    ]
    assert response((b"X-A", b"1"), (b"Upgrade", b"websocket"), (b"Connection", b"upgrade"), upgrade=True) == [
        (b"X-A", b"1"),
        (b"Upgrade", b"websocket"),
        (b"Connection", b"Upgrade"),
    ]


def test_of_several_protocols_only_http_2_is_left_out():
    """HTTP/2 is removed from the protocols offered, and the others stay in their order."""
    asked = [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket,\th2c , other/1")]
    assert (b"Upgrade", b"websocket, other/1") in request(*asked, upgrade=True)


def test_transfer_coding_stays_where_it_was():
    """`Transfer-Encoding` is passed on in both directions, in its place."""
    coding = (b"Transfer-Encoding", b"chunked")
    assert request(coding, (b"X-A", b"1")) == [HOST, coding, (b"X-A", b"1"), *FORWARDED]
    assert response(coding, (b"X-A", b"1")) == [coding, (b"X-A", b"1")]


@given(
    st.lists(st.tuples(st.sampled_from([b"X-A", b"x-a", b"X_A", b"Connection", b"X-Sidecar-A", b"TE"]), st.binary()))
)
def test_what_is_remembered_of_names_changes_nothing(fields):
    """A remembered name gives the same result as a new one."""
    rules = HeaderRules(user_header="X-A")
    assert request(*fields, rules=rules) == request(*fields, rules=rules)
    assert response(*fields, rules=rules) == response(*fields, rules=rules)


def test_memory_of_names_is_bounded():
    """The number of remembered names is bounded."""
    rules = HeaderRules()
    for number in range(10_000):
        request((b"X-%d" % number, b""), rules=rules)
        response((b"X-%d" % number, b""), rules=rules)
    assert request((b"X-1", b""), (b"X-9999", b""), (b"TE", b""), rules=rules) == [
        HOST,
        (b"X-1", b""),
        (b"X-9999", b""),
        *FORWARDED,
    ]
    assert response((b"X-9999", b""), (b"X-Sidecar-9", b""), rules=rules) == [(b"X-9999", b"")]


@given(st.text(st.characters(codec="ascii", categories=["Lu", "Ll", "Nd"]), min_size=1))
def test_folding_forgets_case_and_punctuation(name):
    """Folding ignores letter case and punctuation, and nothing else."""
    assert fold(name.swapcase().encode()) == fold(name.encode()) == name.lower().encode()
    assert fold(f"{name}_{name}.{name}".encode()) == fold(f"{name}-{name}-{name}".encode())


def test_lists_are_read_as_lists():
    """A list is split with empty members and white space."""
    assert connection_options([b"a, B ,,", b"c"]) == {b"a", b"b", b"c", b""}
    assert upgrade_options(b" H2C , websocket,") == [b"websocket"]


def test_fields_are_written_one_a_line():
    """Each field is written on a line of its own."""
    assert encode_fields([(b"A", b"b"), (b"c", b"")]) == b"A: b\r\nc: \r\n"
