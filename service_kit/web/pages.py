"""`/docs`: Swagger UI over the service's own OpenAPI description, served from this package, so without the internet.

`swagger_ui/` holds three unchanged files of `swagger-ui-dist` 5.35.0 with its licence.
"""

from __future__ import annotations

from importlib.resources import files

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles


def install_docs(app: FastAPI) -> None:
    """Serve `/docs` and what the page needs under `/docs/`. The URLs are relative, so a prefix does no harm.

    The application has been made with `docs_url=None`: FastAPI's own page loads its scripts from a public server.
    """
    page = get_swagger_ui_html(
        openapi_url="openapi.json",
        title=app.title,
        swagger_js_url="docs/swagger-ui-bundle.js",
        swagger_css_url="docs/swagger-ui.css",
        swagger_favicon_url="docs/favicon-32x32.png",
    )

    async def docs() -> HTMLResponse:
        return page

    app.add_api_route("/docs", docs, include_in_schema=False)
    app.mount("/docs", StaticFiles(directory=str(files("service_kit.web") / "swagger_ui")))
