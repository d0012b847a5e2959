"""The operations port: is the process alive, should it get clients, and what does it measure."""

from __future__ import annotations

import time
from typing import Literal, Protocol

from fastapi import FastAPI
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel

from collab_server.api.errors import errors, install_error_handlers
from collab_server.api.nodes import ROOM_NAME_BYTES_MAX, Inspection, nodes_router
from collab_server.api.schema import complete
from collab_server.telemetry.metrics import CONTENT_TYPE, Metrics
from collab_server.version import version


class HealthBody(BaseModel):
    """The process serves requests."""

    status: Literal["alive"] = "alive"
    version: str
    uptime_s: float


class ReadyBody(BaseModel):
    """Whether the node should get clients."""

    status: Literal["ready", "degraded", "unready"]
    ready: bool
    reasons: list[str]
    """One sentence each."""


class Readiness(Protocol):
    """Says whether this node should get clients."""

    def reasons(self) -> list[str]:
        """Why not, one sentence each; an empty list means yes. Called on the event loop; must not wait."""
        ...

    def degraded(self) -> list[str]:
        """What does not work while it still should get clients, one sentence each."""
        ...


def operations_app(metrics: Metrics, readiness: Readiness, inspection: Inspection | None = None) -> FastAPI:
    """The application for the operations port. Not for the public: keep the port inside."""
    app = FastAPI(
        title="collab-server operations",
        version=version(),
        docs_url=None,
        redoc_url=None,
        responses=errors(403),
    )
    app.router.redirect_slashes = False
    install_error_handlers(app)
    started = time.monotonic()
    no_store = {"Cache-Control": "no-store"}

    # HEAD is a second route without a place in the schema: FastAPI would give both the same id there.
    @app.head("/health", include_in_schema=False)
    @app.get("/health", response_model=HealthBody)
    async def health() -> Response:
        """200 as long as the process serves requests at all, also while it leaves."""
        body = HealthBody(version=version(), uptime_s=round(time.monotonic() - started, 3))
        return JSONResponse(body.model_dump(), headers=no_store)

    @app.head("/ready", include_in_schema=False)
    @app.get("/ready", response_model=ReadyBody, responses={503: {"model": ReadyBody}})
    async def ready() -> Response:
        """200 if this node should get clients, 503 with the reasons if not.

        ``degraded`` is 200 with reasons: clients are served well, but something else is wrong.
        """
        faults, troubles = readiness.reasons(), readiness.degraded()
        body = ReadyBody(
            status="unready" if faults else "degraded" if troubles else "ready",
            ready=not faults,
            reasons=[*faults, *troubles],
        )
        return JSONResponse(body.model_dump(), 503 if faults else 200, headers=no_store)

    @app.head("/metrics", include_in_schema=False)
    @app.get("/metrics", response_class=Response, responses={200: {"content": {CONTENT_TYPE: {}}}})
    async def scrape() -> Response:
        """All metrics in Prometheus' text format."""
        return Response(metrics.render(), headers={**no_store, "Content-Type": CONTENT_TYPE})

    if inspection is not None:
        app.include_router(nodes_router(inspection))
    complete(app, ROOM_NAME_BYTES_MAX)
    return app
