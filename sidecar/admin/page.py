"""The dashboard as one HTML document: markup, style, chart library and script, put together when the process starts.

One document needs no path for its parts, and holds no figure itself, so that it can be shown before a token is given.
`dashboard/` holds uPlot 1.6.32 unchanged, with its licence.
"""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import Final

from starlette.responses import HTMLResponse

_FOLDER: Final = files("sidecar.admin") / "dashboard"


def dashboard_page(status: int = 200) -> HTMLResponse:
    """The page, which runs only the two scripts that are part of it; with 401 where it has to ask for the token."""
    page = _text("page.html")
    style = _text("uPlot.min.css") + _text("style.css")
    scripts = {"uPlot": _text("uPlot.iife.min.js"), "script": _text("script.js")}
    policy = "; ".join(
        (
            "default-src 'none'",
            f"style-src {_source(style)}",
            f"script-src {' '.join(map(_source, scripts.values()))}",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )
    for name, text in {"style": style, **scripts}.items():
        page = page.replace(f"/*{name}*/", text)
    headers = {"Content-Security-Policy": policy}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return HTMLResponse(page, status, headers)


def _text(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _source(text: str) -> str:
    """The source expression that allows an inline text (W3C Content Security Policy, section 8.4)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
