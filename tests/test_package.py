"""The installed package runs, and imports between its packages point one way."""

import ast
import graphlib
import re
import sys
import tomllib
import zipfile
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import msgspec
import pytest

import treadle
from support import CHECKOUT, output_of

PACKAGE = CHECKOUT / "daemon" / "treadle"
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


# The wheel


def test_the_wheel_contains_the_package_and_every_sql_file(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name: archive.read(name) for name in archive.namelist() if ".dist-info/" not in name}
    expected = {str(path.relative_to(PACKAGE.parent)): path for path in PACKAGE.rglob("*.py")}
    expected |= {f"treadle/{path.relative_to(CHECKOUT)}": path for path in (CHECKOUT / "sql").rglob("*.sql")}
    expected["treadle/py.typed"] = PACKAGE / "py.typed"
    assert {name: len(content) for name, content in held.items()} == {
        name: path.stat().st_size for name, path in expected.items()
    }


def test_the_installed_command_runs_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    assert output_of(str(installed / "treadle"), "--version", cwd=tmp_path) == f"treadle {treadle.__version__}\n"
    where = output_of(
        *(str(installed / "python"), "-c"),
        "import treadle, treadle.store.sqlite.sql as sql; print(treadle.__file__); print(sql.ROOT)",
        cwd=tmp_path,
    )
    for path in map(Path, where.splitlines()):
        assert path.is_relative_to(installed.parent)


def test_the_installed_daemon_answers_requests(installed: Path, tmp_path: Path) -> None:
    requests = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}},
        {
            "jsonrpc": "2.0",
            "id": 2,
            "method": "command/dispatch",
            "params": {"type": "CreateProject", "id": "p", "name": "P", "path": "/p"},
        },
        {"jsonrpc": "2.0", "id": 3, "method": "project/list"},
        {"jsonrpc": "2.0", "id": 4, "method": "rpc.discover"},
        {"jsonrpc": "2.0", "id": 5, "method": "shutdown"},
        {"jsonrpc": "2.0", "method": "exit"},
    ]
    text = "".join(msgspec.json.encode(request).decode() + "\n" for request in requests)
    data = str(tmp_path / "data")
    printed = output_of(str(installed / "treadle"), "serve", "--data-dir", data, cwd=tmp_path, text=text)
    answers = {answer["id"]: answer["result"] for answer in map(msgspec.json.decode, printed.splitlines())}
    assert answers.keys() == {1, 2, 3, 4, 5}
    assert answers[3]["items"][0]["path"] == "/p"
    assert answers[4]["info"]["version"] == treadle.__version__
    verified = output_of(str(installed / "python"), "-m", "treadle", "verify", "--data-dir", data, cwd=tmp_path)
    assert verified == "OK: 15 tables match a replay of 1 events\n"


# Imports


def imports(module: str) -> Iterator[str]:
    """What a module imports, wherever in it: modules of ours by their whole name, others by their first."""
    for node in ast.walk(ast.parse(MODULES[module].read_text("utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}: whole names say where something is"
            names = [node.module or ""]
            for alias in node.names:
                if f"{node.module}.{alias.name}" in MODULES:
                    names.append(f"{node.module}.{alias.name}")
        for name in names:
            yield name if name in MODULES else name.partition(".")[0]


def ours(module: str) -> set[str]:
    return {name for name in imports(module) if name in MODULES} - {"treadle"}


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("treadle.domain")])
def test_the_domain_imports_only_itself_the_standard_library_and_msgspec(module: str) -> None:
    for name in imports(module):
        assert name in sys.stdlib_module_names | {"msgspec"} or name.startswith("treadle.domain"), name


IMPURE = {"os", "io", "time", "datetime", "random", "secrets", "uuid", "asyncio", "sqlite3", "threading", "pathlib"}


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("treadle.domain")])
def test_the_domain_imports_no_modules_with_side_effects(module: str) -> None:
    assert not IMPURE & set(imports(module))


ROOMS = {
    "domain": set(),
    "contract": {"domain"},
    "store": {"contract", "domain"},
    "core": {"store", "contract", "domain"},
    "publish": {"store", "contract", "domain"},
    "agents": {"contract", "domain"},
    "workspace": {"core", "store", "contract", "domain"},
    "runner": {"workspace", "agents", "core", "store", "contract", "domain"},
    "transfer": {"agents", "core", "store", "contract", "domain"},
    "recorder": {"transfer", "agents", "core", "store", "contract", "domain"},
    "client": {"contract", "domain"},
    "server": {
        "recorder",
        "runner",
        "transfer",
        "workspace",
        "agents",
        "publish",
        "core",
        "store",
        "contract",
        "domain",
    },
    "cli": {
        "server",
        "client",
        "recorder",
        "runner",
        "transfer",
        "workspace",
        "agents",
        "publish",
        "core",
        "store",
        "contract",
        "domain",
    },
}
"""What each package may import of ours, beside itself."""


@pytest.mark.parametrize("room", ROOMS)
def test_imports_point_one_way(room: str) -> None:
    modules = [name for name in MODULES if name.split(".")[1:2] == [room]]
    assert modules
    for module in modules:
        for name in ours(module):
            assert name.split(".")[1] in ROOMS[room] | {room}, f"{module} imports {name}"


def test_every_module_is_in_a_package() -> None:
    loose = {name for name in MODULES if name.count(".") == 1} - {f"treadle.{room}" for room in ROOMS}
    assert loose == {"treadle.__main__"}


@pytest.mark.parametrize("room", ROOMS)
def test_every_package_has_a_docstring(room: str) -> None:
    said = ast.get_docstring(ast.parse(MODULES[f"treadle.{room}"].read_text("utf-8")))
    assert said is not None
    assert said.count(".") >= 2


@pytest.mark.parametrize("module", [name for name in MODULES if not name.startswith("treadle.store")])
def test_only_the_store_uses_sqlite(module: str) -> None:
    text = MODULES[module].read_text("utf-8")
    assert not re.search(r"\bsqlite3\b|\bquery\(", text)


def test_class_names_are_unique() -> None:
    names = [
        node.name
        for path in MODULES.values()
        for node in ast.parse(path.read_text("utf-8")).body
        if isinstance(node, ast.ClassDef)
    ]
    assert [name for name, count in Counter(names).items() if count > 1] == []


def test_there_are_no_import_cycles() -> None:
    graphlib.TopologicalSorter({module: ours(module) for module in MODULES}).prepare()


def test_imported_packages_are_declared_as_dependencies() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    dependencies = [*project["dependencies"], *extras["zstd"], *extras["postgres"]]
    declared = {re.split(r"[^A-Za-z0-9-]", dependency)[0] for dependency in dependencies}
    imported = {name for module in MODULES for name in imports(module)} - set(MODULES) - {"treadle"}
    distributions = packages_distributions()
    needed = {distributions.get(name, [name])[0].replace("_", "-") for name in imported - sys.stdlib_module_names}
    assert needed == declared
