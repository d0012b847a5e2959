from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from collab_server.telemetry import logs


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def fail(text: str) -> None:
    raise RuntimeError(text)


def json_lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_is_one_object_a_line_with_its_fields() -> None:
    stream = io.StringIO()
    logs.set_up("json", "info", stream)
    logs.get_logger("hosting", room="日本\n").info("room opened", bytes=5)
    (line,) = json_lines(stream)
    assert (line["event"], line["room"], line["bytes"]) == ("room opened", "日本\n", 5)
    assert (line["level"], line["logger"]) == ("info", "hosting")
    assert "timestamp" in line


def test_text_of_a_client_cannot_begin_a_line_of_its_own() -> None:
    stream = io.StringIO()
    logs.set_up("text", "info", stream)
    logs.get_logger("x").info("joined", room="a\n2026 [error] fake \x1b[31m")
    assert len(stream.getvalue().splitlines()) == 1
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_the_standard_library_and_uvicorn_log_into_the_same_stream(log_format: str) -> None:
    stream = io.StringIO()
    logs.set_up(log_format, "info", stream)
    logging.getLogger("uvicorn.error").warning("listening on %s", "port", extra={"color_message": "\x1b[1m"})
    assert "listening on port" in stream.getvalue()
    assert "color_message" not in stream.getvalue()


def test_requests_are_not_logged_one_by_one() -> None:
    stream = io.StringIO()
    logs.set_up("text", "debug", stream)
    logging.getLogger("uvicorn.access").info("GET /x?auth=token")
    assert not stream.getvalue()


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ('1.2.3.4 - "WebSocket /trip-1?auth=s3cret&x=1" [accepted]', "s3cret"),
        ("/a%20b?token=s3cret", "s3cret"),
        ("Authorization: Bearer s3cret-abc.def", "s3cret"),
        ("postgresql://user:s3cret@host/db", "s3cret"),
        ("got eyJhbGciOiJIUzI1NiJ9.eyJzM2NyZXQiOjF9.abc", "eyJzM2NyZXQi"),
    ],
)
def test_no_secret_reaches_a_line_whoever_logs_it(text: str, secret: str) -> None:
    for log_format in ("text", "json"):
        stream = io.StringIO()
        logs.set_up(log_format, "info", stream)
        logs.get_logger("x").info(text, detail=text, error=ValueError(text))
        logging.getLogger("other").warning("%s", text)
        try:
            fail(text)
        except RuntimeError:
            logs.get_logger("x").exception("failed")
        assert "failed" in stream.getvalue()
        assert secret not in stream.getvalue()


def test_lines_below_the_level_are_dropped() -> None:
    stream = io.StringIO()
    logs.set_up("json", "warning", stream)
    logs.get_logger("x").info("small talk")
    logs.get_logger("x").warning("trouble")
    assert [line["event"] for line in json_lines(stream)] == ["trouble"]


def test_setting_up_twice_logs_once() -> None:
    stream = io.StringIO()
    logs.set_up("json", "info", io.StringIO())
    logs.set_up("json", "info", stream)
    logs.get_logger("x").info("once")
    assert len(json_lines(stream)) == 1
