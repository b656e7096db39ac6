"""The machine-readable protocol: its documents are valid, match what is sent, and are up to date."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

import contract
from support import needs
from test_rpc_golden import METHODS, golden_errors
from treadle.contract.kinds import KINDS
from treadle.contract.methods import CLIENT_ENDPOINTS, FROM_CLIENT, PAGE_BYTES, TO_CLIENT
from treadle.contract.openrpc import openrpc
from treadle.contract.schema import json_schema
from treadle.domain.commands import COMMANDS
from treadle.domain.entities import ENTITIES
from treadle.domain.events import EVENTS
from treadle.store.pages import MAX_BYTES
from wire import TREADLE

GOLDEN = Path(__file__).parent / "golden"
SCHEMA = json_schema()
NODE = Path(__file__).parent / "node"
VSCODE = contract.ROOT / "docs" / "clients" / "vscode"
NODE_BIN = VSCODE / "node_modules" / ".bin"

has_node_packages = pytest.mark.skipif(
    not (NODE_BIN / "json2ts").exists() and "CI" not in os.environ,
    reason="the packages of docs/clients/vscode are not installed: tests/install does that",
)


def validator(name: str) -> Draft202012Validator:
    """Of one of its definitions."""
    return Draft202012Validator({"$defs": SCHEMA["$defs"], "$ref": f"#/$defs/{name}"})


# Generated files


@pytest.mark.parametrize("path", contract.COPIES, ids=lambda path: str(path.name))
def test_generated_files_are_up_to_date(path: Path) -> None:
    assert path.read_text("utf-8") == contract.COPIES[path](), f"{path} is stale: make schema"


@pytest.fixture(scope="module")
def typescript(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the types as the example for VS Code generates them, and with what a client does with them."""
    folder = tmp_path_factory.mktemp("typescript")
    for name in ("check.ts", "tsconfig.json"):
        (folder / name).write_text((NODE / name).read_text("utf-8"), "utf-8")
    (folder / "schema.json").write_text(json.dumps(SCHEMA), "utf-8")
    types = json.loads((VSCODE / "package.json").read_text("utf-8"))["scripts"]["types"]
    done = subprocess.run(
        types.replace("../../schema.json", "schema.json"),
        shell=True,
        cwd=folder,
        env=os.environ | {"PATH": f"{NODE_BIN}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return folder


@needs("node")
@has_node_packages
def test_every_schema_definition_has_a_typescript_type(typescript: Path) -> None:
    types = (typescript / "treadle.d.ts").read_text("utf-8")
    assert set(re.findall(r"^export (?:interface|type) (\w+)", types, re.MULTILINE)) == {*SCHEMA["$defs"], "Protocol"}


@needs("node")
@has_node_packages
def test_the_typescript_types_compile_and_reject_wrong_uses(typescript: Path) -> None:
    done = subprocess.run(
        [NODE_BIN / "tsc", "--project", typescript], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout


# The JSON Schema


def test_the_schema_is_valid_and_every_reference_resolves() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert set(references_in(SCHEMA)) <= {f"#/$defs/{name}" for name in SCHEMA["$defs"]}


def references_in(schema: Any) -> Iterator[str]:
    for key, value in schema.items() if isinstance(schema, dict) else enumerate(schema):
        if key == "$ref":
            yield value
        elif isinstance(value, dict | list):
            yield from references_in(value)


def test_the_schema_has_every_command_event_entity_and_error_kind() -> None:
    for struct in (*COMMANDS, *EVENTS, *ENTITIES.values()):
        properties = SCHEMA["$defs"][struct.__name__]["properties"]
        assert set(properties) - {"type"} == {field.encode_name for field in msgspec.structs.fields(struct)}
    kinds = [SCHEMA["$defs"][one["$ref"].rpartition("/")[2]] for one in SCHEMA["$defs"]["ErrorData"]["anyOf"]]
    assert [kind["properties"]["kind"]["enum"] for kind in kinds] == [[kind] for kind in KINDS]


def test_the_schema_has_every_method_and_notification() -> None:
    assert list(SCHEMA["$defs"]["Methods"]["properties"]) == list(METHODS)
    assert list(SCHEMA["$defs"]["ClientMethods"]["properties"]) == [endpoint.name for endpoint in CLIENT_ENDPOINTS]
    assert list(SCHEMA["$defs"]["ToClient"]["properties"]) == list(TO_CLIENT)
    assert list(SCHEMA["$defs"]["FromClient"]["properties"]) == list(FROM_CLIENT)


@pytest.mark.parametrize(("file", "union"), [("commands", "Command"), ("events", "Event")])
def test_golden_commands_and_events_match_the_schema(file: str, union: str) -> None:
    for name, forms in json.loads((GOLDEN / f"{file}.json").read_text()).items():
        for golden in forms.values():
            validator(name).validate(golden)
            validator(union).validate(golden)


def test_golden_errors_match_the_schema_without_extra_members() -> None:
    seen = set()
    for error in golden_errors():
        validator("ErrorObject").validate(error)
        kind = error["data"]["kind"]
        assert error["code"] == KINDS[kind].code
        assert set(error["data"]) == {"kind", *KINDS[kind].members}, kind
        seen.add(kind)
    assert len(seen) > len(KINDS) / 2


def test_only_what_clients_send_forbids_additional_properties() -> None:
    closed = {name for name, schema in SCHEMA["$defs"].items() if schema.get("additionalProperties") is False}
    of_clients = {command.__name__ for command in COMMANDS} | {
        "ApprovalOption",
        "CleanTexts",
        "Origin",
        "OriginFilter",
        "ParentThread",
        "ForkedThread",
        "SkippedPathname",
        "Scope",
        "RuleMatch",
    }
    of_clients |= {name for name in SCHEMA["$defs"] if name.endswith("Params")}
    assert closed == of_clients - {"InitializeParams", "CancelParams", "IgnoredParams"}


def test_the_value_of_a_change_must_match_its_entity() -> None:
    setting = {"sequence": 1, "key": "k", "value": 1, "updatedAt": "2026-01-31T12:00:00.000Z"}
    assert validator("Change").is_valid({"type": "upsert", "entity": "setting", "value": setting})
    assert not validator("Change").is_valid({"type": "upsert", "entity": "thread", "value": setting})


def test_descriptions_use_the_wire_names_of_fields() -> None:
    described = SCHEMA["$defs"]["Thread"]["properties"]["version"]["description"]
    assert described.endswith("Send it back as `expectedVersion`")
    assert SCHEMA["$defs"]["StartTurn"]["properties"]["commandId"]["description"].startswith("Identifies this command")
    texts = re.findall(r'"description": "(.*?)"', json.dumps(SCHEMA))
    assert len(texts) > 100
    assert not [text for text in texts if re.search(r"\b[a-z]+_(?:id|token|sequence|version|cursor)\b", text)]


def test_optional_client_members_are_nullable_and_document_their_default() -> None:
    assert SCHEMA["$defs"]["ThreadListParams"]["properties"]["limit"]["default"] == 50
    assert validator("ThreadListParams").is_valid({"limit": None})
    assert not validator("ThreadListParams").is_valid({"limit": 0})
    for name, struct in SCHEMA["$defs"].items():
        if struct.get("additionalProperties") is False:
            for member in struct["properties"].keys() - set(struct["required"]):
                assert Draft202012Validator({"$defs": SCHEMA["$defs"], **struct["properties"][member]}).is_valid(
                    None
                ), (name, member)


def test_the_page_size_limit_is_the_one_in_the_contract() -> None:
    assert PAGE_BYTES == MAX_BYTES


# The schema command


def schema(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*TREADLE, "schema", *arguments], cwd=cwd, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize(
    ("arguments", "document"),
    [
        ([], openrpc()),
        (["--format", "openrpc"], openrpc()),
        (["--format", "json-schema"], SCHEMA),
    ],
)
def test_the_schema_command_prints_the_document_and_creates_no_files(
    arguments: list[str], document: dict[str, Any], tmp_path: Path
) -> None:
    done = schema(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == document
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_schema_format_is_rejected_with_the_valid_ones(tmp_path: Path) -> None:
    done = schema("--format", "yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "openrpc" in done.stderr
    assert "json-schema" in done.stderr


def test_a_closed_pipe_does_not_print_a_traceback(tmp_path: Path) -> None:
    ran = subprocess.run(
        ["bash", "-c", f'set -o pipefail; "{sys.executable}" -m treadle schema | head -c 1'],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.stdout == "{"
    assert ran.stderr == ""
