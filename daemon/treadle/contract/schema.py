"""The protocol as one JSON Schema (json-schema.org, 2020-12), generated from the structs that decode it.

The notes of their fields become descriptions. Structs that a client sends are closed: an unknown member is refused.
Structs that the daemon sends are open: a later release may add members.
"""

import inspect
import re
from collections.abc import Iterable
from types import UnionType
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
from msgspec import Struct

from treadle.contract import params, results
from treadle.contract.kinds import KINDS, Kind
from treadle.contract.methods import CLIENT_ENDPOINTS, ENDPOINTS, FROM_CLIENT, PROTOCOL_VERSION, TO_CLIENT, Endpoint
from treadle.domain import agent_commands, agent_events, commands, entities, events
from treadle.domain.commands import COMMANDS, AnyCommand
from treadle.domain.entities import ENTITIES
from treadle.domain.events import EVENTS, AnyEvent

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
NULL = type(None)
FREE = dict[str, Any]

_UNIONS: dict[str, Any] = {
    "Command": AnyCommand,
    "Event": AnyEvent,
    "Change": results.Change,
    "SubscriptionOpened": results.SubscriptionOpened,
}
_SNAPSHOTS = (results.IndexSnapshot, results.ThreadSnapshot, results.SettingsSnapshot)
_STRUCTS: dict[str, type[Struct]] = {
    name: value
    for module in (commands, agent_commands, events, agent_events, entities, params, results)
    for name, value in vars(module).items()
    if isinstance(value, type) and issubclass(value, Struct)
}


def json_schema() -> Schema:
    """The JSON Schema: each type under `$defs`, and a root that maps each method and notification to its types."""
    defs = definitions("#/$defs/")
    ref = Reference("#/$defs/")

    def methods(endpoints: Iterable[Endpoint[Any, Any]]) -> Schema:
        return _object(
            {one.name: _object({"params": ref.to(one.params), "result": ref.to(one.result)}) for one in endpoints}
        )

    return {
        "$schema": DIALECT,
        "$id": f"urn:treadle:protocol:{PROTOCOL_VERSION}",
        "title": "Protocol",
        "description": "The messages between a client and the treadle daemon, by name. Made by `treadle schema`.",
        **_object(
            {
                "methods": {"$ref": "#/$defs/Methods"},
                "clientMethods": {"$ref": "#/$defs/ClientMethods"},
                "toClient": {"$ref": "#/$defs/ToClient"},
                "fromClient": {"$ref": "#/$defs/FromClient"},
                "error": {"$ref": "#/$defs/ErrorObject"},
            }
        ),
        "$defs": {
            **{name: _with_unknown(schema) for name, schema in defs.items()},
            "Methods": methods(ENDPOINTS) | {"description": "The params and the result of each method of the daemon."},
            "ClientMethods": methods(CLIENT_ENDPOINTS)
            | {"description": "The params and the result of each request that the daemon sends."},
            "ToClient": _object({name: ref.to(struct) for name, (_, struct) in TO_CLIENT.items()})
            | {"description": "The params of each notification that the daemon sends."},
            "FromClient": _object({name: ref.to(struct) for name, (_, struct) in FROM_CLIENT.items()})
            | {"description": "The params of each notification that the daemon accepts."},
        },
    }


class Reference:
    """Creates the references of one document, which all have the same prefix."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def to(self, type: Any) -> Schema:
        """The schema of a type: null, any object, a reference to a named one, or alternatives with null."""
        if NULL in (variants := variants_of(type)) and len(variants) > 1:
            return {"anyOf": [self.to(one) for one in variants]}
        if type is NULL:
            return {"type": "null"}
        if type == FREE:
            return {"type": "object"}
        return self.named(name_of(type))

    def named(self, name: str) -> Schema:
        """The reference to a named type."""
        return {"$ref": self._prefix + name}


def name_of(type: Any) -> str:
    """The name of a type in the schema: `StartTurn`, `ThreadPage` for Page[Thread], `Command` for all commands."""
    for name, union in _UNIONS.items():
        if type is union:
            return name
    return "".join(one.__name__ for one in (*get_args(type), get_origin(type) or type))


def variants_of(type: Any) -> tuple[Any, ...]:
    """The structs of a union; for a struct, only itself."""
    return get_args(type) if isinstance(type, UnionType) else (type,)


def definitions(prefix: str) -> dict[str, Schema]:
    """Every command, event, entity, change, params, result and error by name. References start with `prefix`."""
    ref = Reference(prefix)
    kinds = {kind: error_data(kind, made) for kind, made in KINDS.items()}
    types = [
        *COMMANDS,
        *EVENTS,
        *ENTITIES.values(),
        *(struct for endpoint in (*ENDPOINTS, *CLIENT_ENDPOINTS) for struct in variants_of(endpoint.params)),
        *(struct for _, struct in FROM_CLIENT.values()),
        *(
            result
            for endpoint in (*ENDPOINTS, *CLIENT_ENDPOINTS)
            for result in variants_of(endpoint.result)
            if result not in (NULL, FREE)
        ),
        *(struct for _, struct in TO_CLIENT.values()),
        *_SNAPSHOTS,
        *kinds.values(),
    ]
    _, made = msgspec.json.schema_components(types, ref_template=prefix + "{name}")
    named = {re.sub(r"^Page_(\w+)_$", r"\1Page", name): schema for name, schema in made.items()}
    for name, schema in named.items():
        schema["title"] = name
        if struct := _STRUCTS.get("Page" if name.endswith("Page") else name):
            _describe(schema, struct)
        if name.endswith("Params"):
            schema.setdefault("additionalProperties", True)
    named["UpsertChange"] = _upsert(named["UpsertChange"], ref)
    unions = {
        **{name: [variant.__name__ for variant in get_args(union)] for name, union in _UNIONS.items()},
        "Snapshot": [snapshot.__name__ for snapshot in _SNAPSHOTS],
        "ErrorData": [struct.__name__ for struct in kinds.values()],
    }
    order = list(dict.fromkeys([*map(name_of, types), *named]))
    return {
        **{name: _tidy(named[name], ref) for name in order},
        **{name: {"title": name, "anyOf": [ref.named(one) for one in variants]} for name, variants in unions.items()},
        "ErrorObject": {
            "title": "ErrorObject",
            "description": "The error of an answer. Switch on `data.kind`; the message may be reworded.",
            **_object(
                {
                    "code": {"enum": sorted({kind.code for kind in KINDS.values()})},
                    "message": {"type": "string"},
                    "data": ref.named("ErrorData"),
                }
            ),
        },
    }


def error_data(kind: str, made: Kind) -> type[Struct]:
    """The struct of an error's `data`. Its tag is the kind."""
    return msgspec.defstruct(
        kind[0].upper() + kind[1:] + "Data",
        list(made.members.items()),
        tag_field="kind",
        tag=kind,
        namespace={"__doc__": f"{made.code}: {made.advice}."},
    )


def _describe(schema: Schema, struct: type[Struct]) -> None:
    """Edit the schema of a struct so that it suits docs and clients."""
    schema.pop("description", None)  # msgspec also uses the docstring of a base class
    if struct.__dict__.get("__doc__"):
        schema["description"] = inspect.cleandoc(struct.__dict__["__doc__"])
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    for name, member in schema["properties"].items():
        if "enum" in member and (choices := name in fields and _choices(fields[name].type)):
            member["enum"] = choices  # in the order of the struct; msgspec sorts them
        inner = [one.pop("description", None) for one in member.get("anyOf", ())]
        if note := member.get("description") or next(filter(None, inner), None):
            member["description"] = note
        if "$ref" in member:
            member.pop("description", None)  # some tools ignore the siblings of a $ref
        if name in fields and not fields[name].required and struct.__struct_config__.forbid_unknown_fields:
            schema["properties"][name] = _or_null(member)


def _or_null(member: Schema) -> Schema:
    """The schema of an optional member that a client sends: null means its default (server/params.py)."""
    beside: Schema = {key: member[key] for key in ("description", "default") if key in member}
    type = {key: value for key, value in member.items() if key not in beside}
    if not type or {"type": "null"} in type.get("anyOf", ()):
        return member
    description = {"description": beside.pop("description")} if "description" in beside else {}
    return {**description, "anyOf": [type, {"type": "null"}], **beside}


def _choices(type: Any) -> list[Any]:
    """The values of a Literal, annotated or not."""
    while get_origin(type) is Annotated:
        type = get_args(type)[0]
    return list(get_args(type)) if get_origin(type) is Literal else []


def _upsert(schema: Schema, ref: Reference) -> Schema:
    """One variant per entity, so that `entity` determines the type of `value`."""
    type = schema["properties"]["type"]
    return {
        "title": schema["title"],
        "description": schema["description"],
        "oneOf": [
            _object({"type": type, "entity": {"enum": [name]}, "value": ref.named(entity.__name__)})
            for name, entity in ENTITIES.items()
        ],
    }


def _tidy(schema: Any, ref: Reference) -> Any:
    """The schema with msgspec's inline unions and page names replaced by references to our named types."""
    if isinstance(schema, list):
        return [_tidy(item, ref) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "discriminator" in schema:
        (name,) = (
            name
            for name, union in _UNIONS.items()
            if {str(variant.__struct_config__.tag) for variant in get_args(union)}
            == set(schema["discriminator"]["mapping"])
        )
        return ref.named(name)
    if "x-is" in schema:
        return ref.named(schema["x-is"])
    if "$ref" in schema:
        return {"$ref": re.sub(r"/Page_(\w+)_$", r"/\1Page", schema["$ref"])}
    return {key: _tidy(value, ref) for key, value in schema.items()}


def _with_unknown(schema: Schema) -> Schema:
    """The schema with `tsType` on members of any JSON, which json-schema-to-typescript would declare as objects."""
    members = {
        name: member | {"tsType": "unknown"} if member.keys() <= {"description", "default"} else member
        for name, member in schema.get("properties", {}).items()
    }
    return {**schema, "properties": members} if members else schema


def _object(properties: dict[str, Schema]) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}
