"""The protocol as an OpenRPC document (spec.open-rpc.org, 1.3.2), made from the structs that decode it."""

import inspect
import re
from typing import Any

import msgspec

from treadle import __version__
from treadle.domain.commands import AnyCommand
from treadle.domain.entities import ENTITIES
from treadle.rpc import errors, results
from treadle.rpc.conversation import Method

REF = "#/components/schemas/{name}"

NOTIFICATIONS: dict[str, tuple[str, type]] = {
    "projection/changed": ("To a subscriber: what changed.", results.ProjectionChanged),
    "event/appended": ("To a subscriber of the topic `events`: what was appended.", results.EventAppended),
    "$/progress": ("How far the rebuild at the start is, where `initialize` asked for it.", results.Progress),
    "window/logMessage": ("A warning or an error of the daemon's.", results.LogMessage),
}

FROM_CLIENT: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "initialized": ("The client has read the answer to `initialize`; of no effect.", []),
    "$/setTrace": ("As in LSP; of no effect.", []),
    "$/cancelRequest": (
        "Take a request back: -32800 where nothing of it has happened, its own answer where it was too late.",
        [{"name": "id", "required": True, "schema": {"type": ["string", "number"]}}],
    ),
    "exit": ("End: with status 0 after `shutdown`, else 1.", []),
}

ERRORS: dict[int, str] = {
    errors.PARSE_ERROR: "Parse error",
    errors.INVALID_REQUEST: "Invalid Request",
    errors.METHOD_NOT_FOUND: "Method not found",
    errors.INVALID_PARAMS: "Invalid params",
    errors.INTERNAL_ERROR: "Internal error",
    errors.OVERLOADED: "Overloaded",
    errors.NOT_INITIALIZED: "Server not initialized",
    errors.REJECTED: "The rules do not allow it",
    errors.NOT_FOUND: "Not found",
    errors.CONFLICT: "Conflict",
    errors.CANCELLED: "Request cancelled",
}


def openrpc(methods: list[Method]) -> dict[str, Any]:
    """The document."""
    extra = [results.IndexSnapshot, results.ThreadSnapshot, results.SettingsSnapshot, *ENTITIES.values()]
    types = [t for m in methods for t in (m.params, m.result)] + [t for _, t in NOTIFICATIONS.values()] + extra
    schemas, components = msgspec.json.schema_components(types, ref_template=REF)
    by_type = dict(zip(map(id, types), schemas, strict=True))
    notifications = [
        {
            "name": name,
            "summary": summary,
            "paramStructure": "by-name",
            "params": _params(by_type[id(struct)], components),
            "x-direction": "daemon to client",
        }
        for name, (summary, struct) in NOTIFICATIONS.items()
    ] + [
        {
            "name": name,
            "summary": summary,
            "paramStructure": "by-name",
            "params": params,
            "x-direction": "client to daemon",
        }
        for name, (summary, params) in FROM_CLIENT.items()
    ]
    for schema in components.values():
        _describe(schema)
    return {
        "openrpc": "1.3.2",
        "info": {
            "title": "treadle",
            "version": __version__,
            "description": "Coding-agent work: commands in, events in SQLite, projections and notifications out.",
            "license": {"name": "MIT"},
        },
        "methods": [_method(m, by_type[id(m.params)], by_type[id(m.result)], components) for m in methods]
        + notifications,
        "components": {"schemas": components},
    }


def _method(method: Method, params: dict[str, Any], result: dict[str, Any], components: dict[str, Any]) -> Any:
    document: dict[str, Any] = {
        "name": method.name,
        "summary": method.summary,
        "paramStructure": "by-name",
        "params": _params(params, components),
        "result": {"name": "result", "schema": result},
        "errors": [{"code": code, "message": message} for code, message in ERRORS.items()],
    }
    if method.params is AnyCommand:
        # The params are one struct of many: OpenRPC can list the members, not the choice, so that is said beside.
        document["x-params-schema"] = params
    return document


def _params(schema: dict[str, Any], components: dict[str, Any]) -> list[dict[str, Any]]:
    """Named params, one a member of the struct."""
    if "anyOf" in schema:
        variants = [_resolve(variant, components) for variant in schema["anyOf"] if variant.get("type") != "null"]
        if len(variants) > 1:
            names = [variant["properties"]["type"] for variant in variants]
            type_schema = {"enum": [value for name in names for value in name["enum"]]}
            members: dict[str, Any] = {}
            for variant in variants:
                members.update({k: v for k, v in variant["properties"].items() if k != "type"})
            return [
                {"name": "type", "required": True, "schema": type_schema},
                *({"name": name, "required": False, "schema": True} for name in members),
            ]
        schema = variants[0]
    struct = _resolve(schema, components)
    required = set(struct.get("required", ()))
    params = [
        {"name": name, "required": name in required, "schema": member}
        for name, member in struct.get("properties", {}).items()
    ]
    return sorted(params, key=lambda param: not param["required"])  # OpenRPC wants these in front


def _describe(schema: dict[str, Any]) -> None:
    """The docstring of a struct, with its fields named as they are on the wire."""
    if "description" in schema:
        text = inspect.cleandoc(schema["description"])
        for name in schema.get("properties", ()):
            in_python = re.sub(r"([A-Z])", r"_\1", name).lower()
            text = re.sub(rf"\b{in_python}\b", name, text)
        schema["description"] = text


def _resolve(schema: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref")
    return schema if reference is None else components[reference.rsplit("/", 1)[1]]
