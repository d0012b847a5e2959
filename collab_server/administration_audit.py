"""What the command line does to documents, in the audit log that the settings name.

Whoever may run it holds the store's file or password, so this is for the honest: it says who did what, and
keeps nobody from anything. The streams of a server are not those of a command, so only a file is written to.
"""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Iterator
from contextlib import contextmanager

from collab_server.access.identity import Identity
from collab_server.config import Settings
from collab_server.errors import ConfigError
from collab_server.telemetry.audit import OFF, STREAMS, AuditError, AuditEvent, AuditLog, AuditResult

__all__ = ["AuditEvent", "recorded"]


@contextmanager
def recorded(
    settings: Settings, event: AuditEvent, room: str | None, **what: str
) -> Iterator[dict[str, str | None]]:
    """Note what becomes of the block, which may add to what it is about.

    Raises:
        ConfigError: The audit log cannot be opened; the block has not begun then.
    """
    target = OFF if settings.audit_log in STREAMS else settings.audit_log
    audit = AuditLog(target, now_ms=lambda: time.time_ns() // 1_000_000)
    try:
        audit.open()
    except AuditError as error:
        raise ConfigError(f"{error}; nothing was done") from error
    about: dict[str, str | None] = {"room": room, "through": "command line", **what}
    result, reason = AuditResult.OK, None
    try:
        yield about
    except BaseException as error:
        result, reason = AuditResult.FAILED, str(error) or type(error).__name__
        raise
    finally:
        audit.record(
            event, identity=Identity(name=_user()), address=None, result=result, reason=reason, **about
        )
        audit.close()


def _user() -> str:
    """Who is logged in to this machine, as the system has it; the environment could say anything."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
