"""REST requests by the `isa` profile: what they refer to, and why some are refused."""

from __future__ import annotations

import json

import pytest

from sidecar.core.model import Call, Kind, Plan, Reading, Reason, Reference, Refuse, Shape
from tests.support.reading import (
    JSON,
    MULTIPART,
    STORE,
    URLENCODED,
    fields,
    found,
    head,
    multipart,
    only,
    read,
    reader,
    reason,
    refused,
)

BOTH = {"session_id": "s1", "user_id": "u1"}
REFERENCE = Reference("s1", "u1", Kind.ENSURE, ())
UPGRADE = (b"upgrade", b"websocket")
SUMMARIZE = "/api/v1/memories/session/s1/summarize"
UUID = "550e8400-e29b-41d4-a716-446655440000"


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS", "get", "PROPFIND"])
@pytest.mark.parametrize("target", [STORE, "/mcp", "/api/v1/memories/../x", SUMMARIZE])
def test_reads_and_deletions_are_never_looked_at(method: str, target: str) -> None:
    """Only methods that write are guarded."""
    assert reader().plan(head(method, target)) is None


@pytest.mark.parametrize(
    "target", ["/", "/health", "/api/v1/memory", "/api/v1/memoriesx", "/api/v1", "*", "/docs?session_id=a"]
)
def test_other_paths_are_never_looked_at(target: str) -> None:
    """Everything outside the prefixes streams through."""
    assert reader().plan(head("POST", target)) is None


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "post"])
@pytest.mark.parametrize(
    "target",
    [STORE, "/api/v1/memories", "/api/v1/memories/", "/api/v1/memories/factual/1", SUMMARIZE, "/API/V1/Memories/x",
    "/api/v1/memories/%73"],
)  # fmt: skip
def test_writes_under_the_prefix_are_read(method: str, target: str) -> None:
    """By what they carry, whatever their exact route."""
    assert reader().plan(head(method, target)) == Plan(Shape.REST, needs_body=True)


def test_a_plan_is_the_same_the_second_time() -> None:
    """Paths are remembered, and remembering changes nothing."""
    one = reader()
    for _ in range(2):
        assert one.plan(head("POST", STORE)) == Plan(Shape.REST, needs_body=True)
        assert one.plan(head("GET", STORE)) is None
        assert one.plan(head("POST", "/x")) is None
        assert isinstance(one.plan(head("POST", STORE + "/..")), Reading)


def test_what_is_remembered_has_an_end() -> None:
    """However many paths there are, memory does not grow with them."""
    one = reader()
    for number in range(5000):
        assert one.plan(head("POST", f"/api/v1/memories/session/s{number}/summarize")) is not None
    assert one.plan(head("POST", "/api/v1/memories/" + "x" * 300)) is not None
    assert 0 < len(one._router._remembered) <= 4096
    assert all(len(path) <= 256 for _, path in one._router._remembered)


@pytest.mark.parametrize(
    "body",
    [
        BOTH,
        {"context": {"session_id": "s1"}, "user_id": "u1"},
        {"context": {"session_id": "s1", "user_id": "u1"}},
        {**BOTH, "context": {"session_id": "s1", "user_id": "u1"}},
        {**BOTH, "context": None},
        {**BOTH, "context": {}},
        {**BOTH, "context": "text"},
        {**BOTH, "context": {"session_id": None, "user_id": None}},
        {**BOTH, "message_content": '你好 "session_id": "x"'},
    ],
)
def test_json_names_session_and_user(body: object) -> None:
    """At the top level or in the context, as often as they agree."""
    assert found(body, JSON) == REFERENCE
    assert found(json.dumps(body, ensure_ascii=False).encode(), JSON) == REFERENCE


@pytest.mark.parametrize(
    "body",
    [b"", {}, {"user_id": "u1"}, {"session_id": None, "user_id": "u1"}, {"context": {"session_id": None}}, [], [BOTH],
    "s1", 1, None],
)  # fmt: skip
def test_without_a_session_there_is_nothing_to_guard(body: object) -> None:
    """Null and absence are no reference; lists and bare values carry none."""
    assert read(body, JSON) == Reading(Shape.REST, (Call(),))


@pytest.mark.parametrize("header", [JSON, (b"content-type", b"text/plain"), (b"x", b"y"), URLENCODED, MULTIPART])
def test_json_is_read_whatever_the_type_says(header: tuple[bytes, bytes]) -> None:
    """A type decides nothing about JSON."""
    assert found(BOTH, header) == REFERENCE


@pytest.mark.parametrize("target", [f"{STORE}?session_id=s1&user_id=u1", f"{STORE}?user_id=u1&x=y&session_id=s1"])
@pytest.mark.parametrize("body", [b"", b"{}", BOTH])
def test_the_query_names_session_and_user(target: str, body: object) -> None:
    """Alone or beside the body."""
    assert found(body, target=target) == REFERENCE


def test_the_user_may_stand_in_the_query() -> None:
    """Beside the session id or there."""
    assert found({"session_id": "s1"}, target=f"{STORE}?user_id=u1") == REFERENCE
    assert found(b"", target=f"{SUMMARIZE}?user_id=u1") == REFERENCE
    assert found({"user_id": "u1"}, target=SUMMARIZE) == REFERENCE


@pytest.mark.parametrize(
    "path",
    [
        "/session/s1/summarize", "/session/s1/anything", "/session/s1/x/y", "/session/s1/summarize/",
        "/SESSION/s1/Summarize",
        "/%73ession/%731/summarize", "/session/s1/deactivate/x", "/session/s1/Deactivate",
    ],
)  # fmt: skip
def test_the_path_names_the_session(path: str) -> None:
    """Decoded, with a segment after it, in any letter case but its own."""
    assert found({"user_id": "u1"}, target=f"/api/v1/memories{path}") == REFERENCE


def test_the_case_of_an_id_in_the_path_is_kept() -> None:
    """Only literals are compared without regard to case."""
    reference = found({"user_id": "U"}, target="/api/v1/memories/session/aB.c/summarize")
    assert reference == Reference("aB.c", "U")


@pytest.mark.parametrize("path", ["/session/s1", "/session", "/factual/s1", "/session/store", "/session/store/"])
def test_a_memory_id_is_no_session_id(path: str) -> None:
    """`session` is a memory type as well, and one segment after it is the memory's own id."""
    assert found({"user_id": "u1"}, target=f"/api/v1/memories{path}") is None
    assert found(BOTH, target=f"/api/v1/memories{path}") == REFERENCE


def test_path_query_and_body_must_agree() -> None:
    """Every place that names a session or a user is heard."""
    two = "The request names more than one session id."
    assert refused({"user_id": "u1", "session_id": "s2"}, target=SUMMARIZE) == Refuse(Reason.AMBIGUOUS_SESSION, two)
    assert reason({"user_id": "u1"}, target=f"{SUMMARIZE}?session_id=s2") is Reason.AMBIGUOUS_SESSION
    assert reason({**BOTH, "context": {"session_id": "s2"}}) is Reason.AMBIGUOUS_SESSION
    assert reason(BOTH, target=f"{STORE}?session_id=S1") is Reason.AMBIGUOUS_SESSION
    users = Refuse(Reason.AMBIGUOUS_SESSION, "The request names more than one user id.")
    assert refused(BOTH, target=f"{STORE}?user_id=u2") == users
    assert refused({**BOTH, "context": {"user_id": "u2"}}) == users


@pytest.mark.parametrize(
    "target",
    [
        "/api/v1/memories/session/s1/deactivate",
        "/api/v1/memories/session/s1/deactivate/",
        "/api/v1/memories/session/store/deactivate?user_id=u",
    ],
)
def test_deactivating_passes(target: str) -> None:
    """It is not even read."""
    assert reader().plan(head("POST", target)) is None


@pytest.mark.parametrize(
    "path",
    [
        "/session/store;/deactivate", "/session/store/..;/x/deactivate", "/session/store//deactivate",
        "/session/store/%2e%2e/x/deactivate",
        "/session/store%2Fdeactivate", "/session/store/deactivate/../../store", "/session/store%3F/deactivate",
        "/session/s1/deactivate%00",
        "/session/s1/deactivate;x", "/session/s1/deactivate#", "/session\\s1\\deactivate", "/session/%ff/deactivate",
        "/session/s1/deactivate%2f", "/session/%252e/deactivate",
    ],
)  # fmt: skip
def test_no_spelling_turns_a_store_into_a_deactivation(path: str) -> None:
    """What some server may read as another route is refused before any body is read."""
    plan = reader().plan(head("POST", f"/api/v1/memories{path}"))
    assert isinstance(plan, Reading)
    refusal = only(plan).refusal
    assert refusal is not None
    assert refusal.reason is Reason.AMBIGUOUS_PATH


@pytest.mark.parametrize("path", ["/session/a%20b/deactivate", "/session/%E4%BD%A0/deactivate"])
def test_a_deactivation_of_no_possible_session_is_guarded(path: str) -> None:
    """A pass is only for ids that could be ids."""
    assert reason(b"", target=f"/api/v1/memories{path}") is Reason.INVALID_SESSION_ID


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_only_posting_deactivates(method: str) -> None:
    """With another method the same path may do anything."""
    target = "/api/v1/memories/session/s1/deactivate?user_id=u1"
    assert found(b"", target=target, method=method) == REFERENCE


@pytest.mark.parametrize(
    "target",
    [
        "/api/v1//memories/session/store", "//api/v1/memories/session/store", "/api/v1/memories/session%2Fstore",
        "/api/v1/memories/./session/store", "/api/v1/x/../memories", "/api/v1/memories/session/..",
        "/api/v1/memories\\session\\store",
        "/api/v1/memories/session/store%00", "/api/v1/memories;a=b/session/store", "/api/v1/memories/a#b",
        "/api/v1/memories/%",
        "/api/v1/memories/%252e", "/api/v1/memories/%ff", "/x/..%2Fapi/v1/memories", "http://h//api/v1/memories",
        "/mcp//", "//mcp",
        "/mcp/%2e", "/mcp;x", "//host/api/v1/memories/session/store", "api/v1/memories", "/api/v1/memories%2f",
        "/api%2fv1/memories",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_a_path_that_can_be_read_two_ways_is_refused(target: str, method: str) -> None:
    """As soon as one of the ways leads to a guarded route, by the head alone."""
    plan = reader().plan(head(method, target))
    detail = "The path can be read in two ways, and one of them leads to where sessions are guarded."
    assert plan == Reading(Shape.REST, (Call(refusal=Refuse(Reason.AMBIGUOUS_PATH, detail)),))
    assert reader().read(head(method, target), b"{}") == plan


@pytest.mark.parametrize("target", ["/x//y", "/a/../b", "/a%2Fb", "/a%00", "/../x", "/files/%ff", "//host/x"])
def test_other_odd_paths_are_the_upstreams_business(target: str) -> None:
    """No reading of them is guarded."""
    assert reader().plan(head("POST", target)) is None


def test_a_fragment_in_the_query_is_refused_too() -> None:
    """A target has none (RFC 9112, section 3.2)."""
    assert reason(BOTH, target=f"{STORE}?a=b#c") is Reason.AMBIGUOUS_PATH


@pytest.mark.parametrize("target", [f"http://memory:18080{STORE}", f"HTTP://a@b{STORE}"])
def test_an_absolute_target_is_read_by_its_path(target: str) -> None:
    """A server must take both forms."""
    assert found(BOTH, target=target) == REFERENCE


@pytest.mark.parametrize("value", [1, 1.5, True, False, [], ["s1"], {}, {"a": 1}])
def test_ids_are_strings(value: object) -> None:
    """Everything else but null is invalid."""
    assert refused({**BOTH, "session_id": value}) == Refuse(
        Reason.INVALID_SESSION_ID, "The session id must be a string."
    )
    user = Refuse(Reason.INVALID_USER_ID, "The user id must be a string.", "s1")
    assert refused({**BOTH, "user_id": value}) == user
    assert reason({**BOTH, "context": {"session_id": value}}) is Reason.INVALID_SESSION_ID


@pytest.mark.parametrize("value", ["", " ", "a b", "a/b", "é", "你", "a" * 256, ".", "..", "a\n", "a\u0000"])
def test_ids_are_in_the_grammar(value: str) -> None:
    """Both kinds, with what is allowed in the complaint, and without the bad id in it."""
    allowed = "1 to 255 characters of A-Z a-z 0-9 . _ ~ : @ | + = -"
    assert refused({**BOTH, "session_id": value}) == Refuse(
        Reason.INVALID_SESSION_ID, f"The session id is not {allowed}."
    )
    assert refused({**BOTH, "user_id": value}) == Refuse(Reason.INVALID_USER_ID, f"The user id is not {allowed}.", "s1")


def test_an_id_may_be_as_long_as_the_column() -> None:
    """255 characters fit."""
    assert found({"session_id": "s" * 255, "user_id": "u" * 255}) == Reference("s" * 255, "u" * 255)


def test_a_session_needs_an_owner() -> None:
    """Named in the request, whether the session exists or not."""
    refusal = Refuse(Reason.USER_ID_REQUIRED, "A session has an owner, and the request names no user.", "s1")
    assert refused({"session_id": "s1"}) == refusal
    assert refused({"session_id": "s1", "user_id": None}) == refusal
    assert refused(b"", target=SUMMARIZE) == refusal


def test_a_bad_user_without_a_session_is_nobodys_business() -> None:
    """There is nothing to guard."""
    assert found({"user_id": 1}) is None
    assert found({"user_id": "a"}, target=f"{STORE}?user_id=b") is None


def test_uuids_can_be_demanded() -> None:
    """At the door, with the reason for each."""
    both = {"session_id": f"user_{UUID}", "user_id": UUID}
    assert found(both, id_format="uuid") == Reference(f"user_{UUID}", UUID)
    assert refused({**both, "session_id": "s1"}, id_format="uuid") == Refuse(
        Reason.INVALID_SESSION_ID, "The session id is not a UUID, or a prefix, _ and a UUID."
    )
    assert refused({**both, "user_id": f"user_{UUID}"}, id_format="uuid") == Refuse(
        Reason.INVALID_USER_ID, "The user id is not a UUID.", f"user_{UUID}"
    )


@pytest.mark.parametrize(
    "body",
    [
        b'{"session_id":"a","session_id":"a","user_id":"u"}',
        b'{"session_id":"a","session\\u005fid":"b","user_id":"u"}',
        b'{"session_id":null,"session_id":"b","user_id":"u"}',
        b'{"session_id":"a","user_id":"u","user_id":"v"}',
        b'{"user_id":"u","\\u0075ser_id":"u"}',
        b'{"context":{"session_id":"a"},"context":{},"user_id":"u"}',
        b'{"context":{},"context":{"session_id":"a"},"user_id":"u"}',
        b'{"context":{"session_id":"a","session_id":"b"},"user_id":"u"}',
        b'{"session_id":"a","Session_id":"b","user_id":"u"}',
        b'{"Session_Id":"a"}',
    ],
)
def test_a_body_that_names_an_id_twice_is_refused(body: bytes) -> None:
    """Even if both are the same: who reads what is not ours to guess."""
    assert reason(body, JSON) is Reason.AMBIGUOUS_SESSION


@pytest.mark.parametrize(
    "body",
    [
        b'{"metadata":{"session_id":"x","session_id":"y"},"session_id":"s1","user_id":"u1"}',
        b'{"session_id":"s1","user_id":"u1","a":1,"a":2}',
        b'{"session_id":"s1","user_id":"u1","text":"\\u005f"}',
        b'{"session\\u005fid":"s1","user_id":"u1"}',
        b'{"list":[{"session_id":"x"},{"session_id":"y"}],"session_id":"s1","user_id":"u1"}',
        b'{"context":{"context":{"session_id":"x"}},"session_id":"s1","user_id":"u1"}',
    ],
)
def test_what_nobody_reads_as_an_id_may_be_repeated(body: bytes) -> None:
    """Only guarded places count, however they are escaped."""
    assert found(body, JSON) == REFERENCE


@pytest.mark.parametrize(
    "body", [b"x", b"{", b"session_id=s1&user_id=u1", b"\xef\xbb\xbf{}", b"{}{}", b'{"a":NaN}', b"\x00"]
)
@pytest.mark.parametrize("headers", [[JSON], [], [(b"content-type", b"text/plain")]])
def test_an_unreadable_body_is_refused(body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    """A form must be declared, and everything else must be strict JSON."""
    assert reason(body, *headers) is Reason.UNREADABLE_BODY


def test_an_unclear_content_type_is_refused() -> None:
    """Another reader might see other characters, or fields."""
    assert reason(BOTH, JSON, JSON) is Reason.UNREADABLE_BODY
    assert reason(BOTH, (b"content-type", b"application/json; charset=utf-16")) is Reason.UNREADABLE_BODY
    assert found(b"", JSON, JSON, target=f"{STORE}?session_id=s1&user_id=u1") == REFERENCE


def test_an_urlencoded_form_names_session_and_user() -> None:
    """Where it is declared."""
    assert found(b"session_id=s1&user_id=u1&message=a+b", URLENCODED) == REFERENCE
    assert found(b"message=a&user_id=u1", URLENCODED) is None
    assert reason(b"session_id=s1&session_id=s1", URLENCODED) is Reason.AMBIGUOUS_SESSION
    assert reason(b"session_id=", URLENCODED) is Reason.INVALID_SESSION_ID
    assert reason(b"context[session_id]=s1", URLENCODED) is Reason.AMBIGUOUS_SESSION
    assert reason(b"session_id=s1&user_id=u1", URLENCODED, target=f"{STORE}?session_id=s2") is Reason.AMBIGUOUS_SESSION
    assert reason(b"a%00=b", URLENCODED) is Reason.UNREADABLE_BODY


def test_json_declared_as_a_form_is_read_as_both() -> None:
    """Whichever way the memory service reads it, it sees what was checked."""
    assert found(BOTH, URLENCODED) == REFERENCE
    assert found({**BOTH, "text": "100% of a & b\n=c"}, URLENCODED) == REFERENCE
    assert found(b'{\n"session_id": "s1", "user_id": "u1"}', URLENCODED) == REFERENCE
    assert reason({**BOTH, "text": "&session_id=s2&"}, URLENCODED) is Reason.AMBIGUOUS_SESSION
    assert reason({"text": "&session_id=s1&"}, URLENCODED) is Reason.USER_ID_REQUIRED
    assert found({"text": "&session_id=s1&"}) is None


@pytest.mark.parametrize("start", [b"", b" \r\n\t", b"\xef\xbb\xbf", b"\xff\xfe", b"\x00"])
def test_bad_json_declared_as_a_form_is_refused(start: bytes) -> None:
    """A lenient reader may take it for JSON after all."""
    assert reason(start + b'{"session_id":"s1","user_id":"u1",}', URLENCODED) is Reason.UNREADABLE_BODY
    assert reason(start + b'{"session_id":"s1","user_id":"u1",}', MULTIPART) is Reason.UNREADABLE_BODY


def test_a_multipart_form_names_session_and_user() -> None:
    """Where it is declared, with its boundary."""
    assert found(multipart(*fields(session_id="s1", user_id="u1", x="y")), MULTIPART) == REFERENCE
    assert reason(multipart(*fields(session_id="s1", user_id="u1")), JSON) is Reason.UNREADABLE_BODY
    file = ('Content-Disposition: form-data; name="session_id"; filename="x"', b"s1")
    assert reason(multipart(file), MULTIPART) is Reason.INVALID_SESSION_ID
    assert reason(b"session_id=s1", MULTIPART) is Reason.UNREADABLE_BODY


def test_isa_ignores_headers() -> None:
    """Clients send them for tracking, and MCP for its transport."""
    headers = [(b"x-session-id", b"s9"), (b"mcp-session-id", b"s8"), (b"session_id", b"s7"), (b"x-user-id", b"u9")]
    assert found(BOTH, *headers) == REFERENCE
    assert found({}, *headers) is None


@pytest.mark.parametrize(
    "target", [f"{STORE}?session_id=a&session_id=a", f"{STORE}?session_id[]=a", f"{STORE}?Session_Id=a"]
)
def test_the_query_names_an_id_once(target: str) -> None:
    """As a body does."""
    assert reason({"user_id": "u"}, target=target) is Reason.AMBIGUOUS_SESSION


def test_a_gateway_may_name_the_owner() -> None:
    """Its header alone counts; what the request says besides must be the same."""
    user = (b"x-user", b"u1")
    assert found({"session_id": "s1"}, user, user_header="X-User") == REFERENCE
    assert found(BOTH, user, user_header="X-User") == REFERENCE
    assert found(BOTH, (b"x-user", b" u1\t"), user_header="x-user") == REFERENCE
    assert found({"user_id": "u1"}, user_header="x-user") is None


def test_without_the_gateways_header_nobody_is_named() -> None:
    """Whatever the body claims."""
    detail = "A session has an owner, and the header x-user names no user."
    assert refused(BOTH, user_header="x-user") == Refuse(Reason.USER_ID_REQUIRED, detail, "s1")


def test_the_gateways_header_is_there_once() -> None:
    """Repeated, even with the same value, it might come from elsewhere."""
    user = (b"x-user", b"u1")
    detail = "The header x-user is repeated."
    assert refused(BOTH, user, user, user_header="x-user") == Refuse(Reason.AMBIGUOUS_SESSION, detail, "s1")


def test_somebody_elses_name_in_the_body_is_refused() -> None:
    """The signed-in user may not write for others."""
    detail = "The request names another user than the one who is signed in."
    refusal = Refuse(Reason.SESSION_OWNED_BY_ANOTHER_USER, detail, "s1")
    assert refused(BOTH, (b"x-user", b"u2"), user_header="x-user") == refusal
    assert (
        refused({"session_id": "s1"}, (b"x-user", b"u2"), user_header="x-user", target=f"{STORE}?user_id=u1") == refusal
    )
    assert reason({**BOTH, "user_id": 1}, (b"x-user", b"u1"), user_header="x-user") is Reason.INVALID_USER_ID


@pytest.mark.parametrize("value", [b"", b" ", b"a b", b"a,b", b"\xe9", b"a" * 256])
def test_the_gateways_header_is_in_the_grammar(value: bytes) -> None:
    """As every user id."""
    assert reason({"session_id": "s1"}, (b"x-user", value), user_header="x-user") is Reason.INVALID_USER_ID


def test_other_spellings_of_the_gateways_header_do_not_count() -> None:
    """They are removed before the request goes on."""
    assert found(BOTH, (b"x-user", b"u1"), (b"x_user", b"u2"), user_header="x-user") == REFERENCE


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize(
    "target",
    [
        "/api/v1/memories/session/s1?user_id=u1", "/api/v1/memories/session/s1/stream?user_id=u1",
        "/api/v1/memories/ws?session_id=s1&user_id=u1", "/mcp?session_id=s1&user_id=u1",
        "/mcp/ws?session_id=s1&user_id=u1",
        "/api/v1/memories?session_id=s1&user_id=u1",
    ],
)  # fmt: skip
def test_an_upgrade_is_guarded_by_path_and_query(method: str, target: str) -> None:
    """What travels inside cannot be, so its beginning is."""
    assert reader().plan(head(method, target, UPGRADE)) == Plan(Shape.REST, needs_body=False)
    assert found(b"", UPGRADE, target=target, method=method) == REFERENCE


def test_an_upgrade_without_a_session_has_nothing_to_guard() -> None:
    """It has a plan all the same, and an empty reading."""
    assert found(b"", UPGRADE, target="/api/v1/memories/ws", method="GET") is None
    assert reader().plan(head("GET", "/other/ws?session_id=s1", UPGRADE)) is None


def test_an_upgrade_needs_an_owner_and_a_clear_path() -> None:
    """As every write."""
    for target, expected in (
        ("/api/v1/memories/ws?session_id=s1", Reason.USER_ID_REQUIRED),
        ("/api/v1/memories/../memories/ws", Reason.AMBIGUOUS_PATH),
        ("/api/v1/memories/ws?a#b", Reason.AMBIGUOUS_PATH),
    ):
        assert reason(b"", UPGRADE, target=target, method="GET") is expected


@pytest.mark.parametrize(
    ("value", "upgrades"),
    [(b"websocket", True), (b"WebSocket", True), (b"h2c", False), (b"H2C", False), (b" h2c , ", False),
    (b"h2c, websocket", True), (b"", False)],
)  # fmt: skip
def test_what_counts_as_an_upgrade(value: bytes, upgrades: bool) -> None:
    """Every protocol but HTTP/2, which is never passed on."""
    plan = reader().plan(head("GET", "/api/v1/memories/ws", (b"upgrade", value)))
    assert (plan is not None) is upgrades


def test_a_second_upgrade_header_counts_too() -> None:
    """Whichever of them the upstream takes."""
    headers = [(b"upgrade", b"h2c"), (b"upgrade", b"websocket")]
    assert reader().plan(head("GET", "/api/v1/memories/ws", *headers)) is not None


def test_a_write_that_asks_for_an_upgrade_is_a_write() -> None:
    """Its body is read."""
    assert reader().plan(head("POST", STORE, UPGRADE)) == Plan(Shape.REST, needs_body=True)
    assert found(BOTH, UPGRADE) == REFERENCE


def test_reading_what_has_no_plan_finds_nothing() -> None:
    """A caller that reads more than it must does no harm."""
    assert reader().read(head("POST", "/x"), b"{") == Reading(Shape.REST, (Call(),))
