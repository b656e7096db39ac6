"""rpc.discover: an OpenRPC document that says what the daemon takes and gives, and no more than that.

tests/golden/openrpc.json is the specification's own schema of such a document.
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

from test_rpc_golden import METHODS, SESSION
from treadle.domain.commands import COMMANDS
from treadle.domain.entities import ENTITIES
from treadle.domain.events import EVENTS
from treadle.rpc import errors
from treadle.rpc.schema import FROM_CLIENT, NOTIFICATIONS
from wire import spawn

META_SCHEMA = json.loads((Path(__file__).parent / "golden" / "openrpc.json").read_text())


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[dict[str, Any], list[Any]]]:
    """The golden session: each step, and what came."""
    data_dir = tmp_path_factory.mktemp("discover") / "data"
    steps = []
    with spawn(data_dir) as daemon:
        for step in SESSION:
            daemon.send_together(m.encode() if isinstance(m, str) else m for m in step["send"])
            steps.append((step, [daemon.message() for _ in step["receive"]]))
    return steps


@pytest.fixture(scope="module")
def document(played: list[tuple[dict[str, Any], list[Any]]]) -> dict[str, Any]:
    (found,) = (received[0]["result"] for step, received in played if step["does"] == "rpc.discover")
    assert isinstance(found, dict)
    return found


def methods(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {method["name"]: method for method in document["methods"]}


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


def test_it_is_an_openrpc_document(document: dict[str, Any]) -> None:
    # It leaves JSON Schema to another document; that part has a test of its own.
    anything = DRAFT7.create_resource({})
    registry = Registry[Any]().with_resources([(f"https://meta.json-schema.tools{end}", anything) for end in ("", "/")])
    assert [error.message for error in Draft7Validator(META_SCHEMA, registry=registry).iter_errors(document)] == []


def test_it_lists_every_method_and_notification_once(document: dict[str, Any]) -> None:
    names = [method["name"] for method in document["methods"]]
    assert sorted(names) == sorted([*METHODS, *NOTIFICATIONS, *FROM_CLIENT])


def test_a_notification_has_no_result_and_says_who_sends_it(document: dict[str, Any]) -> None:
    directions = {name: method.get("x-direction") for name, method in methods(document).items()}
    assert directions == {
        **dict.fromkeys(METHODS),
        **dict.fromkeys(NOTIFICATIONS, "daemon to client"),
        **dict.fromkeys(FROM_CLIENT, "client to daemon"),
    }
    assert {name for name, method in methods(document).items() if "result" in method} == set(METHODS)


def test_its_methods_name_every_error_code(document: dict[str, Any]) -> None:
    codes = {value for value in vars(errors).values() if isinstance(value, int)}
    for name in METHODS:
        assert {error["code"] for error in methods(document)[name]["errors"]} == codes


def test_params_are_by_name_and_those_that_are_required_come_first(document: dict[str, Any]) -> None:
    for method in document["methods"]:
        assert method["paramStructure"] == "by-name"
        required = [param["required"] for param in method["params"]]
        assert required == sorted(required, reverse=True)
        names = [param["name"] for param in method["params"]]
        assert len(set(names)) == len(names)


def test_params_are_the_fields_of_the_structs(document: dict[str, Any]) -> None:
    for name, method in METHODS.items():
        if name == "command/dispatch":
            continue
        struct = method.params if isinstance(method.params, type) else method.params.__args__[0]
        fields = {field.encode_name: field.required for field in msgspec.structs.fields(struct)}
        listed = {param["name"]: param["required"] for param in methods(document)[name]["params"]}
        assert listed == fields, name


def test_a_commands_params_are_those_of_all_commands_and_a_schema_says_which_go_together(
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


def test_every_struct_of_the_wire_is_among_its_schemas(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for struct in (*COMMANDS, *EVENTS, *ENTITIES.values()):
        assert set(schemas[struct.__name__]["properties"]) - {"type"} == {
            field.encode_name for field in msgspec.structs.fields(struct)
        }


def test_its_schemas_are_json_schemas_and_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    found = list(schemas_in(document))
    for schema in found:
        Draft202012Validator.check_schema(schema)
    references = {reference for schema in found for reference in references_in(schema)}
    assert references <= {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert len(references) > len(COMMANDS) + len(EVENTS)


def test_descriptions_name_fields_as_they_are_on_the_wire(document: dict[str, Any]) -> None:
    described = {name: schema.get("description", "") for name, schema in document["components"]["schemas"].items()}
    assert "workDoneToken" in described["InitializeParams"]
    assert not any("work_done_token" in text or "\n    " in text for text in described.values())


def schemas_in(document: dict[str, Any]) -> Iterator[Any]:
    yield from document["components"]["schemas"].values()
    for method in document["methods"]:
        yield from (param["schema"] for param in method["params"])
        if "result" in method:
            yield method["result"]["schema"]


def references_in(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key == "$ref":
                yield value
            elif key == "discriminator":
                yield from value["mapping"].values()
            else:
                yield from references_in(value)
    elif isinstance(schema, list):
        for item in schema:
            yield from references_in(item)


# What it says is so


def test_every_result_and_notification_of_a_session_is_as_it_says(
    document: dict[str, Any], played: list[tuple[dict[str, Any], list[Any]]]
) -> None:
    checks = {
        name: validator(document, m["result"]["schema"]) for name, m in methods(document).items() if "result" in m
    }
    told = {name: validator(document, params_schema(methods(document)[name])) for name in NOTIFICATIONS}
    seen = set()
    for step, received in played:
        asked = {m["id"]: m["method"] for m in flat(step["send"]) if isinstance(m, dict) and "id" in m}
        for message in flat(received):
            if "method" in message:
                told[message["method"]].validate(message["params"])
                seen.add(message["method"])
            elif "result" in message:
                checks[asked[message["id"]]].validate(message["result"])
                seen.add(asked[message["id"]])
    assert seen == {*METHODS, "projection/changed", "event/appended"}


def test_all_params_of_a_session_that_were_taken_are_as_it_says(
    document: dict[str, Any], played: list[tuple[dict[str, Any], list[Any]]]
) -> None:
    for step, received in played:
        taken = {m["id"] for m in flat(received) if "result" in m}
        for message in flat(step["send"]):
            if isinstance(message, dict) and message.get("id") in taken:
                method = methods(document)[message["method"]]
                validator(document, params_schema(method)).validate(message.get("params") or {})
                if "x-params-schema" in method:
                    validator(document, method["x-params-schema"]).validate(message["params"])


def flat(messages: list[Any]) -> list[Any]:
    return [one for m in messages for one in (m if isinstance(m, list) else [m])]
