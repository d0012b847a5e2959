"""Which version this is, as its installation says."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version


def version() -> str:
    """The installed version; ``0+unknown`` when run from a folder that was never installed."""
    try:
        return installed_version("collab-server")
    except PackageNotFoundError:
        return "0+unknown"
