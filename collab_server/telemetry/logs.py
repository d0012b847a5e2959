"""Logs: structlog and the standard library's logging in one stream, as text or as JSON.

No secret reaches a line: query strings (tokens travel there), bearer tokens and passwords in URLs are cut out
of every value, whoever logged it.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import Any, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_SECRETS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(://[^\s/:@]*):[^\s@]*@"), r"\1:***@"),
    (re.compile(r"(?<=[\w/%.)\]-])\?[^\s\"'<>]*=[^\s\"'<>]*"), "?***"),
    (re.compile(r"(?i)\b(bearer\s+)[\w.~+/=-]{4,}"), r"\1***"),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"), "***"),
)
_NOISY_LOGGERS = ("uvicorn.access", "uvicorn.error", "httpx", "httpcore")
_ROUTED_LOGGERS = ("uvicorn", "uvicorn.error", "uvicorn.access", "asyncio")


def without_secrets(text: str) -> str:
    """The text with query strings, tokens and passwords in URLs replaced by ``***``."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def _scrub(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = without_secrets(value)
        elif isinstance(value, BaseException):
            event[key] = without_secrets(str(value))
    return event


def _drop_color_message(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Uvicorn adds a second, coloured copy of its message."""
    event.pop("color_message", None)
    return event


def set_up(log_format: str = "text", level: str = "info", stream: TextIO | None = None) -> None:
    """Route every log line of the process to one stream. Called once, before the server is assembled.

    Give uvicorn ``log_config=None`` and ``access_log=False``, or it puts its own handlers back.

    Args:
        log_format: ``text`` or ``json`` (one object a line).
        level: the lowest level that is shown.
        stream: stderr if None.
    """
    target = stream if stream is not None else sys.stderr
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _drop_color_message,
    ]
    renderer: Processor
    if log_format == "json":
        renderer = structlog.processors.JSONRenderer(ensure_ascii=False)
    else:
        renderer = structlog.dev.ConsoleRenderer(
            colors=target.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
        )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            _scrub,
            renderer,
        ],
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.processors.StackInfoRenderer(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _ROUTED_LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    # Uvicorn and httpx tell of each request, and uvicorn of each of its two servers that starts or ends.
    for name in _NOISY_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)


def get_logger(name: str, **bound: Any) -> structlog.stdlib.BoundLogger:
    """A logger with fields that each of its lines carries. Never bind a token or a query string."""
    return cast(structlog.stdlib.BoundLogger, structlog.get_logger(name, **bound))
