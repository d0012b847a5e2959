"""The HTTP side of the public port."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI

from collab_server.api.access import SCHEMES, Doors
from collab_server.api.archives import Archives, archives_router
from collab_server.api.documents import Documents, documents_router
from collab_server.api.errors import TOO_LONG, errors, install_error_handlers
from collab_server.api.formats import Workers
from collab_server.api.history import History, history_router
from collab_server.api.pages import install_pages
from collab_server.api.presence import Presence, presence_router
from collab_server.api.revocations import Revoking, revocations_router
from collab_server.api.schema import complete
from collab_server.api.stateless import Posting, stateless_router
from collab_server.config import Settings
from collab_server.version import version


def public_app(
    documents: Documents,
    workers: Workers,
    settings: Settings,
    history: History | None = None,
    archives: Archives | None = None,
    *,
    doors: Doors,
    revoking: Revoking | None = None,
    presence: Presence | None = None,
    posting: Posting | None = None,
) -> FastAPI:
    """The application for the public port: documents, access, the playground, ``/openapi.json``.

    Every route but those of the pages asks ``doors`` first.
    """
    # Swagger's and ReDoc's pages load their code from a CDN, so there are none.
    app = FastAPI(title="collab-server", version=version(), docs_url=None, redoc_url=None)
    app.router.redirect_slashes = False
    install_error_handlers(app)
    guarded: list[APIRouter] = []
    if revoking is not None:
        guarded.append(revocations_router(revoking, doors))
    if settings.documents_api:
        name_bytes_max = settings.room_name_bytes_max
        if presence is not None:
            guarded.append(presence_router(presence, name_bytes_max, doors))
        if history is not None and archives is not None:
            guarded.append(history_router(history, workers, name_bytes_max, doors))
            guarded.append(archives_router(archives, name_bytes_max, settings.archive_bytes_max, doors))
        if posting is not None:
            guarded.append(stateless_router(posting, name_bytes_max, settings.stateless_bytes_max, doors))
        # Last: a room's name is all the rest of its path.
        guarded.append(documents_router(documents, workers, name_bytes_max, doors, history))
    for router in guarded:
        app.include_router(router, dependencies=SCHEMES, responses=errors(401, 403, 429, 503) | TOO_LONG)
    complete(app, settings.room_name_bytes_max, without_token=doors.admits_anonymous)
    install_pages(app, playground=settings.playground)
    return app
