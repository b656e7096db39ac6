"""The documentation is true and complete: its sessions are replayed, and everything in the protocol is documented."""

import importlib
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

import docs_help
import treadle
from docs_exchanges import Block, Examples, cut, pretty, replay, sessions
from support import needs
from test_decider import IN_NO_THREAD, NOT_FOUND, REJECTED, SHARED_REJECTED
from treadle.contract import errors, results
from treadle.contract import methods as endpoints
from treadle.contract.kinds import CODES, KINDS
from treadle.contract.schema import FREE, NULL, name_of, variants_of
from treadle.domain import commands, entities
from treadle.server.app import Daemon, Options
from treadle.server.handlers import methods_of
from treadle.store import errors as store_errors
from treadle.store.shared import failures
from treadle.store.sqlite.store import Store
from treadle.workspace import (
    checkpoints,
    git,
    provenance,
    repositories,
    restore,
    snapshots,
    thread_folders,
    thread_worktrees,
    worktrees,
)

ROOT = Path(__file__).parent.parent
PROTOCOL, ARCHITECTURE = "docs/protocol.md", "docs/architecture.md"
PAGES = ["README.md", *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").glob("*.md")))]

SHELL_BLOCK = re.compile(r"^```sh run\n(.*?)^```\n(?:.*?^```text output\n(.*?)^```)", re.MULTILINE | re.DOTALL)
END_OF_BLOCK = "--- end of block ---"


@cache
def read(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


@cache
def prose(page: str) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", read(page), flags=re.MULTILINE | re.DOTALL)


def section(page: str, heading: str) -> str:
    """What is under a heading, up to the next one of the same or a higher level."""
    found = re.search(rf"^(#+) `?{re.escape(heading)}`?\n(.*)", prose(page), re.MULTILINE | re.DOTALL)
    assert found, f"{page} has no heading «{heading}»"
    return re.split(rf"^#{{1,{len(found[1])}}} ", found[2], maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> Iterator[list[str]]:
    """The cells of each row of the tables in it, heads included."""
    for line in text.splitlines():
        if line.startswith("| ") and not line.startswith("| ---"):
            yield [cell.strip() for cell in line.strip("| ").split(" | ")]


def made(text: str) -> set[str]:
    """Which tables in it are made from the structs: tests/test_contract.py sees that they are not stale."""
    return set(re.findall(r"^<!-- made: (.*) -->$", text, re.MULTILINE))


def fields(struct: Any) -> set[str]:
    """The fields that a struct has on the wire."""
    return {field.encode_name for field in msgspec.structs.fields(struct)}


@pytest.fixture(scope="module")
def methods() -> dict[str, Any]:
    """Every method and notification that the daemon takes, by name."""
    return dict(Daemon(Options(data_dir=Path("nowhere")), methods_of, lambda body: None).session.methods)


# The examples work


def check(block: Block, said: Any) -> None:
    assert said == block.value, f"the page says\n{pretty(block.value)}\nthe daemon says\n{pretty(said)}"


async def test_every_exchange_in_the_protocol_matches_a_real_daemon(tmp_path: Path) -> None:
    for name, blocks in sessions(read(PROTOCOL)).items():
        await replay(name, blocks, tmp_path / "data", check)


def test_the_exchanges_cover_every_command_method_and_notification(methods: dict[str, Any]) -> None:
    blocks = [block for blocks in sessions(read(PROTOCOL)).values() for block in blocks]
    text = json.dumps([block.value for block in blocks])
    for type in commands.BY_TYPE:
        assert f'"type": "{type}"' in text, type
    for method in declared(methods) - {"$/setTrace"}:
        assert f'"method": "{method}"' in text, method
    for kind in ("request", "answer", "notification"):
        assert any(block.kind == kind for block in blocks)


def declared(methods: dict[str, Any]) -> set[str]:
    """Every method and notification, of the daemon and of the client."""
    of_client = {endpoint.name for endpoint in endpoints.CLIENT_ENDPOINTS}
    return {*methods, *of_client, *endpoints.TO_CLIENT, *endpoints.FROM_CLIENT}


def test_every_method_that_the_protocol_names_is_declared(methods: dict[str, Any]) -> None:
    in_text = re.findall(r"`((?:\$|[a-z]+)/[a-zA-Z/]+)`", prose(PROTOCOL))
    named = {name for name in in_text if not (ROOT / name).exists()}
    named.update(re.findall(r'"method": "([^"]+)"', read(PROTOCOL)))
    assert named - declared(methods) == {"thread/open"}  # the example of methodNotFound


def test_every_message_that_the_protocol_shows_is_replayed() -> None:
    replayed = [block.value for blocks in sessions(read(PROTOCOL)).values() for block in blocks]
    blocks = re.findall(r"^```json[^\n]*\n(.*?)^```$", read(PROTOCOL), re.MULTILINE | re.DOTALL)
    messages = [message for message in map(json.loads, blocks) if "jsonrpc" in json.dumps(message)]
    assert [message for message in messages if message not in replayed] == []


@needs("jq")
@pytest.mark.parametrize(("page", "least"), [("README.md", 2), ("docs/cli.md", 4)])
def test_a_shell_session_prints_what_its_page_shows(page: str, least: int, tmp_path: Path) -> None:
    blocks = SHELL_BLOCK.findall(read(page))
    assert len(blocks) >= least
    script = "".join(f"{commands}\necho '{END_OF_BLOCK}'\n" for commands, _ in blocks)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ran = subprocess.run(
        ["bash", "-euc", script],
        cwd=ROOT,
        env={"PATH": path, "HOME": str(tmp_path), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    said, examples, shown = ran.stdout.split(f"{END_OF_BLOCK}\n"), Examples(), Examples()
    for (_, expected), actual in zip(blocks, said, strict=False):
        wanted, got = expected.splitlines(), actual.splitlines()
        assert len(got) == len(wanted), actual
        for line, want in zip(got, wanted, strict=True):
            if want.startswith("{"):
                want_value = shown.shown(json.loads(want))
                assert cut(examples.shown(json.loads(line)), want_value) == want_value
            else:
                assert examples.shown(line) == shown.shown(want)


def test_the_program_on_the_client_page_prints_what_the_page_shows(tmp_path: Path) -> None:
    [(text, output)] = re.findall(
        r"^```python run\n(.*?)^```\n\n```text output\n(.*?)^```", read("docs/python.md"), re.MULTILINE | re.DOTALL
    )
    program = tmp_path / "program.py"
    program.write_text(text, "utf-8")
    ran = subprocess.run([sys.executable, program], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, output, "")


@pytest.mark.parametrize("page", PAGES)
def test_every_json_block_is_valid_json(page: str) -> None:
    for text in re.findall(r"^```json[^\n]*\n(.*?)^```$", read(page), re.MULTILINE | re.DOTALL):
        json.loads(text)


def test_the_content_length_of_example_messages_is_right() -> None:
    shown = re.findall(r"^Content-Length: (\d+)\n\n(.*)$", read(PROTOCOL), re.MULTILINE)
    assert shown
    for length, body in shown:
        assert len(body.encode()) == int(length)


# The documentation is complete and has nothing that the code does not have


def test_the_protocol_page_names_the_current_protocol_version() -> None:
    assert re.search(rf"This is version {endpoints.PROTOCOL_VERSION}\s+of\s+the\s+protocol\.", read(PROTOCOL))


@pytest.mark.parametrize("command", commands.COMMANDS, ids=lambda command: str(command.__name__))
def test_every_command_is_documented_with_its_fields(command: type[commands.Command]) -> None:
    text = section(PROTOCOL, command.__name__)
    assert f"field {command.__name__}" in made(text)
    assert "Events: " in text
    rejected = re.search(r"^Rejected: (.*?)\. Events: ", text, re.MULTILINE | re.DOTALL)
    assert rejected
    assert set(re.findall(r"`([a-z]+[A-Z]\w+)`", rejected[1])) == rejections(command)


def rejections(command: type[commands.Command]) -> set[str]:
    """The kinds that the tests of the decider see it rejected with."""
    all_rejected = [*REJECTED.values(), *SHARED_REJECTED.values()]
    found = {kind for _, rejected, kind, _ in all_rejected if type(rejected) is command}
    missing = [*(rejected for _, rejected, _, _ in NOT_FOUND.values()), *IN_NO_THREAD]
    return found | {"notFound" for rejected in missing if type(rejected) is command}


def test_every_event_and_error_is_documented_with_its_members() -> None:
    assert "events" in made(section(PROTOCOL, "Events"))
    assert "errors" in made(section(PROTOCOL, "Errors"))


@pytest.mark.parametrize("name", entities.ENTITIES)
def test_every_entity_is_documented_with_its_fields(name: str) -> None:
    assert f"field {entities.ENTITIES[name].__name__}" in made(section(PROTOCOL, name))


@pytest.mark.parametrize(
    "endpoint", [*endpoints.ENDPOINTS, *endpoints.CLIENT_ENDPOINTS], ids=lambda endpoint: str(endpoint.name)
)
def test_every_method_is_documented_with_its_params_and_its_result(endpoint: Any) -> None:
    there = made(section(PROTOCOL, endpoint.name))
    if isinstance(endpoint.params, type) and fields(endpoint.params):
        assert f"param {name_of(endpoint.params)}" in there
    for result in variants_of(endpoint.result) if endpoint in endpoints.CLIENT_ENDPOINTS else (endpoint.result,):
        if result not in (NULL, FREE):
            assert f"result {name_of(result)}" in there


def test_every_notification_and_change_is_documented_with_its_members() -> None:
    for name, (_, struct) in [*endpoints.TO_CLIENT.items(), *endpoints.FROM_CLIENT.items()]:
        if name != "$/setTrace":
            there = section(PROTOCOL, name)
            assert not fields(struct) or f"param {struct.__name__}" in made(there)
    assert "`$/setTrace`" in prose(PROTOCOL)
    changes = {cells[0].strip("`"): set(re.findall(r"`(\w+)`", cells[1])) for cells in rows(prose(PROTOCOL))}
    for change in (results.UpsertChange, results.AppendChange, results.RemoveChange):
        assert changes[str(change.__struct_config__.tag)] == set(fields(change))


def kinds() -> set[str]:
    """Every `data.kind` in the source."""
    found = {kind for kind, _ in store_errors._EXPLANATIONS.values()}
    patterns = (
        r'\b(?:Rejected|Conflict)\(\s*"(\w+)"',
        r'super\(\)\.__init__\("(\w+)"',
        r'"kind": "(\w+)"',
        r'^    kind = "(\w+)"',
    )
    for path in (ROOT / "daemon").rglob("*.py"):
        for pattern in patterns:
            found.update(re.findall(pattern, path.read_text("utf-8"), re.MULTILINE))
    found |= {kind for kind, _ in failures._BY_STATE.values()} | {"logInsecure"}
    found -= {failures.LEASED}  # no request asks for a lease
    for module in (
        git, repositories, snapshots, checkpoints, restore, provenance, worktrees, thread_folders, thread_worktrees
    ):  # fmt: skip
        found.update(re.findall(r'GitError\(\s*"(\w+)"', inspect.getsource(module)))
    return found - {"foreignRef"}  # no request names a ref


def test_every_error_kind_has_its_code() -> None:
    assert set(KINDS) == kinds()
    assert {kind.code for kind in KINDS.values()} == set(CODES)
    for error in (
        errors.parse_error(""),
        errors.invalid_request(""),
        errors.message_too_large(1),
        errors.method_not_found(""),
        errors.invalid_params("", ""),
        errors.internal_error(),
        errors.bad_config(""),
        errors.not_initialized(),
        errors.cancelled(),
        errors.overloaded("", 1),
    ):
        kind = KINDS[str(error.data["kind"])]
        assert (kind.code, set(kind.members)) == (error.code, set(error.data) - {"kind"})


@pytest.mark.parametrize("name", docs_help.said())
def test_the_cli_page_shows_the_help_of_every_command(name: str) -> None:
    """Line breaks are ignored: they differ between Python releases."""
    assert docs_help.shown(read("docs/cli.md"))[name].split() == docs_help.said()[name].split()


def test_the_cli_page_documents_no_unknown_command() -> None:
    assert docs_help.shown(read("docs/cli.md")).keys() == docs_help.said().keys()


def test_the_table_of_commands_is_complete() -> None:
    listed = [cells[0].strip("`") for cells in rows(section("docs/cli.md", "Commands"))][1:]
    words = docs_help.said()
    fitting = [[name for name in words if f"{line} ".startswith(f"{name} ")] for line in listed]
    assert [max(names, key=len) for names in fitting] == list(words)
    for option in ("--data-dir", "--log-level", "--version", "--help"):
        assert option in section("docs/cli.md", "Commands")


@pytest.mark.parametrize("option", ["--durability", "--linger-ms", "--max-message-bytes", "--log-level", "--log-file"])
def test_the_protocol_documents_every_option_of_serve(option: str) -> None:
    assert option in docs_help.said()["treadle serve"]
    assert f"`{option}" in section(PROTOCOL, "Start it")


CONSTANT = re.compile(r"`(treadle[\w.]*)\.([A-Z_]+)`$")


def test_sizes_in_the_architecture_match_the_code() -> None:
    table = [cells for cells in rows(prose(ARCHITECTURE)) if CONSTANT.match(cells[-1])]
    assert len(table) >= 15
    for *_, size, name in table:
        module, constant = CONSTANT.findall(name)[0]
        assert amount(size) == getattr(importlib.import_module(module), constant), name


def amount(text: str) -> float:
    """`1,000`, `4 MiB`, `0.05 s`, as a number."""
    number, _, unit = text.partition(" ")
    return float(number.replace(",", "")) * {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}.get(unit, 1)


def test_limits_in_the_protocol_match_the_architecture() -> None:
    known = {amount(cells[-2]) for cells in rows(prose(ARCHITECTURE)) if CONSTANT.match(cells[-1])}
    known.add(Options(data_dir=Path("nowhere")).max_message_bytes)
    for cells in rows(section(PROTOCOL, "Limits")):
        for number in re.findall(r"[\d,]+(?: [KMG]iB)?", cells[1]):
            assert amount(number) in known, cells


def test_the_architecture_names_every_module_and_folder() -> None:
    text = prose(ARCHITECTURE)
    for path in (ROOT / "daemon" / "treadle").rglob("*.py"):
        if not path.name.startswith("__"):
            assert f"`{path.relative_to(ROOT / 'daemon' / 'treadle')}`" in text, path
    for path in (ROOT / "sql").iterdir():
        assert f"`sql/{path.name}/" in text, path


async def test_the_architecture_names_every_file_of_a_data_directory(tmp_path: Path) -> None:
    store = await Store.open(tmp_path)
    store.runner.acquire()
    await store.rebuild()
    there = [path.name for path in tmp_path.iterdir()]
    await store.close()
    assert {"treadle.db-wal", "runners"} <= set(there)
    for name in there:
        assert f"`{name}" in section(ARCHITECTURE, "The data directory"), name


# Links and names exist


def slug(heading: str) -> str:
    """The anchor that GitHub and others give to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES)
def test_every_link_has_a_target(page: str) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", prose(page)):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", prose(str(file.resolve().relative_to(ROOT))), re.MULTILINE)
            assert anchor in map(slug, headings), target


@pytest.mark.parametrize("page", PAGES)
def test_every_file_and_test_named_in_the_docs_exists(page: str) -> None:
    for name in re.findall(r"`((?:daemon/treadle|sql|tests|docs|\.ci)/[\w./-]*\w)`", prose(page)):
        assert (ROOT / name).exists() or re.search("[A-Z]{3}", name), name  # NNN and the like stand for a name
    there = "\n".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    for name in re.findall(r"`(test_\w+)`", prose(page)):
        assert re.search(rf"^ *(?:async )?def {name}\(", there, re.MULTILINE), name


def test_make_targets_in_the_docs_exist_and_the_readme_names_demo_and_test() -> None:
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    named = {target for page in PAGES for target in re.findall(r"\bmake ([a-z-]+)\b", code_in(read(page)))}
    assert named <= targets
    assert {"demo", "test"} <= set(re.findall(r"\bmake ([a-z-]+)\b", code_in(read("README.md"))))


def code_in(page: str) -> str:
    """Its fenced blocks and its code in lines."""
    return "\n".join(re.findall(r"^```.*?^```$|`[^`\n]+`", page, re.MULTILINE | re.DOTALL))


def test_the_changelog_has_an_entry_for_this_version() -> None:
    assert f"## {treadle.__version__}" in read("docs/changelog.md")
