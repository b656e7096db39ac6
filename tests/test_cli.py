"""The command line: output, effect and exit status of each command."""

import argparse
import json
import os
import re
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from treadle import __version__, cli
from wire import PATIENCE, TREADLE, run, serving, spawn

RECORDING = Path(__file__).parent / "recordings" / "opencode-retry-helper.jsonl"


def commands(parser: argparse.ArgumentParser, *names: str) -> Iterator[tuple[str, ...]]:
    """Every command and group of commands that there is, by its names."""
    yield names
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                yield from commands(below, *names, name)


COMMANDS = list(commands(cli.parser()))


def some_events(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        for i in range(3):
            daemon.dispatch("ChangeSetting", key=f"k{i}", value=i)


def spoil(data_dir: Path, statement: str) -> None:
    with closing(sqlite3.connect(data_dir / "treadle.db", isolation_level=None)) as db:
        db.execute(statement)


def damage(data_dir: Path) -> None:
    file = data_dir / "treadle.db"
    content = file.read_bytes()
    file.write_bytes(content[:4096] + b"\x55" * (len(content) - 4096))


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command in this process, which is quicker: its exit status, and what it said on stdout and stderr."""

    def run_here(*arguments: str | Path) -> tuple[int, str, str]:
        status = cli.main([*map(str, arguments)])
        told = capsys.readouterr()
        assert "Traceback" not in told.err
        return status, told.out, told.err

    return run_here


# Help and usage


@pytest.mark.parametrize("names", COMMANDS, ids=" ".join)
def test_every_command_and_option_has_help(names: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([*names, "--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert told.startswith(f"usage: {' '.join(['treadle', *names])} ")
    for action in _parser(names)._actions:
        assert all(option in told for option in action.option_strings)
        assert action.help or not action.option_strings, f"{action.dest} has no help"


def _parser(names: tuple[str, ...]) -> argparse.ArgumentParser:
    parser = cli.parser()
    for name in names:
        (group,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
        parser = group.choices[name]
    return parser


def test_the_expected_commands_exist() -> None:
    assert {" ".join(names) for names in COMMANDS} >= {"serve", "verify", "rebuild", "import acp"}


def test_version_prints_the_version() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"treadle {__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "required: COMMAND"),
        (["explode"], "invalid choice: 'explode'"),
        (["serve", "--nothing"], "unrecognized arguments: --nothing"),
        (["serve", "file"], "unrecognized arguments: file"),
        (["serve", "--linger-ms", "soon"], "--linger-ms: 'soon' is not a whole number of 0 or more"),
        (["serve", "--linger-ms", "-1"], "--linger-ms: '-1' is not a whole number of 0 or more"),
        (["serve", "--max-message-bytes", "0"], "--max-message-bytes: '0' is not a whole number of 1 or more"),
        (["serve", "--max-message-bytes", "1e6"], "--max-message-bytes: '1e6' is not a whole number of 1 or more"),
        (["serve", "--durability", "none"], "--durability: invalid choice: 'none'"),
        (["serve", "--log-level", "loud"], "--log-level: invalid choice: 'loud'"),
        (["serve", "--log-file", "/no/such/folder/log"], "/no/such/folder/log cannot be written: No such file"),
        (["import", "--since", "soon"], "--since: 'soon' is neither an age"),
        (["import", "acp"], "required: FILE"),
        (["import", "csv", "x"], "invalid choice: 'csv'"),
    ],
)
def test_wrong_arguments_are_reported_with_exit_status_2(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert says in told.err
    assert "Traceback" not in told.err


# The data directory


def test_only_the_owner_can_access_the_data_directory(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        daemon.dispatch("CreateProject", id="p", name="p", path="/p")
        daemon.dispatch("CreateThread", threadId="t", projectId="p", title="t")
        daemon.dispatch("StartTurn", threadId="t", prompt="hello")
        found = [data_dir, *data_dir.rglob("*")]
        assert len(found) > 4
        for path in found:
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


@pytest.mark.skipif(sys.platform != "linux", reason="where it is differs from system to system")
def test_the_default_data_directory_is_in_the_users_home(tmp_path: Path) -> None:
    env = {"XDG_DATA_HOME": str(tmp_path / "share"), "HOME": str(tmp_path / "home")}
    script = b'{"jsonrpc":"2.0","id":1,"method":"initialize"}\n{"jsonrpc":"2.0","id":2,"method":"daemon/status"}\n'
    for arguments, expected in (
        ([], tmp_path / "share" / "treadle"),
        (["--data-dir", "~/here"], tmp_path / "home" / "here"),
    ):
        done = subprocess.run(
            [*TREADLE, "serve", *arguments],
            input=script,
            capture_output=True,
            env={**os.environ, **env},
            timeout=PATIENCE,
        )
        status = json.loads(done.stdout.splitlines()[1])["result"]
        assert status["dataDir"] == str(expected)
        assert (expected / "treadle.db").exists()


@pytest.mark.parametrize("arguments", [["threads"], ["serve"], ["agents", "add", "mine", "--", "x"]])
def test_a_user_without_a_home_directory_is_told_what_to_set(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr("pwd.getpwuid", unknown)
    for variable in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(variable, raising=False)
    status, _, says = command(*arguments)
    assert status == 1
    assert re.fullmatch("treadle: could not determine the home directory .* set .*HOME.*\n", says)


@pytest.mark.parametrize("name", ["verify", "rebuild"])
def test_verify_and_rebuild_without_a_database_fail_and_create_none(
    data_dir: Path, name: str, command: Command
) -> None:
    says = f"treadle: no treadle database in {data_dir}: give its directory with --data-dir\n"
    assert command(name, "--data-dir", data_dir) == (1, "", says)
    assert not data_dir.exists()


@pytest.mark.parametrize("spoiled", ["damaged", "foreign", "newer"])
def test_an_unusable_database_is_reported_in_one_sentence(data_dir: Path, spoiled: str, command: Command) -> None:
    some_events(data_dir)
    match spoiled:
        case "damaged":
            damage(data_dir)
        case "foreign":
            spoil(data_dir, "PRAGMA application_id = 1")
        case "newer":
            spoil(data_dir, "UPDATE meta SET value = '99' WHERE key = 'projectionVersion'")
    for name in ("verify", "rebuild"):
        status, out, err = command(name, "--data-dir", data_dir)
        assert (status, out) == (1, "")
        assert err.startswith("treadle: ")
        assert len(err.splitlines()) == 1


# verify and rebuild


def test_verify_reports_rows_that_differ_from_the_log_and_rebuild_repairs_them(
    data_dir: Path, command: Command
) -> None:
    some_events(data_dir)
    status, whole, _ = command("verify", "--data-dir", data_dir)
    assert (status, whole) == (0, "OK: 15 tables match a replay of 3 events\n")
    spoil(data_dir, "UPDATE settings SET value = '7' WHERE key = 'k1'")
    spoil(data_dir, "DELETE FROM settings WHERE key = 'k2'")
    status, broken, _ = command("verify", "--data-dir", data_dir)
    assert status == 1
    differences = broken.splitlines()
    assert [line.partition("{")[0] for line in differences[:-1]] == [
        "settings: missing row ",
        "settings: missing row ",
        "settings: unexpected row ",
    ]
    assert "treadle rebuild" in differences[-1]
    assert command("rebuild", "--data-dir", data_dir)[:2] == (0, "rebuilt from 3 events\n")
    assert command("verify", "--data-dir", data_dir)[:2] == (0, whole)
    assert [path.name for path in data_dir.iterdir() if path.name.startswith("verify-")] == []


def test_verify_and_rebuild_work_while_a_daemon_is_running(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        daemon.dispatch("ChangeSetting", key="k", value=1)
        daemon.result("subscription/open", {"topic": "settings"})
        assert run("verify", "--data-dir", str(data_dir)).returncode == 0
        assert run("rebuild", "--data-dir", str(data_dir)).returncode == 0
        sequence = daemon.dispatch("ChangeSetting", key="k", value=2)["sequence"]
        assert daemon.notification("projection/changed")["sequence"] == sequence
        assert daemon.result("setting/list")["items"][0]["value"] == 2


def test_a_closed_stdout_does_not_print_a_traceback(data_dir: Path) -> None:
    some_events(data_dir)
    source, sink = os.pipe()
    os.close(source)
    done = subprocess.run(
        [*TREADLE, "verify", "--data-dir", str(data_dir)], stdout=sink, stderr=subprocess.PIPE, timeout=PATIENCE
    )
    os.close(sink)
    assert b"Traceback" not in done.stderr
    assert b"Exception" not in done.stderr


# import acp


def test_importing_a_recording_again_adds_nothing(data_dir: Path, command: Command) -> None:
    assert command("import", "acp", RECORDING, "--data-dir", data_dir)[0] == 0
    with serving(data_dir) as daemon:
        threads = daemon.result("thread/list")["items"]
        assert threads
        window = daemon.result("thread/read", {"threadId": threads[0]["id"]})
        assert {turn["status"] for turn in window["turns"]} == {"completed"}
        assert {message["role"] for message in window["messages"]} == {"user", "assistant"}
        sequence = daemon.result("daemon/status")["sequence"]
    status, out, _ = command("import", "acp", RECORDING, "--data-dir", data_dir)
    assert (status, out) == (0, "0 turns new, 2 there already; 0 new events\n")
    status, out, _ = command("verify", "--data-dir", data_dir)
    assert (status, out) == (0, f"OK: 15 tables match a replay of {sequence:,} events\n")


def test_a_running_daemon_notices_an_import(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        daemon.result("subscription/open", {"topic": "index"})
        assert run("import", "acp", str(RECORDING), "--data-dir", str(data_dir)).returncode == 0
        last = daemon.result("thread/list")["items"][0]["version"]
        daemon.notification("projection/changed", lambda params: params["sequence"] >= last)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\n\nhello\n", "line 3"),
        (b'{"t":0,"dir":"server","msg":{}}\n', "line 1"),
        (b'{"jsonrpc":"2.0"}\n', "line 1"),
        (b"\xff\xfe", "line 1"),
        (b"[" * 100_000, "line 1"),
    ],
)
def test_importing_an_invalid_recording_reports_the_line_and_changes_nothing(
    data_dir: Path, tmp_path: Path, content: bytes, says: str, command: Command
) -> None:
    file = tmp_path / "recording"
    file.write_bytes(content)
    status, out, err = command("import", "acp", file, "--data-dir", data_dir)
    assert (status, out) == (1, "")
    assert err.startswith(f"treadle: {file}: {says} ")
    assert len(err.splitlines()) == 1
    assert not data_dir.exists()


def test_lines_that_are_no_frames_are_named_and_the_rest_is_imported(
    data_dir: Path, tmp_path: Path, command: Command
) -> None:
    file = tmp_path / "recording"
    file.write_bytes(b"hello\n" + RECORDING.read_bytes() + b"[]\n" + b'{"t": 20')
    status, out, err = command("import", "acp", file, "--data-dir", data_dir)
    assert (status, out) == (
        0,
        "2 turns new, 0 there already; 2 lines skipped (1, 310); the last line is not finished; 74 new events\n",
    )
    assert [line.partition(" is not a frame")[0] for line in err.splitlines() if "skipped" in line] == [
        f"treadle: {file}: skipped: line 1",
        f"treadle: {file}: skipped: line 310",
    ]


@pytest.mark.parametrize("name", ["missing", "."])
def test_an_unreadable_recording_is_reported(data_dir: Path, tmp_path: Path, name: str, command: Command) -> None:
    status, out, err = command("import", "acp", tmp_path / name, "--data-dir", data_dir)
    assert (status, out) == (1, "")
    assert str(tmp_path) in err
    assert not data_dir.exists()


# The log


SECRET = "the-secret-sauce"


def a_session_of_secrets(data_dir: Path, *options: str) -> str:
    """Secrets wherever text goes, in what succeeds and in what fails; what went to stderr."""
    thread: dict[str, Any] = {"threadId": "t"}
    turn = {**thread, "turnId": "u"}
    with spawn(data_dir, *options) as daemon:
        daemon.initialize()
        daemon.dispatch("CreateProject", id="p", name="p", path="/p")
        daemon.dispatch("CreateThread", **thread, projectId="p", title=SECRET)
        daemon.dispatch("StartTurn", **thread, id="u", prompt=SECRET)
        daemon.dispatch("AddMessage", **turn, id="m", role="assistant", text=SECRET, streaming=True)
        daemon.dispatch("AppendMessage", **thread, id="m", text=SECRET, commandId="c")
        daemon.dispatch("RecordActivity", **turn, kind="plan", title=SECRET, status="running", detail=[SECRET])
        daemon.dispatch("ChangeSetting", key="k", value=SECRET)
        daemon.result("subscription/open", {"topic": "thread", "threadId": "t"})
        daemon.error("command/dispatch", {"type": "AppendMessage", "threadId": "t", "id": "m", "text": [SECRET]})
        daemon.error("command/dispatch", {"type": "AppendMessage", "threadId": "t", "id": "m9", "text": SECRET})
        daemon.error("command/dispatch", {"type": SECRET, "threadId": "t", "id": "m", "text": SECRET})
        daemon.error(f"thread/{SECRET}", {"text": SECRET})
        daemon.notify(f"textDocument/{SECRET}", {"text": SECRET})
        daemon.send(b'{"jsonrpc":"2.0","id":1,"method":"' + SECRET.encode())
        daemon.send(b'{"jsonrpc":"2.0","id":"x","result":"' + SECRET.encode() + b'"}')
        spoil(data_dir, "CREATE TRIGGER refuse BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'no'); END")
        daemon.error("command/dispatch", {"type": "AppendMessage", "threadId": "t", "id": "m", "text": SECRET})
        spoil(data_dir, "DROP TRIGGER refuse")
        assert daemon.finish() == 0
        return daemon.stderr


LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (DEBUG|INFO|WARNING|ERROR|CRITICAL) [\w.]+: ")


def test_no_message_text_is_logged_above_debug_level(data_dir: Path) -> None:
    told = a_session_of_secrets(data_dir, "--log-level", "debug")
    level = ""
    for line in told.splitlines():
        found = LINE.match(line)
        level = found[1] if found else level  # a line of a record that has several
        assert SECRET not in line or level == "DEBUG", line
    assert "DEBUG" in told


def test_no_message_text_is_logged_at_info_level(data_dir: Path) -> None:
    told = a_session_of_secrets(data_dir, "--log-level", "info")
    assert SECRET not in told
    assert "DEBUG" not in told


def test_log_file_option_writes_the_log_to_that_file(data_dir: Path, tmp_path: Path) -> None:
    data_dir.mkdir()
    (data_dir / "treadle.db").write_text("my shopping list")
    log = tmp_path / "log"
    with spawn(data_dir, "--log-file", str(log)) as daemon:
        daemon.error("initialize")
        assert daemon.finish() == 1
        assert daemon.stderr == ""
    assert LINE.match(log.read_text())
    assert "treadle.db" in log.read_text()
