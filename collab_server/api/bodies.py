"""The bodies of requests: read up to a bound, of the right kind, and checked."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from collab_server.api.errors import ApiError, faults_in_words
from collab_server.api.schema import JSON

_JSON_BYTES_MAX = 64 * 1024

Model = TypeVar("Model", bound=BaseModel)


async def read_body(request: Request, media_types: Collection[str], bytes_max: int) -> bytes:
    """The request's body.

    The kind is asked for by name because a browser sends none of these to another site without asking first.

    Raises:
        ApiError: 415 for another kind or a compressed one, 413 for more than ``bytes_max`` bytes, 400 for a
            client that left.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in media_types:
        raise ApiError(415, "unsupported_media_type", f"send {' or '.join(media_types)}")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise ApiError(415, "unsupported_encoding", "send it as it is, without a Content-Encoding")
    announced = request.headers.get("content-length", "")
    if announced.isascii() and announced.isdigit() and int(announced) > bytes_max:
        raise _too_large(bytes_max)
    parts: list[bytes] = []
    size_bytes = 0
    try:
        async for part in request.stream():
            size_bytes += len(part)
            if size_bytes > bytes_max:
                raise _too_large(bytes_max)
            parts.append(part)
    except ClientDisconnect as gone:
        raise ApiError(400, "incomplete", "the request ended before its body did") from gone
    return b"".join(parts)


async def read_json(request: Request, model: type[Model], bytes_max: int = _JSON_BYTES_MAX) -> Model:
    """The body as an object of this kind.

    Raises:
        ApiError: 422 says what is wrong with it; and as ``read_body``.
    """
    data = await read_body(request, (JSON,), bytes_max)
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        raise ApiError(422, "invalid_request", faults_in_words(error.errors())) from error


def _too_large(bytes_max: int) -> ApiError:
    return ApiError(413, "too_large", f"the body has more than {bytes_max} bytes")
