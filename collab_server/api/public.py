"""The HTTP side of the public port."""

from __future__ import annotations

from fastapi import FastAPI

from collab_server.api.documents import Documents, Workers, documents_router
from collab_server.api.errors import install_error_handlers
from collab_server.api.pages import install_pages
from collab_server.config import Settings
from collab_server.version import version


def public_app(documents: Documents, workers: Workers, settings: Settings) -> FastAPI:
    """The application for the public port: the documents API, the playground, ``/openapi.json``."""
    # Swagger's and ReDoc's pages load their code from a CDN, so there are none.
    app = FastAPI(title="collab-server", version=version(), docs_url=None, redoc_url=None)
    app.router.redirect_slashes = False
    install_error_handlers(app)
    if settings.documents_api:
        app.include_router(documents_router(documents, workers, settings.room_name_bytes_max))
    install_pages(app, playground=settings.playground)
    return app
