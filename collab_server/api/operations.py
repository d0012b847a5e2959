"""The operations port: is the process alive, should it get clients, and what does it measure."""

from __future__ import annotations

import time
from typing import Any, Protocol

from fastapi import FastAPI
from fastapi.responses import JSONResponse, Response

from collab_server.api.errors import install_error_handlers
from collab_server.api.nodes import Inspection, nodes_router
from collab_server.telemetry.metrics import CONTENT_TYPE, Metrics
from collab_server.version import version


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
    app = FastAPI(title="collab-server operations", version=version(), docs_url=None, redoc_url=None)
    app.router.redirect_slashes = False
    install_error_handlers(app)
    started = time.monotonic()
    no_store = {"Cache-Control": "no-store"}

    @app.api_route("/health", methods=["GET", "HEAD"])
    async def health() -> Response:
        """200 as long as the process serves requests at all, also while it leaves."""
        body: dict[str, Any] = {
            "status": "alive",
            "version": version(),
            "uptime_s": round(time.monotonic() - started, 3),
        }
        return JSONResponse(body, headers=no_store)

    @app.api_route("/ready", methods=["GET", "HEAD"])
    async def ready() -> Response:
        """200 if this node should get clients, 503 with the reasons if not.

        ``degraded`` is 200 with reasons: clients are served well, but something else is wrong.
        """
        faults, troubles = readiness.reasons(), readiness.degraded()
        status = "unready" if faults else "degraded" if troubles else "ready"
        body = {"status": status, "ready": not faults, "reasons": [*faults, *troubles]}
        return JSONResponse(body, 503 if faults else 200, headers=no_store)

    @app.api_route("/metrics", methods=["GET", "HEAD"])
    async def scrape() -> Response:
        """All metrics in Prometheus' text format."""
        return Response(metrics.render(), headers={**no_store, "Content-Type": CONTENT_TYPE})

    if inspection is not None:
        app.include_router(nodes_router(inspection))
    return app
