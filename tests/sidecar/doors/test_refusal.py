"""A refusal in the words of the protocol that was spoken."""

from __future__ import annotations

import orjson
import pytest

from sidecar.doors.refusal import STATUS, Response, refuse_extraction, refuse_request
from sidecar.model import NOTIFICATION, Call, Extraction, Reason, Reference, Refusal, RefusalFormat

GONE = Refusal(Reason.SESSION_GONE, "Session 's1' was deleted.", "s1")
BUSY = Refusal(Reason.SESSION_SERVICE_UNAVAILABLE, "Session 's1' may or may not exist.", "s1", retry_after=3)


def reading(shape: RefusalFormat, *ids: object) -> Extraction:
    return Extraction(shape, tuple(Call(reference=Reference("s1", "u1"), rpc_id=id_) for id_ in ids))  # type: ignore[arg-type]


def content(response: Response) -> object:
    assert dict(response.headers)[b"content-length"] == str(len(response.body)).encode()
    assert dict(response.headers)[b"content-type"] == b"application/json"
    return orjson.loads(response.body)


def test_every_reason_has_a_status() -> None:
    assert set(STATUS) == set(Reason)


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        (Reason.SESSION_OWNED_BY_ANOTHER_USER, 403),
        (Reason.SESSION_NOT_FOUND, 404),
        (Reason.SESSION_GONE, 410),
        (Reason.SESSION_ENDED, 409),
        (Reason.SESSION_SERVICE_UNAVAILABLE, 503),
        (Reason.SESSION_SERVICE_UNTRUSTWORTHY, 502),
        (Reason.USER_ID_REQUIRED, 422),
        (Reason.SESSION_ID_REQUIRED, 422),
        (Reason.INVALID_SESSION_ID, 422),
        (Reason.INVALID_USER_ID, 422),
        (Reason.AMBIGUOUS_SESSION, 400),
        (Reason.AMBIGUOUS_PATH, 400),
        (Reason.UNREADABLE_BODY, 400),
        (Reason.UNSUPPORTED_ENCODING, 415),
        (Reason.BODY_TOO_LARGE, 413),
        (Reason.BODY_TIMEOUT, 408),
        (Reason.OVERLOADED, 503),
        (Reason.UPSTREAM_UNAVAILABLE, 502),
        (Reason.UPSTREAM_TIMEOUT, 504),
    ],
)
def test_a_rest_client_gets_the_status_of_the_reason(reason: Reason, status: int) -> None:
    response = refuse_extraction(reading(RefusalFormat.REST, None), [Refusal(reason, "Why.", "s1")])
    assert response.status == status
    assert dict(response.headers)[b"x-sidecar-reason"] == reason.value.encode()


def test_a_rest_client_gets_detail_reason_and_session_id() -> None:
    response = refuse_extraction(reading(RefusalFormat.REST, None), [GONE])
    assert content(response) == {"detail": "Session 's1' was deleted.", "reason": "session_gone", "session_id": "s1"}
    assert b"retry-after" not in dict(response.headers)


def test_retry_after_is_a_header_for_rest() -> None:
    response = refuse_extraction(reading(RefusalFormat.REST, None), [BUSY])
    assert dict(response.headers)[b"retry-after"] == b"3"


@pytest.mark.parametrize("id_", [7, 0, "seven", "", 1.5])
def test_an_mcp_call_gets_200_and_an_error_with_its_own_id(id_: object) -> None:
    response = refuse_extraction(reading(RefusalFormat.RPC, id_), [GONE])
    assert response.status == 200
    assert content(response) == {
        "jsonrpc": "2.0",
        "id": id_,
        "error": {
            "code": -31040,
            "message": "Session 's1' was deleted.",
            "data": {"detail": "Session 's1' was deleted.", "reason": "session_gone", "session_id": "s1"},
        },
    }
    assert dict(response.headers)[b"x-sidecar-reason"] == b"session_gone"


def test_retry_after_is_in_the_error_data_for_mcp_too() -> None:
    response = refuse_extraction(reading(RefusalFormat.RPC, 1), [BUSY])
    answer = content(response)
    assert isinstance(answer, dict)
    assert answer["error"]["data"]["retry_after"] == 3
    assert dict(response.headers)[b"retry-after"] == b"3"


def test_a_refused_notification_gets_202_and_nothing_to_read() -> None:
    response = refuse_extraction(reading(RefusalFormat.RPC, NOTIFICATION), [GONE])
    assert (response.status, response.body) == (202, b"")
    assert dict(response.headers) == {b"content-length": b"0", b"x-sidecar-reason": b"session_gone"}


def test_one_refusal_refuses_the_whole_batch_and_each_call_gets_its_answer() -> None:
    response = refuse_extraction(reading(RefusalFormat.BATCH, 1, NOTIFICATION, "two"), [None, None, GONE])
    answers = content(response)
    assert response.status == 200
    assert isinstance(answers, list)
    assert [(answer["id"], answer["error"]["data"]["reason"]) for answer in answers] == [
        (1, "batch_refused"),
        ("two", "session_gone"),
    ]
    assert dict(response.headers)[b"x-sidecar-reason"] == b"session_gone"


def test_a_refused_batch_of_notifications_gets_202() -> None:
    response = refuse_extraction(reading(RefusalFormat.BATCH, NOTIFICATION, NOTIFICATION), [GONE, None])
    assert (response.status, response.body) == (202, b"")


def test_an_unreadable_body_on_the_mcp_path_is_a_parse_error_with_400() -> None:
    refusal = Refusal(Reason.UNREADABLE_BODY, "The body is not strict JSON.")
    response = refuse_extraction(Extraction(RefusalFormat.RPC, (Call(refusal=refusal),)), [refusal])
    answer = content(response)
    assert response.status == 400
    assert isinstance(answer, dict)
    assert (answer["id"], answer["error"]["code"]) == (None, -32700)


@pytest.mark.parametrize(("shape", "ids"), [(RefusalFormat.RPC, (7,)), (RefusalFormat.BATCH, (7, NOTIFICATION))])
def test_an_unreadable_text_within_a_call_is_no_parse_error(shape: RefusalFormat, ids: tuple[object, ...]) -> None:
    """A call whose id was read gets the code of every other refusal, under its own id and with 200."""
    refusal = Refusal(Reason.UNREADABLE_BODY, "The arguments are not strict JSON.")
    response = refuse_extraction(reading(shape, *ids), [refusal for _ in ids])
    answer = content(response)
    answer = answer[0] if isinstance(answer, list) else answer
    assert response.status == 200
    assert (answer["id"], answer["error"]["code"]) == (7, -31040)
    assert answer["error"]["data"]["reason"] == "unreadable_body"


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        (Reason.BODY_TOO_LARGE, 413),
        (Reason.BODY_TIMEOUT, 408),
        (Reason.UNSUPPORTED_ENCODING, 415),
        (Reason.OVERLOADED, 503),
    ],
)
def test_an_mcp_request_whose_body_was_not_read_gets_the_status_and_no_id(reason: Reason, status: int) -> None:
    response = refuse_request(RefusalFormat.RPC, Refusal(reason, "Why."))
    answer = content(response)
    assert response.status == status
    assert isinstance(answer, dict)
    assert (answer["id"], answer["error"]["code"]) == (None, -31040)


def test_a_rest_request_whose_body_was_not_read_is_refused_as_rest() -> None:
    response = refuse_request(RefusalFormat.REST, Refusal(Reason.BODY_TOO_LARGE, "Too large."))
    assert response.status == 413
    assert content(response) == {"detail": "Too large.", "reason": "body_too_large", "session_id": None}
