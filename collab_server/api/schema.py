"""What ``/openapi.json`` says beyond what FastAPI finds by itself.

A room's name is read from the path as it was written, a body is read up to a bound, and a token may be
missing where the gatekeeper says so: FastAPI sees none of that, and the schema must tell the truth.
"""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from pydantic import BaseModel

JSON: Final = "application/json"
BINARY: Final[dict[str, Any]] = {"schema": {"type": "string", "format": "binary"}}
"""The content of a body that is bytes."""
OBJECT: Final[dict[str, Any]] = {"schema": {"type": "object"}}
"""The content of a body that is a JSON object without a schema of its own."""

_COMPONENTS: Final = "#/components/schemas/"


def described(model: type[BaseModel]) -> dict[str, Any]:
    """For ``openapi_extra``: a JSON body of this kind."""
    schema = model.model_json_schema(ref_template=_COMPONENTS + "{model}")
    return {"requestBody": {"required": True, "content": {JSON: {"schema": schema}}}}


def some_of(*names: str) -> dict[str, Any]:
    """For ``json_schema_extra``: at least one of these is given."""
    return {"anyOf": [_given(name) for name in names]}


def one_of(*names: str) -> dict[str, Any]:
    """For ``json_schema_extra``: exactly one of these is given."""
    return {"oneOf": [_given(name) for name in names]}


def _given(name: str) -> dict[str, Any]:
    return {"required": [name], "properties": {name: {"not": {"type": "null"}}}}


def room_in_path(what: str) -> dict[str, Any]:
    """For ``openapi_extra``: a room's name that is all the rest of the path, which no parameter declares."""
    return {
        "parameters": [
            {
                "name": "room",
                "in": "path",
                "required": True,
                "description": what,
                "schema": {"type": "string"},
            }
        ]
    }


def header(what: str, kind: str = "string", *, required: bool = True) -> dict[str, Any]:
    """A header of an answer."""
    return {"description": what, "required": required, "schema": {"type": kind}}


def complete(app: FastAPI, room_name_bytes_max: int, *, without_token: bool = False) -> None:
    """Have ``app`` put its schema right: a room's bounds, the parts of bodies, errors, a missing token."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        is_new = app.openapi_schema is None
        schema = made()
        if is_new:
            schemas = schema.setdefault("components", {}).setdefault("schemas", {})
            for foreign in ("HTTPValidationError", "ValidationError"):
                schemas.pop(foreign, None)
            for operations in schema["paths"].values():
                for operation in operations.values():
                    _bound_room(operation, room_name_bytes_max)
                    _share_definitions(operation, schemas)
                    _drop_foreign_errors(operation)
                    if without_token and "security" in operation:
                        operation["security"].insert(0, {})
        return schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way of extending it


def _bound_room(operation: dict[str, Any], room_name_bytes_max: int) -> None:
    for parameter in operation.get("parameters", ()):
        if (parameter["in"], parameter["name"]) == ("path", "room"):
            # In bytes of UTF-8, of which JSON Schema knows nothing: a character has one at least.
            parameter["schema"] |= {"minLength": 1, "maxLength": room_name_bytes_max}


def _share_definitions(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Move what a body's schema refers to where all schemas are."""
    for content in operation.get("requestBody", {}).get("content", {}).values():
        schemas.update(content.get("schema", {}).pop("$defs", {}))


def _drop_foreign_errors(operation: dict[str, Any]) -> None:
    """FastAPI adds an error in its own form to all that has parameters; ours are named by each route."""
    if "HTTPValidationError" in str(operation["responses"].get("422")):
        del operation["responses"]["422"]
