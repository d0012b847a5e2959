"""The HTTP side of the public port."""

from __future__ import annotations

from fastapi import FastAPI

from collab_server.api.archives import Archives, archives_router
from collab_server.api.documents import Documents, documents_router
from collab_server.api.errors import install_error_handlers
from collab_server.api.formats import Workers
from collab_server.api.history import History, history_router
from collab_server.api.pages import install_pages
from collab_server.config import Settings
from collab_server.version import version


def public_app(
    documents: Documents,
    workers: Workers,
    settings: Settings,
    history: History | None = None,
    archives: Archives | None = None,
) -> FastAPI:
    """The application for the public port: the documents API, the playground, ``/openapi.json``."""
    # Swagger's and ReDoc's pages load their code from a CDN, so there are none.
    app = FastAPI(title="collab-server", version=version(), docs_url=None, redoc_url=None)
    app.router.redirect_slashes = False
    install_error_handlers(app)
    if settings.documents_api:
        name_bytes_max = settings.room_name_bytes_max
        if history is not None and archives is not None:
            app.include_router(history_router(history, workers, name_bytes_max))
            app.include_router(archives_router(archives, name_bytes_max, settings.archive_bytes_max))
        app.include_router(documents_router(documents, workers, name_bytes_max, history))
    install_pages(app, playground=settings.playground)
    return app
