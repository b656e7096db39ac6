"""The commands for people and scripts, end to end: the real `treadle`, beside daemons that write."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from every_event import HISTORY
from people import HOSTILE, converse, many_threads, on_terminal, some_work
from support import needs, plain
from treadle.cli import output
from treadle.cli.event_formatter import EventFormatter
from treadle.domain import agent_events as a
from treadle.domain import events as e
from treadle.store.sqlite import projections
from treadle.store.sqlite.database import OPENING, FileLock
from treadle.store.sqlite.reader import reading
from wire import PATIENCE, TREADLE, kill, run, serving, spawn

READING = [
    ("threads",),
    ("show", "last"),
    ("search", "thread"),
    ("tail",),
    ("events",),
    ("stats",),
    ("export",),
    ("call", "thread/list"),
]
"""Commands that create nothing."""


def of(data_dir: Path, *arguments: str, status: int = 0) -> str:
    """What a command prints, which must end so."""
    done = run(*arguments, "--data-dir", str(data_dir))
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout if status == 0 else done.stderr


def json_lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


# All commands


def test_ctrl_c_interrupts_a_long_sql_statement(data_dir: Path) -> None:
    some_work(data_dir)
    begun, ended = threading.Event(), threading.Event()
    in_time: list[bool] = []

    def endless(db: sqlite3.Connection) -> None:
        def give_up() -> None:
            begun.wait()
            os.kill(os.getpid(), signal.SIGINT)
            in_time.append(ended.wait(PATIENCE))
            db.interrupt()

        thread = threading.Thread(target=give_up)
        thread.start()
        db.create_function("begun", 0, begun.set)
        try:
            db.execute("WITH RECURSIVE n (i) AS (SELECT begun() UNION ALL SELECT 1 FROM n) SELECT sum(i) FROM n")
        finally:
            ended.set()
            thread.join()

    with reading(data_dir) as reader, pytest.raises(KeyboardInterrupt):
        reader.read(lambda reads: endless(reads._db))
    assert in_time == [True]


@pytest.mark.parametrize("command", READING, ids=lambda command: str(command[0]))
def test_read_commands_without_a_data_directory_fail_and_create_none(data_dir: Path, command: tuple[str, ...]) -> None:
    told = of(data_dir, *command, status=1)
    assert told == f"treadle: no treadle database in {data_dir}: give its directory with --data-dir\n"
    assert not data_dir.exists()


@pytest.mark.parametrize("command", READING, ids=lambda command: str(command[0]))
def test_read_commands_refuse_a_foreign_database_and_leave_it_unchanged(
    data_dir: Path, command: tuple[str, ...]
) -> None:
    data_dir.mkdir(mode=0o700)
    with closing(sqlite3.connect(data_dir / "treadle.db")) as db:
        db.execute("CREATE TABLE shopping (item)")
    before = (data_dir / "treadle.db").read_bytes()
    told = of(data_dir, *command, status=1)
    assert re.match(r"treadle: .* belongs to another program: choose another --data-dir( \(databaseRefused\))?\n", told)
    assert (data_dir / "treadle.db").read_bytes() == before


@pytest.mark.parametrize("command", READING[:-1], ids=lambda command: str(command[0]))
def test_read_commands_do_not_upgrade_the_database(data_dir: Path, command: tuple[str, ...]) -> None:
    some_work(data_dir)
    for version, says in (
        (projections.VERSION - 1, "older version of treadle: run `treadle rebuild`"),
        (99, "a newer version"),
    ):
        with plain(data_dir) as db:
            db.execute("UPDATE meta SET value = ? WHERE key = 'projectionVersion'", (str(version),))
        assert says in of(data_dir, *command, status=1)
        with plain(data_dir) as db:
            found = db.execute("SELECT value FROM meta WHERE key = 'projectionVersion'").fetchone()
        assert found == (str(version),)


def test_an_empty_database_file_is_reported(data_dir: Path) -> None:
    data_dir.mkdir()
    (data_dir / "treadle.db").touch()
    assert "nothing was stored in it yet" in of(data_dir, "threads", status=1)


@pytest.mark.parametrize(
    "command",
    [("threads", "--json"), ("show", "last"), ("show", "last", "--html"), ("events",), ("stats",), ("export",)],
    ids=" ".join,
)
def test_a_closed_pipe_does_not_print_a_traceback(data_dir: Path, command: tuple[str, ...]) -> None:
    some_work(data_dir)
    line = " ".join([*TREADLE, *command, "--data-dir", str(data_dir)])
    done = subprocess.run(["sh", "-c", f"{line} | head -n 1"], capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 1)
    source, sink = os.pipe()
    os.close(source)
    gone = subprocess.run([*TREADLE, *command, "--data-dir", str(data_dir)], stdout=sink, stderr=subprocess.PIPE)
    os.close(sink)
    assert gone.returncode == 1
    assert "Exception" not in done.stderr + gone.stderr.decode()
    assert "Traceback" not in done.stderr + gone.stderr.decode()


def test_read_commands_change_nothing_and_do_not_block_a_writing_daemon(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        many_threads(daemon, 700)
        converse(daemon)
        commands = [command for command in READING if command[0] not in ("tail", "call")]
        for command in commands * 2:
            reading = subprocess.Popen(
                [*TREADLE, *command, "--data-dir", str(data_dir)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            sent = [daemon.request("command/dispatch", write(n)) for n in range(50)]
            _, told = reading.communicate(timeout=PATIENCE)
            assert (reading.returncode, b"Traceback" in told) == (0, False), (command, told)
            assert all("result" in daemon.answer(id) for id in sent)
        sequence = daemon.result("daemon/status")["sequence"]
        before = dump(data_dir)
        for command in commands:
            of(data_dir, *command)
        assert dump(data_dir) == before
        assert daemon.result("daemon/status")["sequence"] == sequence


@pytest.mark.parametrize(
    "command", [("events",), ("threads",), ("show", "talk-1", "--full"), ("export",)], ids=" ".join
)
def test_a_read_command_with_unread_output_does_not_block_wal_checkpoints(
    data_dir: Path, command: tuple[str, ...]
) -> None:
    with serving(data_dir) as daemon:
        many_threads(daemon, 3_000)
        converse(daemon)
        daemon.dispatch("StartTurn", threadId="talk-1", id="u", prompt="x\n" * 100_000)
        with subprocess.Popen([*TREADLE, *command, "--data-dir", str(data_dir)], stdout=subprocess.PIPE) as reading:
            assert reading.stdout is not None
            begun = os.read(reading.stdout.fileno(), 1)  # and no more: a pipe takes 64 KiB
            daemon.dispatch(**write(1))
            with closing(sqlite3.connect(data_dir / "treadle.db", timeout=PATIENCE, isolation_level=None)) as db:
                assert db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0, "somebody still reads"
            assert reading.poll() is None
            rest = reading.stdout.read()
            assert len(begun + rest) > 100_000
        assert reading.returncode == 0


def test_read_commands_wait_for_another_process_that_is_opening_the_database(data_dir: Path) -> None:
    some_work(data_dir)
    opening = FileLock(data_dir / OPENING)
    assert opening.acquire()
    process = subprocess.Popen(
        [*TREADLE, "threads", "--data-dir", str(data_dir)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    assert process.stderr.readline().endswith(f"waiting for another treadle process to open {data_dir}\n")
    opening.release()
    printed, told = process.communicate(timeout=PATIENCE)
    assert (process.returncode, told, "talk-1" in printed) == (0, "", True)


def test_a_restore_is_refused_while_tail_is_reading_the_database(data_dir: Path, tmp_path: Path) -> None:
    some_work(data_dir)
    of(data_dir, "backup", str(tmp_path / "copy.db"))
    with following(data_dir, "tail"):
        assert "is in use by a treadle daemon" in of(data_dir, "restore", str(tmp_path / "copy.db"), status=1)
    of(data_dir, "restore", str(tmp_path / "copy.db"))


def write(n: int) -> dict[str, Any]:
    return {"type": "ChangeSetting", "key": f"k{n}", "value": {"n": n, "at": os.urandom(8).hex()}}


def dump(data_dir: Path) -> list[str]:
    with plain(data_dir) as db:
        return list(db.iterdump())


def test_output_is_utf8_whatever_the_locale(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        daemon.dispatch("CreateProject", id="p", name="p", path="/p")
        daemon.dispatch("CreateThread", threadId="t", projectId="p", title="風速 🧵")
    for command in (["threads"], ["show", "t"], ["show", "t", "--html"], ["events"]):
        done = subprocess.run(
            [*TREADLE, *command, "--data-dir", str(data_dir)],
            capture_output=True,
            env={**os.environ, "PYTHONIOENCODING": "latin-1"},
            timeout=PATIENCE,
        )
        assert (done.returncode, "風速 🧵" in done.stdout.decode()) == (0, True)


def test_a_file_name_that_is_not_utf8_can_be_given(data_dir: Path, tmp_path: Path) -> None:
    some_work(data_dir)
    name = os.fsencode(tmp_path) + b"/log\xff"
    done = subprocess.run([*TREADLE, "export", name, "--data-dir", str(data_dir)], capture_output=True)
    assert (done.returncode, b"log\\xff: " in done.stdout) == (0, True)
    assert Path(os.fsdecode(name)).exists()


SERVE_AND_LIST_MODULES = """
import sys
from treadle.cli import main
main()
print(*sys.modules, sep="\\n", file=sys.stderr)
"""


def test_serve_does_not_import_other_commands(data_dir: Path) -> None:
    """An editor waits for the start."""
    done = subprocess.run(
        [sys.executable, "-c", SERVE_AND_LIST_MODULES, "serve", "--data-dir", str(data_dir)],
        input=b"",
        capture_output=True,
        timeout=PATIENCE,
    )
    imported = set(done.stderr.decode().splitlines())
    assert {name for name in imported if name.startswith("treadle.cli")} == {
        "treadle.cli", "treadle.cli.options", "treadle.cli.serve", "treadle.cli.logs",
    }  # fmt: skip
    assert not [name for name in imported if name.startswith("treadle.agents")]
    assert not imported & {"shtab", "difflib", "html", "tempfile"}


# call


def test_call_prints_the_result_as_one_line(data_dir: Path) -> None:
    some_work(data_dir)
    with serving(data_dir) as daemon:
        for method, params in (
            ("thread/list", {}),
            ("thread/read", {"threadId": "talk-1", "turnLimit": 1}),
            ("event/list", {"limit": 3}),
        ):
            printed = of(data_dir, "call", method, json.dumps(params))
            assert len(printed.splitlines()) == 1
            assert json.loads(printed) == daemon.result(method, params)


def test_call_reads_params_from_stdin_and_a_running_daemon_notifies_its_client(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        daemon.result("subscription/open", {"topic": "settings"})
        done = subprocess.run(
            [*TREADLE, "call", "command/dispatch", "-", "--data-dir", str(data_dir)],
            input='{"type": "ChangeSetting",\n "key": "theme", "value": "dusk"}\n',
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert (done.returncode, done.stderr) == (0, "")
        sequence = json.loads(done.stdout)["sequence"]
        told = daemon.notification("projection/changed", lambda params: params["sequence"] == sequence)
        assert told["changes"][0]["value"]["value"] == "dusk"


@pytest.mark.parametrize(
    ("method", "params", "says"),
    [
        ("thread/read", '{"threadId": "nope"}', "treadle: thread 'nope' not found (notFound)\n"),
        ("thread/list", '{"limit": 0}', "Expected `int` >= 1 (at $.params.limit) (invalidParams)\n"),
        ("thread/lost", "{}", "treadle: Method not found (methodNotFound)\n"),
        ("command/dispatch", '{"type": "CompleteTurn", "threadId": "t", "id": "u", "stopReason": "x"}', "(notFound)"),
    ],
)
def test_call_prints_an_error_as_one_line_with_exit_status_1(
    data_dir: Path, method: str, params: str, says: str
) -> None:
    some_work(data_dir)
    done = run("call", method, params, "--data-dir", str(data_dir))
    assert (done.returncode, done.stdout) == (1, "")
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("params", ["{", "[1]", '"text"', "", '{"a": "\\ud800"}', "{} {}", "{'a': 1}"])
def test_call_params_that_are_not_a_json_object_give_exit_status_2(data_dir: Path, params: str) -> None:
    done = run("call", "command/dispatch", params, "--data-dir", str(data_dir))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("treadle call: invalid params: not a JSON object: ")
    assert not data_dir.exists()


def test_call_creates_the_data_directory_except_for_rpc_discover(data_dir: Path) -> None:
    assert json.loads(of(data_dir, "call", "rpc.discover"))["openrpc"]
    assert not data_dir.exists()
    answer = json.loads(of(data_dir, "call", "command/dispatch", json.dumps(write(1))))
    assert answer["sequence"] == 1
    assert len(json_lines(of(data_dir, "events"))) == 1


def test_a_turn_started_by_call_is_interrupted_when_call_exits(data_dir: Path) -> None:
    some_work(data_dir)
    of(data_dir, "call", "command/dispatch", '{"type": "StartTurn", "threadId": "talk-1", "id": "u", "prompt": "?"}')
    with serving(data_dir) as daemon:
        turn = daemon.result("turn/list", {"threadId": "talk-1"})["items"][0]
    assert (turn["id"], turn["status"], turn["reason"]) == ("u", "interrupted", "the daemon ended")


def test_call_on_a_terminal_indents_the_result_and_escapes_control_characters(data_dir: Path) -> None:
    some_work(data_dir)
    status, printed = on_terminal("call", "thread/read", '{"threadId": "talk-1"}', "--data-dir", str(data_dir))
    assert status == 0
    assert len(printed.splitlines()) > 20
    assert not set("\x1b\x9b\u202e\x07") & set(printed)
    assert json.loads(printed)["messages"][0]["text"] == f"Please. {HOSTILE}"


# threads


def test_threads_lists_all_threads_most_recently_changed_first(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        many_threads(daemon, 1_234)
        daemon.dispatch("RenameThread", threadId="t-7", title="The last\nchanged")
        listed = json_lines(of(data_dir, "threads", "--json"))
        assert [thread["id"] for thread in listed] == ["t-7", *(f"t-{n}" for n in range(1_233, -1, -1) if n != 7)]
        assert listed[:500] == daemon.result("thread/list", {"limit": 500})["items"]
        table = of(data_dir, "threads").splitlines()
        assert len(table) == 1 + 1_234
        assert re.fullmatch(r"ID +STATUS +TITLE +PROJECT +UPDATED", table[0])
        assert re.fullmatch(r"t-7 +idle +The last ⏎ changed +web +\d{4}-\d\d-\d\d \d\d:\d\d", table[1])
        for limit in (1, 500, 501):
            assert json_lines(of(data_dir, "threads", "--json", "--limit", str(limit))) == listed[:limit]


def test_threads_can_be_filtered_by_project_and_archived(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        for project in ("web", "app"):
            daemon.dispatch("CreateProject", id=project, name=project.title(), path=f"/home/ada/{project}")
            for n in (1, 2):
                id = f"{project}-{n}"
                daemon.dispatch("CreateThread", threadId=id, projectId=project, title=id)
        daemon.dispatch("ArchiveThread", threadId="web-1")

    def ids(*options: str) -> list[str]:
        return [thread["id"] for thread in json_lines(of(data_dir, "threads", "--json", *options))]

    assert ids() == ["app-2", "app-1", "web-2"]
    assert ids("--archived") == ["web-1"]
    assert ids("--all") == ["web-1", "app-2", "app-1", "web-2"]
    assert ids("--project", "web") == ids("--project", "/home/ada/./web/") == ["web-2"]
    assert ids("--project", "web", "--all") == ["web-1", "web-2"]
    assert ids("--project", "app", "--archived") == []
    assert " archived " not in of(data_dir, "threads")
    assert " archived " in of(data_dir, "threads", "--archived")
    assert "project '/nowhere' not found" in of(data_dir, "threads", "--project", "/nowhere", status=1)


def test_a_table_of_threads_says_which_tool_they_come_from_and_that_a_turn_is_cancelled(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        daemon.dispatch("CreateProject", id="p", name="p", path="/p")
        daemon.dispatch("CreateThread", threadId="own", projectId="p", title="Own")
        daemon.dispatch("CreateThread", threadId="t", projectId="p", title="Other", origin={"tool": "opencode\x1b[2J"})
        daemon.dispatch("StartTurn", threadId="t", id="u", prompt="?")
        daemon.dispatch("CancelTurn", threadId="t", id="u")
        table = [re.sub(r"  +", "  ", line) for line in of(data_dir, "threads").splitlines()]
    assert table[0] == "ID  STATUS  TITLE  PROJECT  TOOL  UPDATED"
    assert table[1].startswith("t  cancelling  Other  p  opencode␛[2J  2")
    assert table[2].startswith("own  idle  Own  p  2")


def test_threads_of_a_tool_are_listed_by_their_own_times(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        daemon.dispatch("CreateProject", id="p", name="P", path="/p")
        for id, tool, year in (("a", "codex", 2025), ("b", "claude-code", 2023), ("c", "claude-code", 2024)):
            origin = {"tool": tool, "sessionId": f"session:{id}"}
            at = f"{year}-01-31T12:00:00.000Z"
            daemon.dispatch("CreateThread", threadId=id, projectId="p", title=id, origin=origin, at=at)
        daemon.dispatch("CreateThread", threadId="d", projectId="p", title="d", at="2022-01-31T12:00:00.000Z")

    def ids(*options: str) -> list[str]:
        return [thread["id"] for thread in json_lines(of(data_dir, "threads", "--json", *options))]

    assert ids() == ["d", "c", "b", "a"]
    assert ids("--sort", "updatedAt") == ["a", "c", "b", "d"]
    assert ids("--sort", "updatedAt", "--origin", "claude-code") == ["c", "b"]
    assert ids("--origin", "claude-code:session:b") == ["b"]
    assert ids("--origin", "codex:session:b") == []
    head, first, *_ = of(data_dir, "threads", "--sort", "updatedAt").splitlines()
    assert re.fullmatch(r"ID +STATUS +TITLE +PROJECT +TOOL +UPDATED", head)
    assert re.fullmatch(r"a +idle +a +P +codex +2025-01-31 \d\d:\d\d", first)
    assert "TOOL:SESSION" in of(data_dir, "threads", "--origin", "codex:", status=2)


def test_the_threads_table_fits_the_terminal_and_escapes_control_characters(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        daemon.dispatch("CreateProject", id="p", name="風" * 40, path="/p")
        daemon.dispatch("CreateThread", threadId="wide", projectId="p", title="風速を表示" * 30)
        daemon.dispatch("CreateThread", threadId="evil", projectId="p", title=HOSTILE)
        _, printed = on_terminal("threads", "--data-dir", str(data_dir), columns=90)
    plain_text = re.sub(r"\x1b\[[0-9;]*m", "", printed)
    assert plain_text != printed
    assert not set("\x1b\x9b\u202e\x07") & set(plain_text)
    assert all(len(line) + sum(map(line.count, "風速を表示")) <= 90 for line in plain_text.splitlines())
    status, printed = on_terminal("threads", "--data-dir", str(data_dir), env={"NO_COLOR": "1"})
    assert (status, "\x1b" in printed) == (0, False)


# events


def test_events_prints_the_same_events_as_event_list(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        many_threads(daemon, 1_100)
        converse(daemon)
        pages: list[Any] = []
        cursor: dict[str, str] = {}
        while True:
            page = daemon.result("event/list", cursor)
            pages += page["items"]
            if page["nextCursor"] is None:
                break
            cursor = {"cursor": page["nextCursor"]}
        of_thread = [stored for stored in pages if stored["event"].get("threadId") == "talk-1"]
        assert json_lines(of(data_dir, "events")) == pages
        assert json_lines(of(data_dir, "events", "--after", "1000", "--limit", "600")) == pages[1000:1600]
        assert json_lines(of(data_dir, "events", "--thread", "talk")) == of_thread
        assert json_lines(of(data_dir, "events", "--after", "99999")) == []
        daemon.dispatch("DeleteThread", threadId="talk-1")
        assert len(json_lines(of(data_dir, "events", "--thread", "talk-1"))) == len(of_thread) + 1


@contextmanager
def following(data_dir: Path, *command: str) -> Iterator["subprocess.Popen[str]"]:
    """A command that goes on, from when it has begun to follow; ended by Ctrl-C."""
    process = subprocess.Popen(
        [*TREADLE, *command, "--data-dir", str(data_dir)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        if command[0] == "tail":
            assert process.stderr.readline() == "treadle: following; press Ctrl-C to stop\n"
        yield process
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=PATIENCE)
        assert (process.returncode, told) == (130, "")
    finally:
        process.kill()
        process.communicate()


def test_events_follow_prints_what_any_daemon_appends(data_dir: Path) -> None:
    some_work(data_dir)
    written = json_lines(of(data_dir, "events"))
    with serving(data_dir) as one, serving(data_dir) as two, following(data_dir, "events", "--follow") as process:
        assert process.stdout is not None
        assert [json.loads(process.stdout.readline()) for _ in written] == written
        for daemon in (one, two, one):
            (stored,) = daemon.dispatch(**write(1))["events"]
            assert json.loads(process.stdout.readline()) == stored


def test_events_follow_stops_at_its_limit(data_dir: Path) -> None:
    some_work(data_dir)
    count = len(json_lines(of(data_dir, "events")))
    assert len(json_lines(of(data_dir, "events", "--follow", "--limit", str(count)))) == count


# tail


def line_of(process: "subprocess.Popen[str]") -> str:
    """The next line of a tail, without its time and the name of its thread."""
    assert process.stdout is not None
    line = process.stdout.readline().rstrip("\n")
    assert re.match(r"\d\d:\d\d:\d\d  ", line), line
    return re.sub(r"^\S+  (Show the wind +  )?", "", line)


def test_tail_prints_readable_lines_about_every_daemon(data_dir: Path) -> None:
    options = [{"id": "yes", "name": "Allow once", "kind": "allow_once"}]
    with serving(data_dir) as one, serving(data_dir) as two:
        one.dispatch("CreateProject", id="web", name="Web", path="/web")
        with following(data_dir, "tail") as process:

            def told(daemon: Any, type: str, line: str, **fields: Any) -> None:
                daemon.dispatch(type, **fields)
                assert line_of(process) == line

            told(two, "UpdateProject", "project updated: Site", id="web", name="Site")
            talk: dict[str, Any] = {"threadId": "talk"}
            turn = {**talk, "turnId": "u"}
            told(one, "CreateThread", "thread created", **talk, projectId="web", title="Show the wind")
            told(one, "StartTurn", "turn started", **talk, id="u", prompt="Please\n\nnow")
            assert line_of(process) == "user: Please ⏎  ⏎ now"
            tool = {**turn, "id": "a", "kind": "tool_call", "title": "ls"}
            told(one, "RecordActivity", "⚙ running  ls", **tool, status="running")
            one.dispatch("RecordActivity", **tool, status="running", detail="nothing to see")
            told(one, "RecordActivity", "⚙ completed  ls", **tool, status="completed")
            ask = {**turn, "id": "q", "title": "rm\x1b[2J", "options": options}
            told(one, "RequestApproval", "? approval  rm␛[2J  [Allow once]", **ask)
            told(two, "ResolveApproval", "✓ Allow once", **talk, id="q", outcome="yes")
            told(two, "CreateCheckpoint", "◆ checkpoint  done  refs/x", **talk, gitRef="refs/x", message="done")
            told(one, "CompleteTurn", "turn completed (end_turn)", **talk, id="u", stopReason="end_turn")
            told(one, "StartTurn", "turn started", **talk, id="v", content=[{"type": "image", "mimeType": "image/png"}])
            assert line_of(process) == "user: [image/png]"
            one.dispatch("RecordActivity", **talk, turnId="v", id="b", kind="plan", title="Plan", status="pending")
            assert line_of(process) == "· pending  plan: Plan"
            told(two, "UpdateActivity", "· running  plan: Plan", **talk, id="b", status="running")
            told(two, "FailCheckpoint", "◆ checkpoint failed: no git", **talk, turnId="v", reason="no git")
            told(two, "CancelTurn", "turn cancelling by Ada", **talk, id="v", by="Ada")
            two.dispatch("InterruptTurn", **talk, reason="too slow", by="Ada", confirmed=False)
            assert line_of(process) == "· failed  plan: Plan"
            assert line_of(process) == "turn interrupted by Ada (too slow); the agent did not confirm"
            told(two, "ChangeSetting", 'setting theme = "dusk"', key="theme", value="dusk")
            told(two, "DeleteThread", "thread deleted", **talk)


def test_tail_joins_streamed_text(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        daemon.dispatch("CreateProject", id="web", name="Web", path="/web")
        for thread in ("a", "b"):
            daemon.dispatch("CreateThread", threadId=thread, projectId="web", title="Show the wind")
            daemon.dispatch("StartTurn", threadId=thread, id="u", prompt="Go")
        message = {"type": "AddMessage", "turnId": "u", "id": "m", "role": "assistant", "streaming": True}

        def say(thread: str, text: str) -> dict[str, str]:
            return {"type": "AppendMessage", "threadId": thread, "id": "m", "text": text}

        with following(data_dir, "tail") as process:
            # In one transaction: what is told does not depend on how fast anybody is.
            commands = [
                {**message, "threadId": "a", "text": "I will "},
                {**message, "threadId": "b", "text": ""},
                say("a", "look"),
                say("b", "Other text"),
                say("a", " at it.\nThen I "),
                {"type": "CreateThread", "threadId": "c", "projectId": "web", "title": "Show the wind"},
                say("a", "write.\n\n"),
                say("b", " here"),
                {"type": "CompleteMessage", "threadId": "b", "id": "m"},
                say("a", "word " * 99 + "end"),
                {"type": "CompleteTurn", "threadId": "a", "id": "u", "stopReason": "end_turn"},
            ]
            daemon.result("command/dispatchBatch", {"commands": commands})
            assert line_of(process) == "assistant: I will look at it."
            assert line_of(process) == "thread created"
            assert line_of(process) == "assistant: Then I write."
            assert line_of(process) == "assistant: Other text here"
            assert line_of(process) == "assistant: " + " ".join(["word"] * 80)
            assert line_of(process) == "assistant: " + " ".join(["word"] * 19) + " end"
            assert line_of(process) == "turn completed (end_turn)"
            # Half a line, and then nothing: it is told all the same.
            daemon.dispatch(
                "AddMessage", threadId="b", turnId="u", id="n", role="assistant", text="Half", streaming=True
            )
            assert line_of(process) == "assistant: Half"


def test_tail_of_one_thread_knows_the_earlier_text(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        daemon.dispatch("CreateProject", id="web", name="Web", path="/web")
        for thread in ("talk-1", "other"):
            daemon.dispatch("CreateThread", threadId=thread, projectId="web", title="Show the wind")
            daemon.dispatch("StartTurn", threadId=thread, id="u", prompt="Go")
        daemon.dispatch(
            "AddMessage", threadId="talk-1", turnId="u", id="m", role="assistant", text="So ", streaming=True
        )
        with following(data_dir, "tail", "--thread", "talk") as process:
            daemon.dispatch("RenameThread", threadId="other", title="Not this one")
            daemon.dispatch("AppendMessage", threadId="talk-1", id="m", text="far\n")
            assert line_of(process) == "assistant: far"
        with following(data_dir, "tail", "--thread", "talk-1", "--json") as process:
            assert process.stdout is not None
            daemon.dispatch("RenameThread", threadId="other", title="Nor this")
            (stored,) = daemon.dispatch("RenameThread", threadId="talk-1", title="New")["events"]
            assert json.loads(process.stdout.readline()) == stored


def test_a_tail_says_who_caused_an_event_and_looks_up_what_an_activity_was(data_dir: Path) -> None:
    def look_up(kind: str, thread_id: str, id: str) -> str:
        return {"thread": "Wind", "role": "assistant", "kind": "tool_call", "title": "ls", "status": "running"}[kind]

    formatter = EventFormatter(look_up, output.Paint(False))

    def told(event: e.AnyEvent, actor: str | None = None) -> list[str]:
        lines = formatter.lines(e.StoredEvent(sequence=1, event=event, actor=actor))
        return [re.sub(r"^\S+  Wind +", "", line) for line in lines]

    at = "2026-01-31T12:00:00.000Z"
    renamed = e.ThreadArchived(thread_id="t", at=at)
    assert (told(renamed), told(renamed, "Ada\x1b")) == (["thread archived"], ["Ada␛  thread archived"])
    assert told(e.ActivityUpdated(thread_id="t", id="a", at=at, status="completed")) == ["⚙ completed  ls"]
    assert told(e.ActivityUpdated(thread_id="t", id="a", at=at, detail={"text": "more"})) == []
    assert told(e.ActivityUpdated(thread_id="t", id="a", at=at, title="pwd")) == ["⚙ completed  pwd"]
    assert told(e.MessageAppended(thread_id="t", id="m", at=at, text="one"), "Ada") == []
    assert told(e.MessageAppended(thread_id="t", id="m", at=at, text="\ntwo\n"), "Bo") == [
        "Ada  assistant: one",
        "Bo  assistant: two",
    ]


def test_a_tail_tells_what_agents_were_asked_and_did() -> None:
    formatter = EventFormatter(lambda kind, thread_id, id: "Wind", output.Paint(False))
    lines = [
        re.sub(r"^\S+  (Wind +)?", "", line)
        for event in (event for event, _ in HISTORY if isinstance(event, a.AnyAgentEvent))
        for line in formatter.lines(e.StoredEvent(sequence=1, event=event))
    ]
    assert lines == [
        "agent claude",
        'option fa"st = true',
        "login required by claude: log in; `treadle agents login claude` logs in",
        "agent claude",
        "… queued  Do",
        "… queued (steer)  Then",
        "… edited  Do it",
        "prompt moved",
        "queue paused: wait",
        "queue resumed",
        "queue paused: again",
        "prompt sent",
        "prompt removed",
        "… queued  Go on",
        "login required by claude: log in; `treadle agents login claude` logs in",
        "session opened: claude 1.0 (new)",
        "session options changed",
        "context lost: forgotten",
        "session ended: crashed (exit status -9)",
        "session opened: claude (new)",
        "usage: context 1,000 of 200,000",
        "usage: 100 tokens",
        "usage: 0.1 USD",
        "usage: 10 tokens, 0.2 USD",
        "usage: 30 tokens, 0.5 USD",
        "usage: 9 EUR",
        "budget of the turn reached: 0.5 of 0.4 cost",
        "rule added: allow execute git diff",
        "rule added: deny src/**",
        "rule removed: r",
    ]


def test_tail_continues_after_a_daemon_is_killed(data_dir: Path) -> None:
    with spawn(data_dir) as daemon:
        daemon.initialize()
        daemon.dispatch("CreateProject", id="web", name="Web", path="/web")
        daemon.dispatch("CreateThread", threadId="t", projectId="web", title="Show the wind")
        daemon.dispatch("StartTurn", threadId="t", id="u", prompt="Go")
        with following(data_dir, "tail") as process:
            kill(daemon)
            with serving(data_dir):
                ended = "turn interrupted (the daemon that ran it is gone); the agent did not confirm"
                assert line_of(process) == ended


def test_tail_reports_a_deleted_database(data_dir: Path) -> None:
    some_work(data_dir)
    process = subprocess.Popen([*TREADLE, "tail", "--data-dir", str(data_dir)], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    process.stderr.readline()
    shutil.rmtree(data_dir)
    _, told = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert told.startswith(f"treadle: {data_dir}/treadle.db: it does not exist: ")


# stats


def test_stats_match_the_content_of_the_log(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        many_threads(daemon, 30)
        converse(daemon)
        daemon.dispatch("ArchiveThread", threadId="t-1")
        daemon.dispatch("RenameThread", threadId="t-2", title="x" * 100)
        daemon.dispatch("DeleteThread", threadId="t-2")
        token, key = "npm_" + "aB3dE5" * 6, "AKIA" + "Q2W3" * 4
        daemon.dispatch("RenameThread", threadId="t-3", title=f"{token} {key}")
        daemon.dispatch("RenameThread", threadId="t-4", title=f"{token} {token}")
        found = json.loads(of(data_dir, "stats", "--json", "--largest", "3"))
        status = daemon.result("daemon/status")
        events = json_lines(of(data_dir, "events"))
        assert found["sizes"]["databaseBytes"] == (data_dir / "treadle.db").stat().st_size
    with plain(data_dir) as db:
        payloads = db.execute("SELECT event_type, thread_id, payload FROM events").fetchall()
    assert (found["logId"], found["sequence"]) == (status["logId"], status["sequence"])
    assert (found["firstEventAt"], found["lastEventAt"]) == (events[0]["event"]["at"], events[-1]["event"]["at"])
    for type, told in found["eventsByType"].items():
        of_type = [payload for name, _, payload in payloads if name == type]
        assert told == {"count": len(of_type), "bytes": sum(len(payload.encode()) for payload in of_type)}
    assert sum(told["count"] for told in found["eventsByType"].values()) == len(payloads)
    assert found["redacted"] == {"npm-token": 3, "aws-access-key": 1}
    entities = found["entities"]
    assert (entities["threads"], entities["archivedThreads"], entities["deletedThreads"]) == (30, 1, 1)
    assert (entities["turns"], entities["messages"], entities["checkpoints"]) == (2, 4, 2)
    of_talk = [payload for _, thread, payload in payloads if thread == "talk-1"]
    assert found["largestThreads"][0] == {
        "id": "talk-1",
        "title": "Show the wind",
        "events": len(of_talk),
        "bytes": sum(len(payload.encode()) for payload in of_talk),
    }
    assert found["largestThreads"][1] == {
        "id": "t-2",
        "title": None,
        "events": 3,
        "bytes": sum(len(payload.encode()) for _, thread, payload in payloads if thread == "t-2"),
    }
    text = of(data_dir, "stats")
    assert re.search(r"^redacted\n  npm-token +3\n  aws-access-key +1$", text, re.MULTILINE)
    assert re.search(r"^  MessageAdded +4 +\d", text, re.MULTILINE)
    assert re.search(r"^  talk-1 +\d+ events +[\d.]+ KiB  Show the wind$", text, re.MULTILINE)


# completion

COMPLETE_IN_BASH = r"""
eval "$(treadle completion bash)"
complete_line() {
    COMP_WORDS=($1); [[ "$1" == *" " ]] && COMP_WORDS+=("")
    COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 )); COMP_LINE="$1"; COMP_POINT=${#1}; COMPREPLY=()
    local function=$(complete -p treadle | sed -E 's/.*-F ([^ ]+).*/\1/')
    $function treadle "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
    echo "${COMPREPLY[@]}"
}
complete_line 'treadle th'
complete_line 'treadle show --ma'
complete_line 'treadle import js'
complete_line 'treadle completion '
"""


def in_shell(*command: str) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(command, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


@needs("bash")
def test_bash_completes_commands_and_options() -> None:
    assert in_shell("bash", "--norc", "-c", COMPLETE_IN_BASH).splitlines() == [
        "threads",
        "--markdown",
        "jsonl",
        "bash zsh fish",
    ]


@needs("fish")
def test_fish_completes_commands_and_options(tmp_path: Path) -> None:
    script = "treadle completion fish | source; complete -C 'treadle th'; complete -C 'treadle show --ma'"
    told = in_shell("env", f"HOME={tmp_path}", "fish", "--no-config", "-c", script).splitlines()
    assert [line.partition("\t")[0] for line in told] == ["threads", "--markdown"]


@needs("zsh")
def test_zsh_loads_the_completion_script(tmp_path: Path) -> None:
    script = 'autoload -Uz compinit && compinit -u -d "$1/dump" && eval "$(treadle completion zsh)" && whence -w $2'
    assert in_shell("zsh", "-f", "-c", script, "zsh", str(tmp_path), "_shtab_treadle").endswith(
        "_shtab_treadle: function\n"
    )


# search


def test_search_shows_snippets_and_reports_when_there_are_no_hits(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        daemon.dispatch("CreateProject", id="p", name="p", path="/p")
        daemon.dispatch("CreateThread", threadId="t", projectId="p", title="A lost needle")
        daemon.dispatch("StartTurn", threadId="t", id="u", prompt="Where is\nthe \x1b[31m needle?")
        shown = of(data_dir, "search", "need")
        assert shown.splitlines()[0].startswith("A lost needle t  ")
        assert "  Where is the ␛[31m needle?" in shown
        hits = json_lines(of(data_dir, "search", "--json", "--thread", "t", "--limit", "1", "needle", "lost"))
        assert [(hit["entity"], hit["id"]) for hit in hits] == [("thread", "t")]
        assert hits == daemon.result("search/query", {"query": "needle lost"})["items"]
        assert of(data_dir, "search", "--project", "p", "haystack", status=1) == ""
        assert "invalid FTS5 query" in of(data_dir, "search", "--syntax", "fts5", "(", status=2)
        assert json_lines(of(data_dir, "search", "--json", "--syntax", "fts5", "lost OR haystack")) != []
        daemon.dispatch("InterruptTurn", threadId="t", id="u", reason="enough")
        daemon.dispatch("DeleteThread", threadId="t")
        assert "thread 't' not found" in of(data_dir, "search", "--thread", "t", "needle", status=1)
