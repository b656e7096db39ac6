"""The protocol as one JSON Schema (json-schema.org, 2020-12), made from the structs that decode it and what their
docstrings say.

What a client sends is closed: an unknown member is refused. What the daemon sends is open: later releases add to it.
"""

import inspect
import re
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
from msgspec import Struct

from treadle.contract import params, results
from treadle.contract.kinds import KINDS, Kind
from treadle.contract.methods import ENDPOINTS, FROM_CLIENT, PROTOCOL_VERSION, TO_CLIENT
from treadle.domain import commands, entities, events
from treadle.domain.commands import COMMANDS, AnyCommand
from treadle.domain.entities import ENTITIES
from treadle.domain.events import EVENTS, AnyEvent

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
NULL = type(None)
FREE = dict[str, Any]

_UNIONS: dict[str, Any] = {"Command": AnyCommand, "Event": AnyEvent, "Change": results.Change}
_SNAPSHOTS = (results.IndexSnapshot, results.ThreadSnapshot, results.SettingsSnapshot)
_STRUCTS: dict[str, type[Struct]] = {
    name: value
    for module in (commands, events, entities, params, results)
    for name, value in vars(module).items()
    if isinstance(value, type) and issubclass(value, Struct)
}


def json_schema() -> Schema:
    """The document: each type of the wire under `$defs`; as a whole, what each method and notification is made of."""
    defs = definitions("#/$defs/")
    ref = Reference("#/$defs/")
    methods = {
        endpoint.name: _object({"params": ref.to(endpoint.params), "result": ref.to(endpoint.result)})
        for endpoint in ENDPOINTS
    }
    return {
        "$schema": DIALECT,
        "$id": f"urn:treadle:protocol:{PROTOCOL_VERSION}",
        "title": "Protocol",
        "description": "What a client of treadle and its daemon say to each other, by name. Made by `treadle schema`.",
        **_object(
            {
                "methods": {"$ref": "#/$defs/Methods"},
                "toClient": {"$ref": "#/$defs/ToClient"},
                "fromClient": {"$ref": "#/$defs/FromClient"},
                "error": {"$ref": "#/$defs/ErrorObject"},
            }
        ),
        "$defs": {
            **defs,
            "Methods": _object(methods) | {"description": "What each method takes and gives."},
            "ToClient": _object({name: ref.to(struct) for name, (_, struct) in TO_CLIENT.items()})
            | {"description": "The params of each notification that the daemon sends."},
            "FromClient": _object({name: ref.to(struct) for name, (_, struct) in FROM_CLIENT.items()})
            | {"description": "The params of each notification that the daemon listens to."},
        },
    }


class Reference:
    """Where types lie in a document: all under one prefix."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def to(self, type: Any) -> Schema:
        """The schema of a type on the wire: null, any object, or one that has a name."""
        if type is NULL:
            return {"type": "null"}
        if type == FREE:
            return {"type": "object"}
        return self.named("Command" if type is AnyCommand else name_of(type))

    def named(self, name: str) -> Schema:
        """The reference to it."""
        return {"$ref": self._prefix + name}


def name_of(type: Any) -> str:
    """`StartTurn`; `ThreadPage` for Page[Thread]."""
    return "".join(one.__name__ for one in (*get_args(type), get_origin(type) or type))


def definitions(prefix: str) -> dict[str, Schema]:
    """Every command, event, entity, change, params, result and error by its name; references begin with `prefix`."""
    ref = Reference(prefix)
    kinds = {kind: error_data(kind, made) for kind, made in KINDS.items()}
    types = [
        *COMMANDS,
        *EVENTS,
        *ENTITIES.values(),
        *(endpoint.params for endpoint in ENDPOINTS if endpoint.params is not AnyCommand),
        *(struct for _, struct in FROM_CLIENT.values()),
        *(endpoint.result for endpoint in ENDPOINTS if endpoint.result not in (NULL, FREE)),
        *(struct for _, struct in TO_CLIENT.values()),
        *_SNAPSHOTS,
        *kinds.values(),
    ]
    _, made = msgspec.json.schema_components(types, ref_template=prefix + "{name}")
    named = {re.sub(r"^Page_(\w+)_$", r"\1Page", name): schema for name, schema in made.items()}
    for name, schema in named.items():
        schema["title"] = name
        _describe(schema, _STRUCTS.get("Page" if name.endswith("Page") else name))
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
            "description": "What is answered instead of a result. Switch on `data.kind`; the message may be reworded.",
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
    """The struct of an error's `data`: its tag is the kind."""
    return msgspec.defstruct(
        kind[0].upper() + kind[1:] + "Data",
        list(made.members.items()),
        tag_field="kind",
        tag=kind,
        namespace={"__doc__": f"{made.code}: {made.advice}."},
    )


def fields_of(struct: type[Struct]) -> dict[str, str]:
    """What the docstrings of a struct say of its fields, by their names on the wire."""
    said: dict[str, str] = {}
    for base in reversed(struct.__mro__):
        said |= _docstring(base, struct)[1]
    return said


def _docstring(of: type, struct: type[Struct]) -> tuple[str, dict[str, str]]:
    """What a docstring says as a whole, and after `field: ` and `field, other: ` of the fields."""
    text = inspect.cleandoc(of.__dict__.get("__doc__") or "")
    wire = {field.name: field.encode_name for field in msgspec.structs.fields(struct)}
    if not wire:
        return text, {}
    one = "|".join(wire)
    whole, *parts = re.split(rf"(?:^|(?<=[.;] )|(?<=\n))((?:{one})(?:, (?:{one}))*): ", text)
    for name, on_the_wire in wire.items():
        parts = [re.sub(rf"\b{name}\b", on_the_wire, part) for part in parts]
        whole = re.sub(rf"\b{name}\b", on_the_wire, whole) if "_" in name else whole
    said = {}
    for names, note in zip(parts[::2], parts[1::2], strict=True):
        for name in names.split(", "):
            said[name] = " ".join(note.split()).removesuffix(".")
    return whole.strip(), said


def _describe(schema: Schema, struct: type[Struct] | None) -> None:
    """What the docstring says of the struct and of its fields."""
    if struct is None:
        return
    schema.pop("description", None)
    whole, _ = _docstring(struct, struct)
    if whole:
        schema["description"] = whole
    notes = fields_of(struct)
    choices = {field.encode_name: _choices(field.type) for field in msgspec.structs.fields(struct)}
    for name, member in schema["properties"].items():
        if "enum" in member and choices.get(name):
            member["enum"] = choices[name]  # in the order of the struct, where msgspec sorts them
        inner = [one.pop("description", None) for one in member.get("anyOf", ())]
        note = notes.get(name) or next(filter(None, inner), None)
        if note is not None and "$ref" not in member:  # what stands beside a reference is not read by all
            member["description"] = note


def _choices(type: Any) -> list[Any]:
    """The values of a Literal, which may have annotations."""
    while get_origin(type) is Annotated:
        type = get_args(type)[0]
    return list(get_args(type)) if get_origin(type) is Literal else []


def _upsert(schema: Schema, ref: Reference) -> Schema:
    """One variant an entity, so that `entity` tells of what sort `value` is."""
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
    """The schema with a reference to each union that has a name, and to a page by its own."""
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


def _object(properties: dict[str, Schema]) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}
