"""The protocol as an OpenRPC document (spec.open-rpc.org, 1.3.2), for `rpc.discover` and `treadle schema`.

OpenRPC has nothing that goes to the client. In the form of methods, requests are listed under `x-client-methods` and
notifications under `x-notifications`. Its params are a list of names, which cannot express a union of structs:
`x-params-schema` does.
"""

import json
from typing import Any, Literal

from treadle import __version__
from treadle.contract import errors
from treadle.contract.kinds import CODES, KINDS, OF_ANY_REQUEST
from treadle.contract.methods import CLIENT_ENDPOINTS, ENDPOINTS, FROM_CLIENT, PROTOCOL_VERSION, TO_CLIENT, Endpoint
from treadle.contract.schema import Reference, Schema, definitions, error_data, json_schema, variants_of

SCHEMAS = "#/components/schemas/"
REF = Reference(SCHEMAS)

_NAMES = {
    value: "".join(word.capitalize() for word in name.split("_"))
    for name, value in vars(errors).items()
    if isinstance(value, int)
}


def openrpc() -> dict[str, Any]:
    """The OpenRPC document."""
    schemas = definitions(SCHEMAS)
    return {
        "openrpc": "1.3.2",
        "info": {
            "title": "treadle",
            "version": __version__,
            "description": "Coding-agent work: commands in, events in SQLite, projections and notifications out.",
            "license": {"name": "MIT"},
        },
        "x-protocol-version": PROTOCOL_VERSION,
        "methods": [_method(endpoint, schemas) | _errors(endpoint) for endpoint in ENDPOINTS]
        + [_notification(name, summary, struct, schemas) for name, (summary, struct) in FROM_CLIENT.items()],
        "x-client-methods": [_method(endpoint, schemas) for endpoint in CLIENT_ENDPOINTS],
        "x-notifications": [
            _notification(name, summary, struct, schemas) for name, (summary, struct) in TO_CLIENT.items()
        ],
        "components": {"schemas": schemas, "errors": {_NAMES[code]: _error(code) for code in CODES}},
    }


def printed(format: Literal["openrpc", "json-schema"]) -> str:
    """A document as `treadle schema` prints it."""
    document = openrpc() if format == "openrpc" else json_schema()
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _method(endpoint: Endpoint[Any, Any], schemas: dict[str, Schema]) -> dict[str, Any]:
    document: dict[str, Any] = {
        "name": endpoint.name,
        "summary": endpoint.summary,
        "paramStructure": "by-name",
        "params": _params(endpoint.params, schemas),
        "result": {"name": "result", "schema": REF.to(endpoint.result)},
    }
    if len(variants_of(endpoint.params)) > 1:
        document["x-params-schema"] = REF.to(endpoint.params)
    return document


def _errors(endpoint: Endpoint[Any, Any]) -> dict[str, Any]:
    codes = [code for code in CODES if code in OF_ANY_REQUEST + endpoint.errors]
    return {"errors": [{"$ref": f"#/components/errors/{_NAMES[code]}"} for code in codes]}


def _notification(name: str, summary: str, struct: type, schemas: dict[str, Schema]) -> dict[str, Any]:
    return {"name": name, "summary": summary, "paramStructure": "by-name", "params": _params(struct, schemas)}


def _error(code: int) -> dict[str, Any]:
    """OpenRPC has no member for the schema of an error's `data`, so the schema is in `data` itself."""
    data = [REF.to(error_data(kind, made)) for kind, made in KINDS.items() if made.code == code]
    return {"code": code, "message": CODES[code], "data": data[0] if len(data) == 1 else {"anyOf": data}}


def _params(struct: Any, schemas: dict[str, Schema]) -> list[dict[str, Any]]:
    """Named params: one per member of the struct, or of any of the structs of a union."""
    variants = [schemas[variant.__name__] for variant in variants_of(struct)]
    if len(variants) > 1:
        types = [type for variant in variants for type in variant["properties"]["type"]["enum"]]
        members: dict[str, list[Schema]] = {}
        for variant in variants:
            for name, schema in variant["properties"].items():
                plain = {key: value for key, value in schema.items() if key not in ("description", "default")}
                if plain not in members.setdefault(name, []):
                    members[name].append(plain)
        members["type"] = [{"enum": types}]
        return [
            {
                "name": name,
                "required": name == "type",
                "schema": schemas_of[0] if len(schemas_of) == 1 else {"anyOf": schemas_of},
            }
            for name, schemas_of in members.items()
        ]
    (schema,) = variants
    required = set(schema["required"])
    params = [
        {"name": name, "required": name in required, "schema": member} for name, member in schema["properties"].items()
    ]
    return sorted(params, key=lambda param: not param["required"])  # OpenRPC wants required params first
