"""Every bearer token is a user's name, and a thread belongs to the user who created it."""

from langgraph_sdk import Auth

auth = Auth()


@auth.authenticate
async def authenticate(authorization: str | None) -> str:
    """Name the user."""
    scheme, _, name = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not name:
        raise Auth.exceptions.HTTPException(status_code=401, detail="A bearer token is needed.")
    return name


@auth.on
async def own(ctx: Auth.types.AuthContext, value: dict) -> dict:
    """Mark what is made with its owner, and show each user only that."""
    value.setdefault("metadata", {})["owner"] = ctx.user.identity
    return {"owner": ctx.user.identity}
