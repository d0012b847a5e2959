"""One tree of errors, and one table of close codes that says whether to come back.

    CollabError
    +-- ConfigError            a setting is wrong; the text is for the person who typed it
    +-- PeerError              a client did something; carries the close code that it gets
    |   +-- MalformedError       bytes that cannot be decoded                       4400
    |   +-- TooBigError          a message, room or share over its limit     1009 / 4413
    |   +-- NotAuthenticatedError  no valid token, or not any more                4401
    |   +-- RefusedError         not allowed here                                   4403
    |   +-- GoneError            the document was deleted                           4404
    |   +-- SilentError          did not authenticate or speak in time              4408
    |   +-- FloodError           over a rate                                        4429
    |   +-- BusyError            not now: overloaded, leaving, store away    1012 ... 4503
    +-- BusConfigError         the nodes do not agree, or the bus is too old; the text is for who runs them
    +-- ViewError              a document could not be turned into a value
    +-- HistoryError           a version, a time or an archive that is not to be had; ``fault`` says why

The store has its own tree (``persistence.errors``), because it knows nothing of this package.
"""

from __future__ import annotations

from enum import Enum, IntEnum, StrEnum


class Retry(Enum):
    """What a client should do after a close code."""

    NO = "no"
    YES = "yes"
    LATER = "later"
    NEW_TOKEN = "with a new token"  # noqa: S105 - an advice


class CloseCode(IntEnum):
    """Every WebSocket close code that this server sends on its own account.

    1000-1011 are RFC 6455 section 7.4.1, 1012 and 1013 the IANA registry's; 44xx is final for
    y-websocket 3.1 and later (its ``src/y-websocket.js``), everything else is retried.
    """

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    INVALID_PAYLOAD = 1007
    TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    OVERLOADED = 1013
    RESET = 4205
    MALFORMED = 4400
    UNAUTHENTICATED = 4401
    FORBIDDEN = 4403
    DELETED = 4404
    SILENT = 4408
    OVER_LIMIT = 4413
    RATE_LIMITED = 4429
    STORE_UNAVAILABLE = 4503

    @property
    def retry(self) -> Retry:
        """Whether a client that gets this code should come back."""
        return RETRY[self]


RETRY: dict[CloseCode, Retry] = {
    CloseCode.NORMAL: Retry.NO,
    CloseCode.GOING_AWAY: Retry.YES,
    CloseCode.PROTOCOL_ERROR: Retry.NO,
    CloseCode.UNSUPPORTED_DATA: Retry.NO,
    CloseCode.INVALID_PAYLOAD: Retry.NO,
    CloseCode.TOO_BIG: Retry.NO,
    CloseCode.INTERNAL_ERROR: Retry.LATER,
    CloseCode.SERVICE_RESTART: Retry.YES,
    CloseCode.OVERLOADED: Retry.LATER,
    CloseCode.RESET: Retry.YES,
    CloseCode.MALFORMED: Retry.NO,
    CloseCode.UNAUTHENTICATED: Retry.NEW_TOKEN,
    CloseCode.FORBIDDEN: Retry.NO,
    CloseCode.DELETED: Retry.NO,
    CloseCode.SILENT: Retry.YES,
    CloseCode.OVER_LIMIT: Retry.NO,
    CloseCode.RATE_LIMITED: Retry.LATER,
    CloseCode.STORE_UNAVAILABLE: Retry.LATER,
}


class CollabError(Exception):
    """The root of this package's errors."""


class ConfigError(CollabError):
    """A setting is wrong. The text is one line for the person who typed it."""


class BusConfigError(CollabError):
    """The nodes do not agree, or what carries the bus is too old. One line for who runs them."""


class ViewError(CollabError):
    """A document could not be turned into a value; it harms nobody but the asker."""


class HistoryFault(StrEnum):
    """Why something about a document's history cannot be done."""

    UNKNOWN_DOCUMENT = "unknown_document"
    UNKNOWN_VERSION = "unknown_version"
    BAD_CURSOR = "invalid_request"
    BEFORE_HISTORY = "before_history"
    """There is no state that old: the document is younger, or retention has passed over it."""
    AUTOMATIC = "automatic_version"
    """Possible with a named version only."""
    NO_HISTORY = "no_history"
    """The server keeps none."""
    TOO_MANY = "too_many_versions"
    EXISTS = "document_exists"
    DELETED = "deleted"
    BAD_ARCHIVE = "bad_archive"
    TOO_LARGE = "too_large"


class HistoryError(CollabError):
    """Something about a document's history cannot be done. The text is one line for who asked."""

    def __init__(self, fault: HistoryFault, message: str) -> None:
        super().__init__(message)
        self.fault = fault


class PeerError(CollabError):
    """A client did something that ends its connection with ``close_code``.

    The text becomes the close reason, so it is short (at most 123 bytes) and names no secret.
    """

    close_code: CloseCode = CloseCode.INTERNAL_ERROR

    def __init__(self, reason: str, close_code: CloseCode | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        if close_code is not None:
            self.close_code = close_code


class MalformedError(PeerError):
    """Bytes that cannot be decoded, or that are nested, counted or measured beyond the bounds."""

    close_code = CloseCode.MALFORMED


class TooBigError(PeerError):
    """The document, or this client's share of it, is over its limit."""

    close_code = CloseCode.OVER_LIMIT


class NotAuthenticatedError(PeerError):
    """There is no valid token, or it is not valid any more."""

    close_code = CloseCode.UNAUTHENTICATED


class RefusedError(PeerError):
    """Not allowed here."""

    close_code = CloseCode.FORBIDDEN


class GoneError(PeerError):
    """The document was deleted."""

    close_code = CloseCode.DELETED


class SilentError(PeerError):
    """The client did not authenticate or speak in time."""

    close_code = CloseCode.SILENT


class FloodError(PeerError):
    """The client is over its rate."""

    close_code = CloseCode.RATE_LIMITED


class BusyError(PeerError):
    """Not now: overloaded, leaving, or the store is away. The client may come back."""

    close_code = CloseCode.OVERLOADED
