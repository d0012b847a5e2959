"""How many files, and so sockets, the process may open: all that it is allowed to."""

from __future__ import annotations

import resource

RESERVE = 256
"""For everything that is not a client: the store, workers, listeners, scrapers."""


def raise_limit() -> int:
    """Raise the soft limit of open files to the hard one; returns what is in force."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError):
        # macOS reports "unlimited" and takes no more than its own maximum.
        return soft
    return hard


def shortage(limit: int, connections_max: int) -> str | None:
    """One sentence for the log if ``connections_max`` cannot be reached; None if it can."""
    if limit in (resource.RLIM_INFINITY, -1) or limit >= connections_max + RESERVE:
        return None
    return (
        f"only {limit} files may be open, so connections end near {max(0, limit - RESERVE)} and not at "
        f"connections_max = {connections_max}; raise it with 'ulimit -n {connections_max + RESERVE}'"
    )
