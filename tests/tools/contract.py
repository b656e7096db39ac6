"""Generates the checked-in copies of the protocol from the structs that the daemon decodes with.

These are docs/schema.json, which `treadle schema --format json-schema` prints, and the parts of docs/protocol.md
between `<!-- made: … -->` and `<!-- /made -->`. OpenRPC (`treadle schema`) and TypeScript (`npm run types` in
docs/clients/vscode) are not checked in; they are generated when needed.

`make schema` runs this file, which writes the copies. A test compares them.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from treadle.contract.kinds import KINDS
from treadle.contract.openrpc import printed
from treadle.contract.schema import json_schema
from treadle.domain.commands import COMMANDS
from treadle.domain.entities import ENTITIES
from treadle.domain.events import EVENTS

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "docs" / "schema.json"
PROTOCOL = ROOT / "docs" / "protocol.md"

MADE = re.compile(r"(<!-- made: (.*?) -->\n).*?(<!-- /made -->\n)", re.DOTALL)
OF_EVERY_COMMAND = {"type", "commandId", "at", "expectedVersion"}
OF_A_COMMAND = {command.__name__ for command in COMMANDS}


def protocol(page: str) -> str:
    """The page with freshly generated tables."""
    return MADE.sub(lambda match: f"{match[1]}{table(*match[2].split())}{match[3]}", page)


COPIES: dict[Path, Callable[[], str]] = {
    SCHEMA: lambda: printed("json-schema"),
    PROTOCOL: lambda: protocol(PROTOCOL.read_text("utf-8")),
}


def table(head: str, name: str = "") -> str:
    """One table. head: `events`, `errors`, or the first column's heading for the members of the struct `name`."""
    heads, rows = {
        "events": (["type", "members, beside `type` and `at`", ""], events()),
        "errors": (["code", "`data.kind`", "more in `data`", "when, and what to do"], errors()),
    }.get(head) or ([head, "type", ""], rows_of(name, required_first=head == "param"))
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join("| " + " | ".join(cells).rstrip() + " |\n" for cells in lines).replace("|  |", "| |")


DEFS: dict[str, Any] = json_schema()["$defs"]


def rows_of(name: str, *, required_first: bool) -> Iterator[list[str]]:
    """A row for each member of a struct, or of the structs of a union."""
    return members_of_union(name) if "anyOf" in DEFS[name] else members(name, required_first=required_first)


def members_of_union(name: str) -> Iterator[list[str]]:
    """A row for each member of the structs of a union: first the members of all structs, then those of only one."""
    structs = [DEFS[one["$ref"].rpartition("/")[2]]["properties"] for one in DEFS[name]["anyOf"]]
    common = [member for member in structs[0] if all(member in struct for struct in structs)]
    for member in common:
        types = dict.fromkeys(spelt(struct[member]) for struct in structs)
        yield [f"`{member}`", alternatives(types), structs[0][member].get("description", "")]
    for struct in structs:
        for member, schema in struct.items():
            if member not in common:
                yield [f"`{member}`", spelt(schema), f"Only with the type {spelt(struct['type'])}"]


def members(name: str, *, required_first: bool) -> Iterator[list[str]]:
    """A row for each member of a struct, except the members that every command has."""
    struct = DEFS[name]
    required = struct["required"]
    names = sorted(struct["properties"], key=lambda member: required_first and member not in required)
    for member in names:
        schema = struct["properties"][member]
        if name in OF_A_COMMAND and member in OF_EVERY_COMMAND:
            continue
        yield [f"`{member}`", kind(schema, member not in required), schema.get("description", "")]


def kind(schema: dict[str, Any], optional: bool) -> str:
    """The type of a member in words, and whether it is optional."""
    if not optional:
        return spelt(schema)
    variants = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]  # null means the default
    spelling = alternatives(map(spelt, variants)) if variants else spelt(schema)
    default = schema.get("default")
    return f"{spelling}, optional" + ("" if default is None else f": {json.dumps(default)}")


def spelt(schema: dict[str, Any]) -> str:
    """A type, in the words of the page."""
    if "$ref" in schema:
        return struct_name(schema["$ref"].rpartition("/")[2])
    if "anyOf" in schema:
        return alternatives(map(spelt, schema["anyOf"]))
    if "enum" in schema:
        return alternatives(f"`{value}`" for value in schema["enum"])
    match schema.get("type"):
        case "array":
            most = f", at most {schema['maxItems']:,}" if "maxItems" in schema else ""
            return f"array of {spelt(schema.get('items', {}))}{most}"
        case "string":
            return {"id": "id", "date-time": "time"}.get(schema.get("format", ""), "string")
        case "integer" | "number":
            limits = "minimum" in schema and schema.get("maximum", 2**31) < 2**31 - 1
            return f"number from {schema['minimum']} to {schema['maximum']}" if limits else "number"
        case None:
            return "JSON"
        case other:
            return str(other)


LINKS = {
    "Command": "[command](#commands)",
    "Change": "[change](#projectionchanged)",
    "StoredEvent": "stored [event](#events)",
    "Snapshot": "snapshot",
    **{entity.__name__: f"[{name}](#{name})" for name, entity in ENTITIES.items()},
}


def struct_name(name: str) -> str:
    return LINKS.get(name) or f"`{{{', '.join(DEFS[name]['properties'])}}}`"


def alternatives(words: Any) -> str:
    *others, last = dict.fromkeys(words)
    return f"{', '.join(others)} or {last}" if others else last


def events() -> Iterator[list[str]]:
    for event in EVENTS:
        struct = DEFS[event.__name__]
        names = [name for name in struct["properties"] if name not in ("type", "at")]
        notes = {name: struct["properties"][name].get("description") for name in names}
        yield [
            event.__name__,
            ", ".join(f"`{name}`{'' if name in struct['required'] else '?'}" for name in names),
            ". ".join(f"`{name}`: {note}" for name, note in notes.items() if note and name != "threadId"),
        ]


def errors() -> Iterator[list[str]]:
    for name, made in KINDS.items():
        yield [str(made.code), f"`{name}`", ", ".join(f"`{member}`" for member in made.members), made.advice]


if __name__ == "__main__":
    for path, make in COPIES.items():
        path.write_text(make(), "utf-8")
