"""Who came in, who was sent away, and what they did that must be accounted for: one JSON object a line.

A line has ``at`` (UTC), ``event``, ``who`` (user, name, session), ``from`` (an address), ``what`` (a room and
the like), ``result`` and, unless there is none to give, ``reason``. Never a token.

Whoever records never waits: a thread writes. What cannot be written (a full disk, a reader that is gone) or
does not fit into the bounded queue is lost, counted, and told in the log once; the server goes on. A file is
appended to, a group of lines in one write, and opened again when somebody has moved it away: ``logrotate``
needs no signal.
"""

from __future__ import annotations

import errno
import json
import os
import threading
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

import structlog
from prometheus_client import Counter

from collab_server.access.identity import Identity
from collab_server.telemetry.logs import without_secrets

OFF: Final = "off"
STREAMS: Final = {"stdout": 1, "stderr": 2}
"""Targets that are no file, and their descriptors."""
_TEXT_MAX: Final = 1024
"""Characters of one value of a line."""
_GROUP_MAX: Final = 256
"""Lines of one write."""
_CLOSE_TIMEOUT_S: Final = 2.0
"""How long the last lines may take when the server leaves."""

log = structlog.get_logger(__name__)


class AuditEvent(StrEnum):
    """What a line is about."""

    LOGIN = "login"
    """A session was let into a room."""
    REFUSAL = "refusal"
    """Somebody was not let in, was sent away, or asked for what they may not do."""
    END = "end"
    """A session was ended because its token ran out, or access was taken back."""
    REVOCATION = "revocation"
    RESTORE = "restore"
    """A document got the content of a version."""
    DELETE = "delete"
    """A document, or (with ``version``) a named version of one."""
    REVIVE = "revive"
    """The name of a deleted document may be used again."""
    EXPORT = "export"
    IMPORT = "import"


class AuditResult(StrEnum):
    """How it went."""

    OK = "ok"
    REFUSED = "refused"
    FAILED = "failed"


class AuditError(Exception):
    """The audit log cannot be opened. One line for who set it."""


class AuditLog:
    """The one place where lines are recorded. Make one per server; ``record`` on the event loop's thread."""

    def __init__(
        self,
        target: str = OFF,
        *,
        now_ms: Callable[[], int],
        queue_max: int = 10_000,
        written: Counter | None = None,
        lost: Counter | None = None,
    ) -> None:
        """``target`` is ``off``, ``stdout``, ``stderr`` or the path of a file; ``queue_max`` counts lines."""
        self._target = target
        self._now_ms = now_ms
        self._queue_max = queue_max
        self._written = written
        self._lost = lost
        self._lines: deque[bytes] = deque()
        self._wake = threading.Condition()
        self._is_open = False
        self._thread: threading.Thread | None = None
        self._file: int | None = None
        self._line_is_broken = False
        self._is_in_trouble = False

    @property
    def is_on(self) -> bool:
        """Whether anything is written at all."""
        return self._target != OFF

    @property
    def lines_waiting(self) -> int:
        """Lines that are not written yet."""
        return len(self._lines)

    def open(self) -> None:
        """Begin to write. Raises AuditError when the file cannot be opened."""
        if not self.is_on or self._is_open:
            return
        try:
            self._descriptor()
        except OSError as error:
            raise AuditError(f"the audit log {self._target} cannot be opened: {_in_words(error)}") from error
        self._is_open = True
        # A daemon: a reader of a pipe that never reads must not keep the process from ending.
        self._thread = threading.Thread(target=self._write_on, name="audit log", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Write what waits, as far as that is possible at once, and stop. Idempotent."""
        with self._wake:
            self._is_open = False
            self._wake.notify()
        if self._thread is not None:
            self._thread.join(_CLOSE_TIMEOUT_S)
            if self._thread.is_alive():
                self._count_lost(len(self._lines))
            elif self._file is not None and self._target not in STREAMS:
                os.close(self._file)
                self._file = None
            self._thread = None

    def record(
        self,
        event: AuditEvent,
        *,
        identity: Identity | None,
        address: str | None,
        result: AuditResult = AuditResult.OK,
        reason: str | None = None,
        **what: str | int | bool | None,
    ) -> None:
        """Note one event. Never waits, never raises.

        Args:
            event: What happened.
            identity: Who did it; None where that is not known.
            address: From where, as ``access.identity.Caller`` has it.
            result: How it went.
            reason: Why it did not go well, in words that name no secret.
            what: ``room`` and the like; None is left out.
        """
        if not self._is_open:
            return
        if len(self._lines) >= self._queue_max:
            self._count_lost(1)
            return
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(self._now_ms() / 1000, UTC).isoformat(timespec="milliseconds"),
            "event": event.value,
            "who": None if identity is None else _who(identity),
            "from": address,
            "what": {key: _clipped(value) for key, value in what.items() if value is not None},
            "result": result.value,
        }
        if reason is not None:
            line["reason"] = _clipped(without_secrets(reason))
        # In ASCII: no character of a client's can end a line, or look like another one.
        data = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        with self._wake:
            self._lines.append(data)
            self._wake.notify()

    # -- on the thread

    def _write_on(self) -> None:
        while True:
            with self._wake:
                while not self._lines and self._is_open:
                    self._wake.wait()
                if not self._lines:
                    return
                group = [self._lines.popleft() for _ in range(min(_GROUP_MAX, len(self._lines)))]
            try:
                self._write(group)
            except OSError as error:
                self._count_lost(len(group))
                self._note_trouble(error)
            else:
                if self._written is not None:
                    self._written.inc(len(group))
                self._note_trouble(None)

    def _write(self, group: list[bytes]) -> None:
        data = b"".join(group)
        if self._line_is_broken:
            data = b"\n" + data
        descriptor = self._descriptor()
        view = memoryview(data)
        while view:
            count = os.write(descriptor, view)
            self._line_is_broken = view[count - 1] != 0x0A
            view = view[count:]

    def _descriptor(self) -> int:
        """Where to write: the file that has the name now."""
        stream = STREAMS.get(self._target)
        if stream is not None:
            return stream
        if self._file is not None and not _is_still_there(self._file, self._target):
            os.close(self._file)
            self._file = None
            self._line_is_broken = False
        if self._file is None:
            # Names and addresses of people: nobody else's to read.
            # Without waiting: to open a pipe takes until somebody reads it, and the server would not start.
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
            self._file = os.open(self._target, flags, 0o600)
            os.set_blocking(self._file, True)
        return self._file

    def _count_lost(self, count: int) -> None:
        if self._lost is not None:
            self._lost.inc(count)

    def _note_trouble(self, error: OSError | None) -> None:
        if (error is not None) == self._is_in_trouble:
            return
        self._is_in_trouble = error is not None
        # If the target is broken, so may be stderr: the log's own handler copes with that.
        if error is not None:
            log.error("the audit log cannot be written", target=self._target, error=_in_words(error))
        else:
            log.info("the audit log is written again", target=self._target)


def _in_words(error: OSError) -> str | None:
    return "it is a pipe that nobody reads" if error.errno == errno.ENXIO else error.strerror


def _who(identity: Identity) -> dict[str, str]:
    fields = {
        "user": identity.user_id,
        "name": identity.name,
        "session": identity.session_id,
        "tenant": identity.tenant,
    }
    return {key: str(_clipped(value)) for key, value in fields.items() if value is not None}


def _clipped(value: str | int | bool | None) -> str | int | bool | None:
    return value[:_TEXT_MAX] if isinstance(value, str) else value


def _is_still_there(descriptor: int, path: str) -> bool:
    try:
        named = os.stat(path)
    except FileNotFoundError:
        return False
    held = os.fstat(descriptor)
    return (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino)
