"""The calls about sessions over HTTP: each calls `service.Sessions` and turns the outcome into a status."""

from __future__ import annotations

import uuid
from typing import Annotated, Final, cast

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from service_kit.ids import Id, unsafe_because
from service_kit.web.paths import WHOLE
from service_kit.web.problems import Refused, responses
from session_service.model import Absent, Conflict, Created, Ensured, Found, Gone, Looked, Session, Status, Wanted
from session_service.schemas import (
    EnsureMany,
    EnsureManyOut,
    EnsureSession,
    NewSession,
    PageOut,
    Pair,
    PairOutcome,
    PairResult,
    SessionData,
    SessionOut,
    is_writable,
)
from session_service.service import Sessions

SESSIONS: Final = "/api/v1/sessions"
SESSION: Final = f"{SESSIONS}/{{session_id:{WHOLE}}}"

router: Final = APIRouter(tags=["sessions"], strict_content_type=False)

_RESULTS: Final[dict[type[Ensured], PairOutcome]] = {
    Created: "created",
    Found: "found",
    Conflict: "conflict",
    Gone: "gone",
}


SessionId = Annotated[Id, Path()]
Cursor = Annotated[str, Query(pattern="^[0-9]{1,18}$", description="`next_cursor` of the page before.")]


async def _asked(request: Request) -> Sessions:
    return cast("Sessions", request.app.state.sessions)


Asked = Annotated[Sessions, Depends(_asked)]


@router.post(f"{SESSIONS}:ensure", response_model=EnsureManyOut)
async def ensure_sessions(sessions: Asked, body: EnsureMany) -> EnsureManyOut:
    """Create those of up to 1,000 sessions that are missing, in one transaction."""
    wanted = [Wanted(pair.session_id, pair.user_id) for pair in body.sessions if _is_valid(pair)]
    outcomes = iter(await sessions.ensure_all(wanted))
    results = [_RESULTS[type(next(outcomes))] if _is_valid(pair) else "invalid" for pair in body.sessions]
    sent = [pair.session_id if is_writable(pair.session_id) else None for pair in body.sessions]
    return EnsureManyOut(
        results=[PairResult(session_id=one, result=result) for one, result in zip(sent, results, strict=True)]
    )


@router.post(SESSIONS, status_code=201, response_model=SessionOut, responses=responses(409, 410))
async def create_session(sessions: Asked, body: NewSession) -> Session:
    """Create a session, under a new UUID where no id is given."""
    session_id = body.session_id or str(uuid.uuid4())
    outcome = await sessions.ensure(_wanted(session_id, body))
    if isinstance(outcome, Found | Conflict):
        raise Refused(409, "session_exists", f"session {session_id} exists already")
    return looked_up(session_id, outcome)


@router.get(SESSIONS, response_model=PageOut)
async def list_sessions(
    sessions: Asked,
    user_id: Id | None = None,
    status: Status | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Cursor | None = None,
) -> PageOut:
    """List sessions, newest first; deleted ones only with `status=deleted`."""
    page = await sessions.page(user_id, status, limit, int(cursor) if cursor else None)
    following = str(page.next_cursor) if page.next_cursor is not None else None
    return PageOut(sessions=[SessionOut.model_validate(one) for one in page.sessions], next_cursor=following)


@router.put(SESSION, response_model=SessionOut, responses={201: {"model": SessionOut}, **responses(409, 410)})
async def ensure_session(sessions: Asked, session_id: SessionId, body: EnsureSession, response: Response) -> Session:
    """Create the session if it is missing. Repeating this is always safe."""
    response.status_code, session = await ensured(sessions, session_id, body)
    return session


@router.get(SESSION, response_model=SessionOut, responses=responses(403, 404, 410))
async def get_session(sessions: Asked, session_id: SessionId, user_id: Id | None = None) -> Session:
    """Look at a session; with `user_id`, only as its owner."""
    return looked_up(session_id, await sessions.look(session_id, user_id))


@router.patch(SESSION, response_model=SessionOut, responses=responses(403, 404, 410))
async def update_session(
    sessions: Asked, session_id: SessionId, body: SessionData, user_id: Id | None = None
) -> Session:
    """Replace the conversation data, the metadata or both, each as a whole; with `user_id`, only as the owner."""
    values = body.model_dump(exclude_none=True)
    return looked_up(session_id, await sessions.update(session_id, values, user_id))


@router.post(f"{SESSION}/end", response_model=SessionOut, responses=responses(403, 404, 410))
async def end_session(sessions: Asked, session_id: SessionId, user_id: Id | None = None) -> Session:
    """End the session; with `user_id`, only as its owner. One that has ended stays so."""
    return looked_up(session_id, await sessions.end(session_id, user_id))


@router.delete(SESSION, status_code=204, response_class=Response, responses=responses(403, 404))
async def delete_session(sessions: Asked, session_id: SessionId, user_id: Id | None = None) -> None:
    """Delete the session for good; with `user_id`, only as its owner.

    The id answers 410 from now on and is never used again.
    """
    outcome = await sessions.delete(session_id, user_id)
    if not isinstance(outcome, Gone):
        looked_up(session_id, outcome)


def _is_valid(pair: Pair) -> bool:
    return all(isinstance(one, str) and unsafe_because(one) is None for one in (pair.session_id, pair.user_id))


def _wanted(session_id: str, body: EnsureSession) -> Wanted:
    return Wanted(session_id, body.user_id, body.conversation_data or {}, body.metadata or {})


async def ensured(sessions: Sessions, session_id: str, body: EnsureSession) -> tuple[int, Session]:
    """Do what `PUT` asks for; gives the status and the session. Raises Refused."""
    outcome = await sessions.ensure(_wanted(session_id, body))
    if isinstance(outcome, Conflict):
        raise _not_yours(409, session_id)
    return 201 if isinstance(outcome, Created) else 200, looked_up(session_id, outcome)


def looked_up(session_id: str, outcome: Looked | Created) -> Session:
    """Give the session. Raises Refused that says why there is none to give."""
    match outcome:
        case Found(session) | Created(session):
            return session
        case Conflict():
            raise _not_yours(403, session_id)
        case Gone():
            raise Refused(410, "session_gone", f"session {session_id} was deleted")
        case Absent():
            raise _never_was(session_id)


def _not_yours(status: int, session_id: str) -> Refused:
    return Refused(status, "session_owned_by_another_user", f"session {session_id} belongs to another user")


def _never_was(session_id: str) -> Refused:
    return Refused(404, "session_not_found", f"there is no session {session_id}")
