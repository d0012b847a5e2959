"""The playground: files that were built once and are served as they are."""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from collab_server.version import version

FOLDER = Path(__file__).parent / "playground"


class _Files(StaticFiles):
    """Static files that a browser checks again each time, so that an upgraded server shows its own page."""

    async def get_response(self, path: str, scope: MutableMapping[str, Any]) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response


def install_pages(app: FastAPI, *, playground: bool, folder: Path = FOLDER) -> None:
    """Serve ``/playground`` (where it is wanted and built) and a first answer at ``/``."""
    served = playground and (folder / "index.html").is_file()

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def front(request: Request) -> Response:
        if served and "text/html" in request.headers.get("accept", ""):
            return RedirectResponse("/playground/")
        return JSONResponse({"name": "collab-server", "version": version()})

    if not served:
        return

    @app.api_route("/playground", methods=["GET", "HEAD"], include_in_schema=False)
    async def playground_without_slash(request: Request) -> Response:
        query = f"?{request.url.query}" if request.url.query else ""
        return RedirectResponse(f"/playground/{query}")

    app.mount("/playground/", _Files(directory=folder, html=True))
