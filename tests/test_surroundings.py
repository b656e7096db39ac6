"""Unusual environments: foreign modules on the path, odd clocks, names that are not UTF-8."""

import os
import subprocess
import sys
import tomllib
import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest

import wire
from support import CHECKOUT, needs, serving
from treadle.store.ids import new_id

INITIALIZE = '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}\n'
SHADOWED = ("msgspec", "pygls", "aiosqlite", "platformdirs", "asyncio", "argparse", "sqlite3", "logging")


def console_script(folder: Path) -> list[str]:
    """What an installer makes of [project.scripts]."""
    module, _, function = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["scripts"][
        "treadle"
    ].partition(":")
    script = folder / "treadle-script"
    script.write_text(f"import sys\nfrom {module} import {function}\nsys.exit({function}())\n")
    return [sys.executable, str(script)]


def environment(**changed: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV"))}
    return kept | changed


@pytest.mark.parametrize("started", ["python -m", "console script"])
@pytest.mark.parametrize("place", ["PYTHONPATH", "relative PYTHONPATH", "current folder"])
def test_foreign_modules_are_not_imported(data_dir: Path, tmp_path: Path, started: str, place: str) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    for name in SHADOWED:
        (foreign / f"{name}.py").write_text(f"raise SystemExit('{name} of others was imported')")
    command = [sys.executable, "-m", "treadle"] if started == "python -m" else console_script(tmp_path)
    path = {"PYTHONPATH": str(foreign), "relative PYTHONPATH": f"{CHECKOUT}:foreign", "current folder": ""}[place]
    done = subprocess.run(
        [*command, "serve", "--data-dir", str(data_dir)],
        input=INITIALIZE + INITIALIZE.replace("initialize", "thread/list").replace(":1,", ":2,"),
        cwd=foreign if place == "current folder" else tmp_path,
        env=environment(PYTHONPATH=path),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stderr, done.returncode) == ("", 0)
    assert '"protocolVersion":1' in done.stdout
    assert '"items":[]' in done.stdout


def test_a_checkout_runs_via_pythonpath(data_dir: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "treadle", "serve", "--data-dir", str(data_dir)],
        input=INITIALIZE,
        env=environment(PYTHONPATH=str(CHECKOUT / "daemon")),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stderr, done.returncode) == ("", 0)


def test_site_packages_in_pythonpath_stay_importable(data_dir: Path) -> None:
    import msgspec

    done = subprocess.run(
        [sys.executable, "-m", "treadle", "serve", "--data-dir", str(data_dir)],
        input=INITIALIZE,
        env=environment(PYTHONPATH=str(Path(msgspec.__file__).parent.parent)),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stderr, done.returncode) == ("", 0)


def test_child_processes_inherit_pythonpath_and_client_programs_keep_sys_path(
    tmp_path: Path,
) -> None:
    program = (
        "import os, sys, subprocess; before = list(sys.path); import treadle.client; assert sys.path == before\n"
        "from treadle.__main__ import drop_foreign_paths; drop_foreign_paths(); assert sys.path != before\n"
        "program = 'import os; print(os.environ[\"PYTHONPATH\"])'\n"
        "print(subprocess.check_output([sys.executable, '-c', program]).decode())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(PYTHONPATH=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout.strip(), done.stderr) == (str(tmp_path), "")


# Clocks


SETUP = (
    {"type": "CreateProject", "name": "p", "path": "/p"},
    {"type": "CreateThread", "threadId": "t", "title": "t"},
    {"type": "StartTurn", "threadId": "t", "id": "u", "prompt": ""},
    {"type": "AddMessage", "threadId": "t", "turnId": "u", "role": "user", "text": ""},
)


@needs("faketime")
@pytest.mark.parametrize("clock", ["@1901-12-01 00:00:00", "@1966-01-01 00:00:00", "@2262-04-01 00:00:00"])
def test_ids_are_generated_under_any_clock(data_dir: Path, clock: str) -> None:
    # Python's own clock ends on 11 April 2262.
    command = ("faketime", "-f", clock, *wire.TREADLE, "serve")
    environment = {"FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    with wire.spawn(data_dir, command=command, env=environment) as daemon:
        daemon.initialize()
        project = daemon.dispatch(**SETUP[0])["events"][0]["event"]["id"]
        daemon.dispatch(**SETUP[1], projectId=project)
        ids = {project}
        for fields in SETUP[2:]:
            ids |= {stored["event"]["id"] for stored in daemon.dispatch(**fields)["events"]}
        ids -= {"u"}
        assert len(ids) == 3
        assert {uuid.UUID(id).version for id in ids} == {7}
        assert daemon.finish() == 0


def test_an_id_is_a_uuid_with_its_creation_time() -> None:
    moments = [
        datetime(1902, 1, 1, tzinfo=UTC),
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(2026, 1, 31, 12, tzinfo=UTC),
        datetime(2026, 1, 31, 12, 0, 0, 1, tzinfo=UTC),
        datetime(2026, 1, 31, 12, 0, 0, 999_999, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    ]
    ids = [uuid.UUID(new_id(at)) for at in moments]
    assert {(id.version, id.variant) for id in ids} == {(7, uuid.RFC_4122)}
    assert [id.int >> 80 for id in ids] == [max(0, int(at.timestamp() * 1000)) for at in moments[:5]] + [
        253402300799999
    ]
    assert sorted(ids[2:]) == ids[2:]
    assert len({new_id(moments[0]) for _ in range(10_000)}) == 10_000


class Panic(BaseException):
    """As PyO3 raises when a library in Rust panics."""


async def test_a_panic_in_a_library_fails_only_its_request(data_dir: Path) -> None:
    async with serving(data_dir) as (client, daemon):
        clock, command = daemon.engine._clock, {"type": "ChangeSetting", "key": "k", "value": 1}

        def panicking() -> str:
            raise Panic

        daemon.engine._clock = panicking
        error = (await client.reply(client.send("command/dispatch", command)))["error"]
        assert error["code"] == -32603
        daemon.engine._clock = clock
        assert (await client.call("command/dispatch", command))["sequence"] == 1


# Names that are not UTF-8


LATIN = os.fsdecode(b"caf\xe9")
COMMANDS_WITH = [
    ("search", LATIN),
    ("search", "--syntax", "fts5", LATIN),
    ("search", "--project", LATIN, "x"),
    ("search", "--thread", LATIN, "x"),
    ("threads", "--project", LATIN),
    ("threads", "--limit", LATIN),
    ("call", LATIN),
    ("call", "thread/list", LATIN),
    ("call", "thread/list", f'{{"cursor": "{LATIN}"}}'),
    ("call", "project/open", f'{{"path": "/{LATIN}"}}'),
    ("show", LATIN),
    ("tail", "--thread", LATIN),
    ("events", "--thread", LATIN),
    ("export", "--thread", LATIN),
    ("import", "jsonl", LATIN),
    ("import", "acp", LATIN),
    ("backup", f"/no/{LATIN}"),
    ("restore", LATIN),
    ("serve", "--log-file", f"/no/{LATIN}"),
    ("verify", LATIN),
    ("rebuild", LATIN),
    ("doctor", LATIN),
    ("stats", LATIN),
    ("schema", LATIN),
    ("completion", LATIN),
    (LATIN,),
]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("filled") / "data"
    done = wire.run("call", "command/dispatch", '{"type":"ChangeSetting","key":"k","value":1}', "--data-dir", str(path))
    assert done.returncode == 0
    return path


def is_a_sentence(done: "subprocess.CompletedProcess[str]") -> bool:
    return done.returncode in (1, 2) and "Traceback" not in done.stderr and "treadle" in done.stderr


def test_the_current_folder_may_have_been_deleted(tmp_path: Path) -> None:
    """As under an editor that was started in a worktree which is gone."""
    gone = tmp_path / "gone"
    gone.mkdir()
    serving = [*wire.TREADLE, "serve", "--data-dir", str(tmp_path / "data")]
    done = subprocess.run(
        ["sh", "-c", 'cd "$1" && rmdir "$1" && shift && exec "$@"', "sh", str(gone), *serving],
        input=INITIALIZE,
        capture_output=True,
        text=True,
        timeout=wire.PATIENCE,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert '"serverInfo"' in done.stdout


@pytest.mark.parametrize("command", COMMANDS_WITH, ids=lambda command: " ".join(map(ascii, command)))
def test_an_argument_that_is_not_utf8_gives_a_clear_error(filled: Path, command: tuple[str, ...]) -> None:
    done = wire.run(*command, *(() if command == (LATIN,) else ("--data-dir", str(filled))))
    assert is_a_sentence(done), (done.returncode, done.stderr)


@pytest.mark.parametrize("command", [*((name,) for name in ("threads", "stats", "verify", "events")), ("search", "x")])
@pytest.mark.parametrize("variable", ["HOME", "XDG_DATA_HOME"])
def test_a_home_directory_that_is_not_utf8_is_shown_escaped(
    tmp_path: Path, command: tuple[str, ...], variable: str
) -> None:
    home = {"HOME": str(tmp_path / LATIN), "XDG_DATA_HOME": ""} | {variable: str(tmp_path / LATIN)}
    done = wire.run(*command, env=home)
    assert is_a_sentence(done), (done.returncode, done.stderr)
    assert r"caf\xe9" in done.stderr


def test_a_data_directory_works_in_a_home_that_is_not_utf8(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path / LATIN), "XDG_DATA_HOME": ""}
    setting = '{"type":"ChangeSetting","key":"k","value":1}'
    assert wire.run("call", "command/dispatch", setting, env=home).returncode == 0
    done = wire.run("threads", env=home)
    assert (done.returncode, done.stderr) == (0, "")
