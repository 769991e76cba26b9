"""The calls about sessions, over HTTP, on both databases."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from collections import Counter
from urllib.parse import quote

import httpx
import pytest

pytestmark = pytest.mark.asyncio(loop_scope="module")


def new_id() -> str:
    return f"s-{uuid.uuid4()}"


async def put(client: httpx.AsyncClient, session_id: str, user_id: str = "ann", **more: object) -> httpx.Response:
    return await client.put(f"/sessions/{quote(session_id, safe='')}", json={"user_id": user_id, **more})


def reason(response: httpx.Response) -> tuple[int, str]:
    body = response.json()
    assert body["status"] == response.status_code
    return response.status_code, body["reason"]


async def test_put_creates_a_session_with_what_it_was_given(client: httpx.AsyncClient) -> None:
    """A first PUT answers 201 with the whole session, times in UTC."""
    session_id = new_id()
    response = await put(client, session_id, conversation_data={"topic": "茶"}, metadata={"n": 2**70, "nul": "\0"})
    assert response.status_code == 201
    body = response.json()
    created_at = body.pop("created_at")
    assert created_at == body.pop("updated_at")
    assert created_at.endswith("Z")
    assert dt.datetime.fromisoformat(created_at).utcoffset() == dt.timedelta(0)
    assert body == {
        "session_id": session_id,
        "user_id": "ann",
        "status": "active",
        "conversation_data": {"topic": "茶"},
        "metadata": {"n": 2**70, "nul": "\0"},
    }
    assert (await client.get(f"/sessions/{session_id}")).json() == response.json()


async def test_put_again_changes_nothing(client: httpx.AsyncClient) -> None:
    """A second PUT of the same owner answers 200 with the session as it was, and changes nothing."""
    session_id = new_id()
    first = await put(client, session_id, metadata={"kept": True})
    again = await put(client, session_id, metadata={"kept": False})
    assert again.status_code == 200
    assert again.json() == first.json()


async def test_put_for_another_owner_conflicts_without_naming_the_first(client: httpx.AsyncClient) -> None:
    """409 tells that the id is taken, not by whom."""
    session_id = new_id()
    await put(client, session_id, "ann-of-green-gables")
    response = await put(client, session_id, "bob")
    assert reason(response) == (409, "session_owned_by_another_user")
    assert "green-gables" not in response.text


async def test_put_leaves_an_ended_session_ended(client: httpx.AsyncClient) -> None:
    """A write to an ended session finds it; it is not revived."""
    session_id = new_id()
    await put(client, session_id)
    await client.post(f"/sessions/{session_id}/end")
    response = await put(client, session_id)
    assert (response.status_code, response.json()["status"]) == (200, "ended")


async def test_identical_puts_at_one_instant_make_one_row_and_one_201(client: httpx.AsyncClient) -> None:
    """However many clients create one session at once, exactly one is told that it did."""
    session_id = new_id()
    answers = await asyncio.gather(*(put(client, session_id) for _ in range(100)))
    assert Counter(answer.status_code for answer in answers) == {201: 1, 200: 99}


async def test_two_owners_at_one_instant_get_one_201_and_one_409(client: httpx.AsyncClient) -> None:
    """One of two owners who race for an id has it, the other is refused."""
    for _ in range(20):
        session_id = new_id()
        answers = await asyncio.gather(put(client, session_id, "ann"), put(client, session_id, "bob"))
        assert sorted(answer.status_code for answer in answers) == [201, 409]


async def test_post_mints_a_uuid_where_no_id_is_given(client: httpx.AsyncClient) -> None:
    """Two POSTs without an id are two sessions."""
    first, second = [await client.post("/sessions", json={"user_id": "ann", "session_id": None}) for _ in range(2)]
    assert (first.status_code, second.status_code) == (201, 201)
    assert uuid.UUID(first.json()["session_id"]) != uuid.UUID(second.json()["session_id"])


async def test_post_takes_an_id_once(client: httpx.AsyncClient) -> None:
    """POST is not idempotent: the id is taken for its owner as well."""
    body = {"user_id": "ann", "session_id": new_id()}
    assert (await client.post("/sessions", json=body)).status_code == 201
    assert reason(await client.post("/sessions", json=body)) == (409, "session_exists")
    assert reason(await client.post("/sessions", json={**body, "user_id": "bob"})) == (409, "session_exists")
    await client.delete(f"/sessions/{body['session_id']}")
    assert reason(await client.post("/sessions", json=body)) == (410, "session_gone")


async def test_get_tells_absent_from_gone_and_from_not_yours(client: httpx.AsyncClient) -> None:
    """404, 403 and 410 each have one meaning."""
    session_id = new_id()
    assert reason(await client.get(f"/sessions/{session_id}")) == (404, "session_not_found")
    await put(client, session_id)
    assert (await client.get(f"/sessions/{session_id}", params={"user_id": "ann"})).status_code == 200
    not_yours = await client.get(f"/sessions/{session_id}", params={"user_id": "bob"})
    assert reason(not_yours) == (403, "session_owned_by_another_user")
    await client.delete(f"/sessions/{session_id}")
    for params in ({}, {"user_id": "ann"}, {"user_id": "bob"}):
        assert reason(await client.get(f"/sessions/{session_id}", params=params)) == (410, "session_gone")


async def test_a_session_is_changed_only_by_the_user_who_is_named_if_one_is(client: httpx.AsyncClient) -> None:
    """Where `user_id` is another's, the answer is 403 and nothing has changed; the owner's call goes through."""
    session_id = new_id()
    before = (await put(client, session_id, metadata={"a": 1})).json()
    path, bob, ann = f"/sessions/{session_id}", {"user_id": "bob"}, {"user_id": "ann"}
    for refused in (
        await client.patch(path, params=bob, json={"metadata": {"b": 2}}),
        await client.post(f"{path}/end", params=bob),
        await client.delete(path, params=bob),
    ):
        assert reason(refused) == (403, "session_owned_by_another_user")
    assert (await client.get(path)).json() == before
    assert (await client.patch(path, params=ann, json={"metadata": {"b": 2}})).json()["metadata"] == {"b": 2}
    assert (await client.post(f"{path}/end", params=ann)).json()["status"] == "ended"
    assert (await client.delete(path, params=ann)).status_code == 204
    for user in (ann, bob):
        assert (await client.delete(path, params=user)).status_code == 204


async def test_lookups_at_the_same_time_get_each_its_own_answer(client: httpx.AsyncClient) -> None:
    """Sessions of several users, a deleted one and one that never was, all asked for at once, some twice."""
    ids = [new_id() for _ in range(20)]
    for number, session_id in enumerate(ids):
        await put(client, session_id, f"user-{number}")
    await client.delete(f"/sessions/{ids[0]}")
    asked = [*ids, new_id(), *ids]
    responses = await asyncio.gather(*(client.get(f"/sessions/{one}", params={"user_id": "user-7"}) for one in asked))
    expected = {ids[0]: 410, ids[7]: 200, asked[20]: 404}
    assert [response.status_code for response in responses] == [expected.get(one, 403) for one in asked]


async def test_a_deletion_answers_no_body_and_no_content_type(client: httpx.AsyncClient) -> None:
    """204 has no content, so nothing describes any (RFC 9110, section 15.3.5)."""
    session_id = new_id()
    await put(client, session_id)
    response = await client.delete(f"/sessions/{session_id}")
    assert (response.status_code, response.content) == (204, b"")
    assert "content-type" not in response.headers


async def test_a_deleted_session_stays_deleted_for_everybody(client: httpx.AsyncClient) -> None:
    """Nothing brings a tombstone back, and nothing changes it."""
    session_id = new_id()
    await put(client, session_id, metadata={"secret": 1})
    assert (await client.delete(f"/sessions/{session_id}")).status_code == 204
    assert (await client.delete(f"/sessions/{session_id}")).status_code == 204
    for user in ("ann", "bob"):
        assert reason(await put(client, session_id, user)) == (410, "session_gone")
    assert reason(await client.post(f"/sessions/{session_id}/end")) == (410, "session_gone")
    assert reason(await client.patch(f"/sessions/{session_id}", json={"metadata": {}})) == (410, "session_gone")


async def test_a_tombstone_keeps_its_owner_and_nothing_else(client: httpx.AsyncClient) -> None:
    """Deleting removes what the client had stored; the tombstone is listed only where it is asked for."""
    session_id, user = new_id(), new_id()
    await put(client, session_id, user, metadata={"secret": 1}, conversation_data={"secret": 2})
    await client.delete(f"/sessions/{session_id}")
    listed = (await client.get("/sessions", params={"user_id": user, "status": "deleted"})).json()["sessions"]
    assert [(one["session_id"], one["metadata"], one["conversation_data"]) for one in listed] == [(session_id, {}, {})]
    assert (await client.get("/sessions", params={"user_id": user})).json()["sessions"] == []


async def test_deleting_or_ending_what_never_was_is_404(client: httpx.AsyncClient) -> None:
    """A tombstone is left only by a session."""
    assert reason(await client.delete(f"/sessions/{new_id()}")) == (404, "session_not_found")
    assert reason(await client.post(f"/sessions/{new_id()}/end")) == (404, "session_not_found")
    assert reason(await client.patch(f"/sessions/{new_id()}", json={"metadata": {}})) == (404, "session_not_found")


async def test_ending_is_repeatable(client: httpx.AsyncClient) -> None:
    """The second end answers as the first did."""
    session_id = new_id()
    await put(client, session_id)
    first = await client.post(f"/sessions/{session_id}/end")
    assert (first.status_code, first.json()["status"]) == (200, "ended")
    assert (await client.post(f"/sessions/{session_id}/end")).json() == first.json()


async def test_patch_replaces_what_it_names(client: httpx.AsyncClient) -> None:
    """Metadata and conversation data are replaced whole and separately; the rest stays, but for `updated_at`."""
    session_id = new_id()
    before = (await put(client, session_id, metadata={"a": 1, "b": 1}, conversation_data={"c": 1})).json()
    after = (await client.patch(f"/sessions/{session_id}", json={"metadata": {"a": 2}})).json()
    assert after["updated_at"] > before["updated_at"]
    assert after == {**before, "metadata": {"a": 2}, "updated_at": after["updated_at"]}
    after = (await client.patch(f"/sessions/{session_id}", json={"conversation_data": {"d": 1}})).json()
    assert (after["metadata"], after["conversation_data"]) == ({"a": 2}, {"d": 1})


async def test_a_listing_pages_through_everything_newest_first(client: httpx.AsyncClient) -> None:
    """Following the cursors gives every session once."""
    user = new_id()
    ids = [f"{user}-{number}" for number in range(7)]
    for session_id in ids:
        await put(client, session_id, user)
    seen: list[str] = []
    params: dict[str, str] = {"user_id": user, "limit": "3"}
    while True:
        page = (await client.get("/sessions", params=params)).json()
        assert len(page["sessions"]) <= 3
        seen += [one["session_id"] for one in page["sessions"]]
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
    assert seen == ids[::-1]


async def test_a_listing_can_be_narrowed_to_a_status(client: httpx.AsyncClient) -> None:
    """`status` keeps active sessions apart from ended ones."""
    user = new_id()
    for number in range(2):
        await put(client, f"{user}-{number}", user)
    await client.post(f"/sessions/{user}-1/end")
    for status, expected in (("active", f"{user}-0"), ("ended", f"{user}-1")):
        page = (await client.get("/sessions", params={"user_id": user, "status": status})).json()
        assert [one["session_id"] for one in page["sessions"]] == [expected]


async def test_ensure_says_for_each_pair_what_came_of_it(client: httpx.AsyncClient) -> None:
    """Results stand in the order of the pairs, and one bad pair spoils no other."""
    mine, theirs, gone, new = (new_id() for _ in range(4))
    await put(client, mine)
    await put(client, theirs, "bob")
    await put(client, gone)
    await client.delete(f"/sessions/{gone}")
    pairs = [
        (new, "created"),
        (mine, "found"),
        ("no good", "invalid"),
        (theirs, "conflict"),
        (gone, "gone"),
        (7, "invalid"),
        (new, "found"),
    ]
    body = {"sessions": [{"session_id": session_id, "user_id": "ann"} for session_id, _ in pairs]}
    response = await client.post("/sessions:ensure", json=body)
    assert response.status_code == 200
    assert response.json() == {"results": [{"session_id": one, "result": result} for one, result in pairs]}


async def test_ensure_takes_pairs_without_their_parts(client: httpx.AsyncClient) -> None:
    """A missing or null id is invalid, and said of the pair that lacks it."""
    body = {"sessions": [{}, {"session_id": "x"}, {"session_id": None, "user_id": "ann"}]}
    response = await client.post("/sessions:ensure", json=body)
    assert response.json()["results"] == [
        {"session_id": None, "result": "invalid"},
        {"session_id": "x", "result": "invalid"},
        {"session_id": None, "result": "invalid"},
    ]


@pytest.mark.parametrize("unwritable", [rb'"\ud800"', b"NaN", b"1e999", b"[" * 300 + b"]" * 300])
async def test_an_id_that_no_answer_can_show_spoils_no_other_pair(client: httpx.AsyncClient, unwritable: bytes) -> None:
    """Python reads what no writer of JSON writes; such an id is invalid like any other, and answered as null."""
    good = new_id()
    body = b'{"sessions": [{"session_id": "%b", "user_id": "ann"}, {"session_id": %b, "user_id": "ann"}]}'
    response = await client.post(
        "/sessions:ensure", content=body % (good.encode(), unwritable), headers={"Content-Type": "application/json"}
    )
    assert response.status_code == 200
    assert response.json()["results"] == [
        {"session_id": good, "result": "created"},
        {"session_id": None, "result": "invalid"},
    ]


async def test_ensure_takes_a_thousand_pairs_and_no_more(client: httpx.AsyncClient) -> None:
    """A thousand are created in one call; one more is refused before anything is done."""
    prefix = new_id()
    pairs = [{"session_id": f"{prefix}-{number}", "user_id": "ann"} for number in range(1000)]
    response = await client.post("/sessions:ensure", json={"sessions": pairs})
    assert Counter(one["result"] for one in response.json()["results"]) == {"created": 1000}
    too_many = await client.post("/sessions:ensure", json={"sessions": [*pairs, pairs[0]]})
    assert reason(too_many) == (422, "invalid_request")
    assert (await client.post("/sessions:ensure", json={"sessions": []})).json() == {"results": []}


async def test_ensures_of_the_same_thousand_in_opposite_orders_do_not_block_each_other(
    client: httpx.AsyncClient,
) -> None:
    """Bulk calls over the same ids end, each id created once."""
    prefix = new_id()
    pairs = [{"session_id": f"{prefix}-{number}", "user_id": "ann"} for number in range(300)]
    calls = [pairs, pairs[::-1]] * 4
    answers = await asyncio.gather(*(client.post("/sessions:ensure", json={"sessions": one}) for one in calls))
    assert {answer.status_code for answer in answers} == {200}
    results = Counter(one["result"] for answer in answers for one in answer.json()["results"])
    assert results == {"created": 300, "found": 2100}


@pytest.mark.parametrize("session_id", ["a", "A.b_c~d:e@f|g+h=i-j", "...", "a" * 255, "auth0|abc", "-"])
async def test_every_safe_id_is_kept_byte_for_byte(client: httpx.AsyncClient, session_id: str) -> None:
    """Ids come back as they were sent, also those that need percent-encoding."""
    user = new_id()
    session_id = session_id if len(session_id) == 255 else f"{session_id}{uuid.uuid4().hex}"
    assert (await put(client, session_id, user)).json()["session_id"] == session_id
    assert (await client.get(f"/sessions/{quote(session_id, safe='')}")).json()["user_id"] == user


async def test_ids_that_differ_in_case_are_different(client: httpx.AsyncClient) -> None:
    """Nothing folds ids together."""
    session_id = f"Case-{uuid.uuid4().hex}"
    await put(client, session_id)
    assert (await client.get(f"/sessions/{session_id.lower()}")).status_code == 404
    assert (await client.get(f"/sessions/{session_id}", params={"user_id": "Ann"})).status_code == 403
