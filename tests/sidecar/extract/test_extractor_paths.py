"""Paths, queries and upgrades by the `isa` profile: what is looked at, what passes, and what is refused unread."""

from __future__ import annotations

import pytest

from sidecar.model import Call, Extraction, Reason, Reference, Refusal, RefusalFormat, RuleKind
from sidecar.profile.loading import load_profile
from tests.support.reading import STORE, Plan, found, head, only, reader, reason

BOTH = {"session_id": "s1", "user_id": "u1"}
REFERENCE = Reference("s1", "u1", RuleKind.ENSURE, ())
UPGRADE = (b"upgrade", b"websocket")
SUMMARIZE = "/api/v1/memories/session/s1/summarize"


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS", "get", "PROPFIND"])
@pytest.mark.parametrize("target", [STORE, "/mcp", "/api/v1/memories/../x", SUMMARIZE])
def test_reads_and_deletions_are_never_looked_at(method: str, target: str) -> None:
    """Of requests without an upgrade, POST, PUT and PATCH alone are looked at."""
    assert reader().plan(head(method, target)) is None


@pytest.mark.parametrize(
    "target", ["/", "/health", "/api/v1/memory", "/api/v1/memoriesx", "/api/v1", "*", "/docs?session_id=a"]
)
def test_other_paths_are_never_looked_at(target: str) -> None:
    """A write outside the prefixes is not classified as guarded."""
    assert reader().plan(head("POST", target)) is None


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "post"])
@pytest.mark.parametrize(
    "target",
    [STORE, "/api/v1/memories", "/api/v1/memories/", "/api/v1/memories/factual/1", SUMMARIZE, "/API/V1/Memories/x",
    "/api/v1/memories/%73"],
)  # fmt: skip
def test_writes_under_the_prefix_are_read(method: str, target: str) -> None:
    """Each write under a prefix is read by what it carries, whatever its route."""
    assert reader().plan(head(method, target)) == Plan(RefusalFormat.REST, needs_body=True)


def test_a_plan_is_the_same_the_second_time() -> None:
    """A remembered path is classified as it was the first time."""
    one = reader()
    for _ in range(2):
        assert one.plan(head("POST", STORE)) == Plan(RefusalFormat.REST, needs_body=True)
        assert one.plan(head("GET", STORE)) is None
        assert one.plan(head("POST", "/x")) is None
        assert isinstance(one.plan(head("POST", STORE + "/..")), Extraction)


def test_what_is_remembered_has_an_end() -> None:
    """The number of remembered paths is bounded."""
    one = reader()
    for number in range(5000):
        assert one.plan(head("POST", f"/api/v1/memories/session/s{number}/summarize")) is not None
    assert one.plan(head("POST", "/api/v1/memories/" + "x" * 300)) is not None
    assert 0 < len(one.extractor._router._remembered) <= 4096
    assert all(len(path) <= 256 for _, path in one.extractor._router._remembered)


@pytest.mark.parametrize("target", [f"{STORE}?session_id=s1&user_id=u1", f"{STORE}?user_id=u1&x=y&session_id=s1"])
@pytest.mark.parametrize("body", [b"", b"{}", BOTH])
def test_the_query_names_session_and_user(target: str, body: object) -> None:
    """A query names session and user, alone or beside the body."""
    assert found(body, target=target) == REFERENCE


@pytest.mark.parametrize(
    "path",
    [
        "/session/s1/summarize", "/session/s1/anything", "/session/s1/x/y", "/session/s1/summarize/",
        "/SESSION/s1/Summarize",
        "/%73ession/%731/summarize", "/session/s1/deactivate/x", "/session/s1/Deactivate",
    ],
)  # fmt: skip
def test_the_path_names_the_session(path: str) -> None:
    """The path names the session, decoded, in any letter case of its literals."""
    assert found({"user_id": "u1"}, target=f"/api/v1/memories{path}") == REFERENCE


def test_the_case_of_an_id_in_the_path_is_kept() -> None:
    """Literals are compared in any letter case, and an id keeps its own."""
    reference = found({"user_id": "U"}, target="/api/v1/memories/session/aB.c/summarize")
    assert reference == Reference("aB.c", "U")


@pytest.mark.parametrize("path", ["/session/s1", "/session", "/factual/s1", "/session/store", "/session/store/"])
def test_a_memory_id_is_no_session_id(path: str) -> None:
    """`session` is a memory type too, and one segment after it is the memory's own id."""
    assert found({"user_id": "u1"}, target=f"/api/v1/memories{path}") is None
    assert found(BOTH, target=f"/api/v1/memories{path}") == REFERENCE


@pytest.mark.parametrize(
    "target",
    [
        "/api/v1/memories/session/s1/deactivate",
        "/api/v1/memories/session/s1/deactivate/",
        "/api/v1/memories/session/store/deactivate?user_id=u",
    ],
)
def test_deactivating_passes(target: str) -> None:
    """A deactivation passes, and its body is not read."""
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
    """A path that some server may read as another route is refused by the head alone."""
    plan = reader().plan(head("POST", f"/api/v1/memories{path}"))
    assert isinstance(plan, Extraction)
    refusal = only(plan).refusal
    assert refusal is not None
    assert refusal.reason is Reason.AMBIGUOUS_PATH


@pytest.mark.parametrize("path", ["/session/a%20b/deactivate", "/session/%E4%BD%A0/deactivate"])
def test_a_deactivation_of_no_possible_session_is_guarded(path: str) -> None:
    """A deactivation whose segment can be no id is refused."""
    assert reason(b"", target=f"/api/v1/memories{path}") is Reason.INVALID_SESSION_ID


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_only_posting_deactivates(method: str) -> None:
    """With another method the path of a deactivation is guarded."""
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
    """A path is refused by the head alone as soon as one of its readings is guarded."""
    plan = reader().plan(head(method, target))
    detail = "The path can be read in two ways, and one of them leads to where sessions are guarded."
    assert plan == Extraction(RefusalFormat.REST, (Call(refusal=Refusal(Reason.AMBIGUOUS_PATH, detail)),))
    assert reader().read(head(method, target), b"{}") == plan


@pytest.mark.parametrize("target", ["/x//y", "/a/../b", "/a%2Fb", "/a%00", "/../x", "/files/%ff", "//host/x"])
def test_other_odd_paths_are_the_upstreams_business(target: str) -> None:
    """An odd path passes where none of its readings is guarded."""
    assert reader().plan(head("POST", target)) is None


def test_a_fragment_in_the_query_is_refused_too() -> None:
    """A target has no fragment (RFC 9112, section 3.2), so one is refused."""
    assert reason(BOTH, target=f"{STORE}?a=b#c") is Reason.AMBIGUOUS_PATH


@pytest.mark.parametrize("target", [f"http://memory:18080{STORE}", f"HTTP://a@b{STORE}"])
def test_an_absolute_target_is_read_by_its_path(target: str) -> None:
    """The absolute form of a target is classified by its path (RFC 9112, section 3.2.2)."""
    assert found(BOTH, target=target) == REFERENCE


def test_odd_names_in_a_query_are_left_alone() -> None:
    """A query that is not well formed is not refused."""
    assert found(b"", target=f"{STORE}?%zz=1&a%00=2&session_id=s1&user_id=u1") == REFERENCE


@pytest.mark.parametrize(
    "target", [f"{STORE}?session_id=a&session_id=a", f"{STORE}?session_id[]=a", f"{STORE}?Session_Id=a"]
)
def test_the_query_names_an_id_once(target: str) -> None:
    """A query that names an id twice is refused, as a body is."""
    assert reason({"user_id": "u"}, target=target) is Reason.AMBIGUOUS_SESSION


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
    """An upgrade is guarded by path and query, because the bytes after it cannot be."""
    assert reader().plan(head(method, target, UPGRADE)) == Plan(RefusalFormat.REST, needs_body=False)
    assert found(b"", UPGRADE, target=target, method=method) == REFERENCE


def test_an_upgrade_without_a_session_has_nothing_to_guard() -> None:
    """An upgrade that names no session is classified and refers to none."""
    assert found(b"", UPGRADE, target="/api/v1/memories/ws", method="GET") is None
    assert reader().plan(head("GET", "/other/ws?session_id=s1", UPGRADE)) is None


def test_an_upgrade_needs_an_owner_and_a_clear_path() -> None:
    """An upgrade is refused without an owner or with an ambiguous path, as a write is."""
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
    """Each protocol counts but h2c, which is never passed on."""
    plan = reader().plan(head("GET", "/api/v1/memories/ws", (b"upgrade", value)))
    assert (plan is not None) is upgrades


def test_a_second_upgrade_header_counts_too() -> None:
    """Of two `Upgrade` fields each counts."""
    headers = [(b"upgrade", b"h2c"), (b"upgrade", b"websocket")]
    assert reader().plan(head("GET", "/api/v1/memories/ws", *headers)) is not None


def test_a_write_that_asks_for_an_upgrade_is_a_write() -> None:
    """The body of a write that asks for an upgrade is read."""
    assert reader().plan(head("POST", STORE, UPGRADE)) == Plan(RefusalFormat.REST, needs_body=True)
    assert found(BOTH, UPGRADE) == REFERENCE


def test_reading_what_has_no_plan_finds_nothing() -> None:
    """Extracting from a request that no rule guards gives no reference."""
    assert reader().read(head("POST", "/x"), b"{") == Extraction(RefusalFormat.REST, (Call(),))


ODD = load_profile("""
name = "odd"
prefixes = ["/api"]
mcp = ["/mcp"]
owner = "none"
[session_service]
style = "put"
[[rules]]
kind = "ensure"
methods = ["GET"]
paths = ["/api/{session_id}", "/elsewhere/{session_id}"]
""")


def test_a_rule_for_other_methods_makes_no_mcp_message_of_them() -> None:
    """A GET below an MCP path is no message: it opens a stream of events and has no body."""
    assert reader(ODD).plan(head("GET", "/api/s1")) is not None
    assert reader(ODD).plan(head("GET", "/mcp")) is None


def test_a_rule_guards_nothing_outside_the_prefixes() -> None:
    """A rule whose path is outside the prefixes guards nothing."""
    assert reader(ODD).plan(head("GET", "/elsewhere/s1")) is None
