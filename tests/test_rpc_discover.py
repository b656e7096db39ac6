"""rpc.discover: an OpenRPC document of exactly what the daemon accepts and sends.

tests/fixtures/openrpc-1.3.2.json is the specification's own schema for such documents. It is a draft-07 schema, and the
specification prescribes draft-07 for the schemas in a document; ours are valid as draft-07 and as 2020-12.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft7Validator, Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT7

from test_rpc_golden import METHODS, OF_REPOSITORIES, SESSION
from treadle.contract import errors
from treadle.contract.kinds import KINDS, OF_ANY_REQUEST
from treadle.contract.methods import CLIENT_ENDPOINTS, FROM_CLIENT, PROTOCOL_VERSION, TO_CLIENT
from treadle.domain.commands import COMMANDS
from treadle.domain.entities import ENTITIES
from treadle.domain.events import EVENTS
from wire import spawn

META_SCHEMA = json.loads((Path(__file__).parent / "fixtures" / "openrpc-1.3.2.json").read_text())


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[dict[str, Any], list[Any]]]:
    """The golden session: each step, and what came."""
    data_dir = tmp_path_factory.mktemp("discover") / "data"
    steps = []
    with spawn(data_dir, "--no-agents") as daemon:
        for step in SESSION:
            daemon.send_together(m.encode() if isinstance(m, str) else m for m in step["send"])
            steps.append((step, [daemon.message() for _ in step["receive"]]))
    return steps


@pytest.fixture(scope="module")
def document(played: list[tuple[dict[str, Any], list[Any]]]) -> dict[str, Any]:
    (found,) = (received[0]["result"] for step, received in played if step["does"] == "rpc.discover")
    assert isinstance(found, dict)
    return found


def methods(document: dict[str, Any], under: str = "methods") -> dict[str, dict[str, Any]]:
    return {method["name"]: method for method in document[under]}


def listed(document: dict[str, Any]) -> list[dict[str, Any]]:
    """All methods and notifications, in both directions."""
    return [*document["methods"], *document["x-client-methods"], *document["x-notifications"]]


def told(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The notifications that the daemon sends, which OpenRPC has no place for."""
    return methods(document, "x-notifications")


def validator(document: dict[str, Any], schema: Any) -> Draft202012Validator:
    """Of a schema in the document, whose references are into the document."""
    return Draft202012Validator({"components": document["components"], "allOf": [schema]})


def params_schema(method: dict[str, Any]) -> dict[str, Any]:
    """What the params of a method must be, as its content descriptors say it."""
    return {
        "type": "object",
        "properties": {param["name"]: param["schema"] for param in method["params"]},
        "required": [param["name"] for param in method["params"] if param["required"]],
    }


# The document


def openrpc_validator() -> Draft7Validator:
    # The specification leaves the schemas to https://meta.json-schema.tools: draft-07's own, cut into more names.
    draft7 = Draft7Validator.META_SCHEMA
    named = {**draft7, "$id": "https://meta.json-schema.tools/"}
    named["definitions"] = {**draft7["definitions"], "JSONSchemaObject": {"properties": draft7["properties"]}}
    resource = DRAFT7.create_resource(named)
    registry = Registry[Any]().with_resources([(f"https://meta.json-schema.tools{end}", resource) for end in ("", "/")])
    return Draft7Validator(META_SCHEMA, registry=registry)


def test_the_document_is_valid_openrpc(document: dict[str, Any]) -> None:
    assert [error.message for error in openrpc_validator().iter_errors(document)] == []


def test_an_invalid_openrpc_document_fails_validation(document: dict[str, Any]) -> None:
    check = openrpc_validator()
    assert not check.is_valid(document | {"notifications": []})
    assert not check.is_valid(document | {"components": {"schemas": {"Thread": {"type": "text"}}}})


def test_the_document_lists_every_method_and_notification_once(document: dict[str, Any]) -> None:
    assert [method["name"] for method in document["methods"]] == [*METHODS, *FROM_CLIENT]
    assert [method["name"] for method in document["x-client-methods"]] == [one.name for one in CLIENT_ENDPOINTS]
    assert [method["name"] for method in document["x-notifications"]] == [*TO_CLIENT]
    assert document["x-protocol-version"] == PROTOCOL_VERSION


def test_only_notifications_have_no_result(document: dict[str, Any]) -> None:
    assert {name for name, method in methods(document).items() if "result" in method} == set(METHODS)
    assert not any("result" in notification for notification in told(document).values())


def test_the_document_has_every_error_code_with_its_kinds(document: dict[str, Any]) -> None:
    components = document["components"]["errors"].values()
    codes = {value for value in vars(errors).values() if isinstance(value, int)}
    assert {error["code"] for error in components} == codes
    for error in components:
        kinds = {kind for kind, made in KINDS.items() if made.code == error["code"]}
        data = [one["$ref"] for one in error["data"].get("anyOf", [error["data"]])]
        assert {schema_at(document, path)["properties"]["kind"]["enum"][0] for path in data} == kinds


def schema_at(document: dict[str, Any], path: str) -> Any:
    found = document
    for name in path.removeprefix("#/").split("/"):
        found = found[name]
    return found


def codes_of(document: dict[str, Any], method: dict[str, Any]) -> set[int]:
    return {schema_at(document, error["$ref"])["code"] for error in method["errors"]}


def test_a_method_lists_each_of_its_error_codes_once(document: dict[str, Any]) -> None:
    for name in METHODS:
        method = methods(document)[name]
        assert len(codes_of(document, method)) == len(method["errors"])
        assert codes_of(document, method) >= set(OF_ANY_REQUEST)


def test_params_are_by_name_and_required_ones_come_first(document: dict[str, Any]) -> None:
    for method in listed(document):
        assert method["paramStructure"] == "by-name"
        required = [param["required"] for param in method["params"]]
        assert required == sorted(required, reverse=True)
        names = [param["name"] for param in method["params"]]
        assert len(set(names)) == len(names)


def test_params_match_the_fields_of_the_structs(document: dict[str, Any]) -> None:
    for name, method in METHODS.items():
        if name == "command/dispatch":
            continue
        fields = {field.encode_name: field.required for field in msgspec.structs.fields(method.params)}
        listed = {param["name"]: param["required"] for param in methods(document)[name]["params"]}
        assert listed == fields, name


def test_command_dispatch_lists_the_params_of_all_commands_and_a_schema_for_each(
    document: dict[str, Any],
) -> None:
    dispatch = methods(document)["command/dispatch"]
    type, *others = dispatch["params"]
    assert type["schema"]["enum"] == [command.__name__ for command in COMMANDS]
    fields = {field.encode_name for command in COMMANDS for field in msgspec.structs.fields(command)}
    assert {param["name"] for param in others} == fields
    check = validator(document, dispatch["x-params-schema"])
    assert check.is_valid({"type": "ArchiveThread", "threadId": "t"})
    assert not check.is_valid({"type": "ArchiveThread"})
    assert not check.is_valid({"type": "ArchiveThread", "threadId": "t", "title": "x"})
    assert not check.is_valid({"type": "ArchiveThread", "threadId": "a\n"})
    assert not check.is_valid({"type": "Explode"})


def test_every_wire_struct_has_a_schema(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for struct in (*COMMANDS, *EVENTS, *ENTITIES.values()):
        assert set(schemas[struct.__name__]["properties"]) - {"type"} == {
            field.encode_name for field in msgspec.structs.fields(struct)
        }


def test_schemas_are_valid_and_every_reference_resolves(document: dict[str, Any]) -> None:
    found = list(schemas_in(document))
    for schema in found:
        Draft202012Validator.check_schema(schema)
    references = {reference for schema in found for reference in references_in(schema)}
    assert references <= {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert len(references) > len(COMMANDS) + len(EVENTS)


def test_descriptions_use_the_wire_names_of_fields(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert "`$/progress`" in schemas["InitializeParams"]["properties"]["workDoneToken"]["description"]


def schemas_in(document: dict[str, Any]) -> Iterator[Any]:
    yield from document["components"]["schemas"].values()
    for method in listed(document):
        yield from (param["schema"] for param in method["params"])
        if "result" in method:
            yield method["result"]["schema"]


def references_in(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key == "$ref":
                yield value
            else:
                yield from references_in(value)
    elif isinstance(schema, list):
        for item in schema:
            yield from references_in(item)


# The document matches a session


def test_results_and_notifications_of_a_session_match_the_document(
    document: dict[str, Any], played: list[tuple[dict[str, Any], list[Any]]]
) -> None:
    checks = {
        name: validator(document, m["result"]["schema"]) for name, m in methods(document).items() if "result" in m
    }
    checks |= {name: validator(document, params_schema(one)) for name, one in told(document).items()}
    seen = set()
    for step, received in played:
        asked = {m["id"]: m["method"] for m in flat(step["send"]) if isinstance(m, dict) and "id" in m}
        for message in flat(received):
            if "method" in message:
                checks[message["method"]].validate(message["params"])
                seen.add(message["method"])
            elif "result" in message:
                checks[asked[message["id"]]].validate(message["result"])
                seen.add(asked[message["id"]])
    assert seen == {*METHODS, "projection/changed", "event/appended"} - OF_REPOSITORIES


def test_accepted_params_of_a_session_match_the_document(
    document: dict[str, Any], played: list[tuple[dict[str, Any], list[Any]]]
) -> None:
    seen = set()
    for step, received in played:
        taken = {m["id"] for m in flat(received) if "result" in m}
        for message in flat(step["send"]):
            if isinstance(message, dict) and message.get("id") in taken:
                method = methods(document)[message["method"]]
                validator(document, params_schema(method)).validate(message.get("params") or {})
                if "x-params-schema" in method:
                    validator(document, method["x-params-schema"]).validate(message["params"])
                seen.add(message["method"])
    assert seen == set(METHODS) - OF_REPOSITORIES


def flat(messages: list[Any]) -> list[Any]:
    return [one for m in messages for one in (m if isinstance(m, list) else [m])]


def test_every_error_of_a_session_is_listed_for_its_method(
    document: dict[str, Any], played: list[tuple[dict[str, Any], list[Any]]]
) -> None:
    seen = set()
    for step, received in played:
        asked = {
            m["id"]: m["method"] for m in flat(step["send"]) if isinstance(m, dict) and "id" in m and "method" in m
        }
        for message in flat(received):
            method = methods(document).get(asked.get(message.get("id"), ""))
            if "error" in message and method is not None:
                assert message["error"]["code"] in codes_of(document, method), (step["does"], message)
                seen.add(message["error"]["code"])
    assert seen >= {errors.REJECTED, errors.NOT_FOUND, errors.CONFLICT, errors.INVALID_PARAMS}
