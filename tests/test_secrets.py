"""Stored files are private, logs contain no message text, and what a client sends is only data."""

import ast
import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import wire
from support import plain
from treadle.store.sqlite.database import FILE_NAME
from treadle.store.sqlite.runners import Machine, Runner

SOURCES = Path(__file__).parent.parent / "daemon" / "treadle"

# Permissions

LOOSE = ("sh", "-c", 'umask 0; exec "$0" "$@"', *wire.TREADLE)


def modes(*roots: Path) -> dict[str, int]:
    """The permissions of all that lies in some folders, and of these."""
    found = {}
    for root in roots:
        for path in (root, *root.rglob("*")):
            found[str(path)] = stat.S_IMODE(path.stat().st_mode)
    return found


def assert_private(*roots: Path) -> list[str]:
    """0700 for folders, 0600 for files; the names of what there is."""
    found = modes(*roots)
    wrong = {path: oct(mode) for path, mode in found.items() if mode != (0o700 if Path(path).is_dir() else 0o600)}
    assert not wrong
    return [Path(path).name for path in found]


def test_all_created_files_are_private_despite_an_open_umask(tmp_path: Path) -> None:
    home = tmp_path / "home"
    data_dir, log, backup = home / ".local" / "data", tmp_path / "treadle.log", tmp_path / "copy.db"

    def command(name: str, *arguments: str) -> None:
        done = subprocess.run([*LOOSE, name, "--data-dir", str(data_dir), *arguments], capture_output=True)
        assert done.returncode == 0, done

    # wire.spawn lays the daemon's stderr beside the data directory, where it would have to be made first.
    with wire.spawn(
        tmp_path / "x", "--data-dir", str(data_dir), "--log-file", str(log), command=(*LOOSE, "serve")
    ) as daemon:
        daemon.initialize()
        daemon.dispatch("CreateProject", id="p", name="p", path="/p")
        daemon.dispatch("CreateThread", threadId="t", projectId="p", title="t")
        daemon.dispatch("StartTurn", threadId="t", id="u", prompt="go")
        names = assert_private(home)
        assert {f"{FILE_NAME}-wal", f"{FILE_NAME}-shm", "present.lock", "opening.lock", "runners"} <= set(names)
        assert len([name for name in names if name.endswith(".lock")]) >= 3
        command("backup", str(backup))
        command("verify")
        command("doctor")
        assert daemon.finish() == 0
    command("rebuild")
    with plain(data_dir) as db:
        db.execute("UPDATE meta SET value = '0' WHERE key = 'projectionVersion'")
    command("rebuild")
    command("restore", str(backup))
    names = assert_private(home)
    assert len([name for name in names if name.startswith("before-")]) == 2
    assert_private(log)
    assert_private(backup)


def test_temporary_files_of_verify_are_private(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with wire.serving(data_dir) as daemon:
        daemon.dispatch("ChangeSetting", key="k", value=1)
    code = (
        "import os, stat, sys\n"
        "os.umask(0)\n"
        "from pathlib import Path\n"
        "from treadle.store.sqlite import projections\n"
        "compare = projections._compare\n"
        "def look(connection, table, limit):\n"
        "    for path in Path(sys.argv[1]).rglob('*'):\n"
        "        if stat.S_IMODE(path.stat().st_mode) & 0o077: print(path)\n"
        "    return compare(connection, table, limit)\n"
        "projections._compare = look\n"
        "from treadle.cli import main\n"
        "sys.exit(main(['verify', '--data-dir', sys.argv[1]]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(data_dir)], capture_output=True, text=True)
    assert done.returncode == 0, done
    assert len(done.stdout.splitlines()) == 1, done.stdout


def test_a_data_directory_readable_by_others_is_made_private(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o755)
    data_dir.chmod(0o755)
    with wire.serving(data_dir):
        assert_private(data_dir)


def test_an_existing_log_file_is_appended_to_and_keeps_its_permissions(tmp_path: Path) -> None:
    log = tmp_path / "treadle.log"
    log.write_text("before\n")
    log.chmod(0o640)
    with wire.spawn(tmp_path / "data", "--log-file", str(log), "--log-level", "info") as daemon:
        daemon.initialize()
        assert daemon.finish() == 0
    assert stat.S_IMODE(log.stat().st_mode) == 0o640
    assert log.read_text().startswith("before\n")


# Message text

MARK = "hunter2"


def secret(what: str) -> str:
    return f"{MARK} {what}"


def marked_session(daemon: wire.Daemon) -> Iterator[dict[str, Any]]:
    """Every text of every command marked, accepted and rejected; its answers."""
    commands: list[dict[str, Any]] = [
        {"type": "CreateProject", "id": "p", "name": secret("name"), "path": f"/{MARK}"},
        {"type": "CreateProject", "id": "p", "name": secret("name"), "path": f"/{MARK}/taken id"},
        {"type": "CreateProject", "id": "p2", "name": secret("name"), "path": f"/{MARK}"},
        {"type": "CreateProject", "id": "p2", "name": secret("name"), "path": f"relative {MARK}"},
        {"type": "UpdateProject", "id": "p", "name": secret("new name")},
        {"type": "CreateThread", "threadId": "t", "projectId": "p", "title": secret("title")},
        {"type": "RenameThread", "threadId": "t", "title": secret("new title"), "expectedVersion": 1},
        {"type": "RenameThread", "threadId": MARK, "title": secret("new title")},
        {"type": "StartTurn", "threadId": "t", "id": "u", "prompt": secret("prompt"), "commandId": f"c-{MARK}"},
        {"type": "StartTurn", "threadId": "t", "id": "v", "prompt": secret("prompt"), "commandId": f"c-{MARK}"},
        {"type": "AddMessage", "threadId": "t", "turnId": "u", "id": "m", "role": "assistant", "text": secret("text"),
         "streaming": True},
        {"type": "AppendMessage", "threadId": "t", "id": "m", "text": secret("delta")},
        {"type": "AppendMessage", "threadId": "t", "id": "none", "text": secret("delta")},
        {"type": "RecordActivity", "threadId": "t", "turnId": "u", "id": "a", "kind": MARK, "title": secret("title"),
         "status": "running", "detail": {MARK: [secret("detail")]}},
        {"type": "RequestApproval", "threadId": "t", "turnId": "u", "id": "q", "title": secret("question"),
         "options": [{"id": MARK, "name": secret("option"), "kind": MARK}], "detail": secret("detail")},
        {"type": "ResolveApproval", "threadId": "t", "id": "q", "outcome": f"no {MARK}"},
        {"type": "ResolveApproval", "threadId": "t", "id": "q", "outcome": MARK},
        {"type": "CreateCheckpoint", "threadId": "t", "id": "k", "gitRef": MARK, "message": secret("checkpoint")},
        {"type": "CompleteTurn", "threadId": "t", "id": "u", "stopReason": MARK, "usage": {MARK: secret("usage")}},
        {"type": "StartTurn", "threadId": "t", "id": "w", "prompt": secret("prompt")},
        {"type": "FailTurn", "threadId": "t", "id": "w", "error": secret("error")},
        {"type": "StartTurn", "threadId": "t", "id": "x", "prompt": secret("prompt")},
        {"type": "InterruptTurn", "threadId": "t", "id": "x", "reason": secret("reason")},
        {"type": "ChangeSetting", "key": MARK, "value": {MARK: secret("value")}},
        {"type": "ChangeSetting", "key": MARK, "value": 1, MARK: secret("unknown field")},
        {"type": MARK, "text": secret("no such command")},
        {"type": "AddMessage", "threadId": secret("no id"), "turnId": [MARK], "role": MARK, "text": 1},
        {"type": "AddMessage", "threadId": "t", "turnId": "u", "role": "user", "text": f"\x00{MARK}"},
    ]  # fmt: skip
    for command in commands:
        yield daemon.call("command/dispatch", command)
    yield daemon.call("command/dispatchBatch", {"commands": commands[:2]})
    for topic in ("index", "events", "settings"):
        yield daemon.call("subscription/open", {"topic": topic})
    for method, params in (
        (MARK, {}),
        ("thread/read", {"threadId": MARK}),
        ("thread/read", {"threadId": "t", "before": MARK}),
        ("event/list", {"cursor": secret("cursor")}),
        ("subscription/open", {"topic": MARK}),
        ("subscription/close", {"subscriptionId": MARK}),
        ("thread/list", {"limit": MARK, MARK: MARK}),
    ):
        yield daemon.call(method, params)
    daemon.notify(MARK, {"text": MARK})
    daemon.notify("$/cancelRequest", {"id": MARK})
    daemon.notify("command/dispatch", commands[1])
    daemon.send({"jsonrpc": "2.0", "id": MARK, "result": MARK})
    for body in (f'{{"text": "{MARK}', f'{MARK}: "{MARK}"', f'["{MARK}"]', f'{{"jsonrpc":"2.0","x":"\\ud800{MARK}"}}'):
        daemon.send(body.encode())
        yield daemon.answer(None)
    daemon.send(f'"{MARK}{"x" * 3_000_000}"'.encode())
    yield daemon.answer(None)


@pytest.mark.parametrize("level", ["info", "warning", "error"])
def test_logs_above_debug_level_contain_no_message_text(tmp_path: Path, level: str) -> None:
    data_dir, log = tmp_path / "data", tmp_path / "treadle.log"
    options = ("--log-level", level, "--log-file", str(log), "--max-message-bytes", "2000000")
    told = []
    with wire.spawn(data_dir, *options) as daemon:
        daemon.initialize(clientInfo={"name": MARK})
        answers = list(marked_session(daemon))
        assert sum("error" in answer for answer in answers) > 15
        assert sum("result" in answer for answer in answers) > 15
        daemon.dispatch("StartTurn", threadId="t", id="left", prompt=secret("prompt"))
        daemon.dispatch("RecordActivity", threadId="t", turnId="left", id="b", kind="k", title=MARK, status="pending")
        told += [one for one in daemon.notifications if one["method"] == "window/logMessage"]
        wire.kill(daemon)
        daemon.close_input()
        stderr = daemon.stderr
    # What the database says when it refuses, and when a text in it is broken.
    with plain(data_dir) as db:
        db.execute(f"CREATE TRIGGER refuse BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, '{'no'}'); END")
    content = (data_dir / FILE_NAME).read_bytes()
    broken = content.replace(f"{MARK} prompt".encode(), f"{MARK[:-1]}".encode() + b"\xff prompt")
    broken = broken.replace(f"{MARK} title".encode(), f"{MARK[:-1]}".encode() + b"\xff title")
    assert broken != content
    (data_dir / FILE_NAME).write_bytes(broken)
    with wire.spawn(data_dir, *options) as daemon:
        daemon.initialize(workDoneToken=1)
        errors = [
            daemon.error("command/dispatch", {"type": "ChangeSetting", "key": "k", "value": secret("refused")}),
            daemon.error("command/dispatch", {"type": "RenameThread", "threadId": "t", "title": secret("again")}),
            daemon.error("thread/read", {"threadId": "t"}),
            daemon.error("thread/list", {}),
            daemon.error("subscription/open", {"topic": "index"}),
        ]
        assert {error["data"]["kind"] for error in errors} == {"storage", "databaseCorrupt"}
        assert not [error for error in errors if MARK[:-1] in str(error)]
        if level != "error":
            told += [daemon.notification("window/logMessage")]
        assert daemon.finish() == 0
        stderr += daemon.stderr
    assert MARK[:-1] not in str(told)
    assert MARK[:-1] not in log.read_text()
    assert MARK[:-1] not in stderr
    if level != "error":
        assert "failed to end what daemons that have exited left" in log.read_text()


BREAK = """
import sys
from treadle.server.handshake import Handshake
from treadle.server.handlers import Methods
from treadle.store.sqlite import reads

def page(connection, *arguments, **named):
    try:
        connection.execute("SELECT * FROM nothing")
    except Exception:
        raise RuntimeError("hunter2 read")

reads.page = page
Methods.status = lambda self, params: 1 / {}["hunter2 status"]
Handshake._discover = lambda self, params: object()

from treadle.cli import main
sys.exit(main(["serve", *sys.argv[1:]]))
"""


def test_an_unexpected_exception_is_logged_but_not_sent_to_the_client(tmp_path: Path) -> None:
    log = tmp_path / "treadle.log"
    # Without agents, because what runs them reads pages too, and the daemon ends if it fails.
    options = ("--no-agents", "--log-file", str(log))
    with wire.spawn(tmp_path / "data", *options, command=(sys.executable, "-c", BREAK)) as daemon:
        daemon.initialize()
        for method in ("daemon/status", "setting/list", "rpc.discover", "daemon/status"):
            error = daemon.error(method, {})
            assert error == {"code": -32603, "message": "Internal error", "data": {"kind": "internalError"}}
        told = [daemon.notification("window/logMessage") for _ in range(4)]
        assert [one["message"] for one in told] == [
            "daemon/status failed",
            "setting/list failed",
            "rpc.discover failed",
            "daemon/status failed",
        ]
        daemon.dispatch("ChangeSetting", key="k", value=1)
        assert daemon.finish() == 0
    text = log.read_text()
    assert MARK not in text
    assert MARK not in daemon.stderr
    assert text.count("Traceback (most recent call last)") >= 4
    assert "KeyError" in text
    assert "RuntimeError" in text
    assert "OperationalError" in text, "what it came from"
    assert 'File "<string>", line' in text


# Client input is only data

FORBIDDEN_CALLS = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "system",
    "popen",
    "Popen",
    "spawnv",
    "execv",
    "execvp",
    "fork",
}
ALLOWED_CALLS = [
    ("agents/environment.py", "Popen"),  # asks the user's shell: a list of constant arguments
    ("cli/pager.py", "Popen"),  # the pager of the user's settings of git, by a shell as git does
    ("cli/host.py", "fork"),  # of `treadle host --detach`, before any thread runs
    ("cli/import_hook.py", "fork"),  # likewise, before it imports anything that starts one
    ("recorder/launch.py", "fork"),  # of `treadle acp`, before any thread runs
]
FORBIDDEN_IMPORTS = {
    *("importlib", "pickle", "marshal", "shelve", "subprocess", "ctypes", "runpy", "code", "socket", "yaml"),
    *("multiprocessing", "http", "urllib", "xml"),
}
ALLOWED_IMPORTS = [
    ("server/stdio.py", {"socket"}),  # asks a descriptor whether it is one
    ("store/shared/remote.py", {"socket"}),  # cuts the connection that libpq has made
    ("cli/__init__.py", {"importlib"}),  # the module of a command, whose names are a constant
    ("server/memory.py", {"ctypes"}),  # for mallopt(3)
    ("workspace/git.py", {"subprocess"}),  # asks git for a setting: the arguments are constants and a folder
    ("cli/pager.py", {"subprocess"}),  # the pager of the user's settings of git, as git runs it
    ("domain/remotes.py", {"urllib"}),  # takes a URL apart
    ("agents/tool_calls.py", {"urllib"}),  # the path in a file URL
    ("store/sqlite/foreign.py", {"urllib"}),  # writes a path as the URI that SQLite opens read-only
    ("transfer/sources/codex.py", {"importlib"}),  # whether zstandard is installed
    ("agents/environment.py", {"subprocess"}),  # asks the user's shell for its PATH, by constants
    ("agents/reaper.py", {"subprocess"}),  # asks ps when a process started, by a number
]
EXECUTES = {"execute", "executemany", "executescript", "execute_fetchall"}

SQL_THAT_IS_MADE = {
    "f'PRAGMA journal_size_limit = {JOURNAL_SIZE_LIMIT}'": "a constant of the module",
    "f'PRAGMA application_id = {APPLICATION_ID}'": "a constant of the module",
    "sql.SQL(LISTEN).format(sql.Identifier(_channel(log_id)))": "a name made of the hexadecimal digits of an id",
    "sql": "a SELECT of transfer/sources/opencode_stores.py, all of which are constants, on a read-only connection",
    "f'DELETE FROM {table}'": "a table of projections.TABLES",
    "f'SELECT coalesce(max(sequence), 0) FROM {events}'": "`events` or `live.events`, by its two callers",
    "f'PRAGMA main.table_info({table})'": "a table of projections.TABLES",
    "f'SELECT {names} FROM {left} EXCEPT SELECT {names} FROM {right} LIMIT {limit}'": (
        "tables of projections.TABLES or SEARCHES, their columns as our own migrations made them, a number"
    ),
    """f"INSERT INTO {words} ({words}) VALUES ('delete-all')\"""": "a table of projections.SEARCHES",
    "f'PRAGMA busy_timeout = {WAIT_MS}'": "a constant of the module",
    "f'SELECT count(*) FROM {words}_data'": "a table of projections.SEARCHES",
    """f"INSERT INTO {words} ({words}) VALUES ('optimize')\"""": "the same",
    """f"INSERT INTO {words} ({words}, rank) VALUES ('merge', ?)\"""": "the same",
    "f'CREATE VIRTUAL TABLE {name} USING fts5vocab({schema}, {words}, {kind})'": (
        "main or live, a table of projections.SEARCHES, row or instance"
    ),
    "f'SELECT sum((rowid % 65521 + 1) * (doc * 64 + offset + 32 * length(col)) % 1000003) "
    "FROM {schema}_{words}_instance'": "the same",
    "f'SELECT term, doc, col, offset FROM {schema}_{words}_instance'": "the same",
    """'DROP {} "{}"'.format(kind, name.replace('"', '""'))""": "view or trigger, and a name of the database, quoted",
    "'PRAGMA synchronous = FULL' if durability == 'full' else 'PRAGMA synchronous = NORMAL'": "two constants",
    "'COMMIT' if appended else 'ROLLBACK'": "two constants",
    "statement": "of a file in sql/, or the text that `query` gave; in store/shared/remote.py what its callers execute",
    "script.text.encode()": "a migration of sql/postgres",
}
"""Every text that is executed and is neither constant nor a file of sql/queries, and why it is safe."""


def trees() -> Iterator[tuple[Path, ast.AST]]:
    for path in sorted(SOURCES.rglob("*.py")):
        yield path, ast.parse(path.read_text("utf-8"))


def test_sql_is_never_built_from_client_input() -> None:
    made, executed = set(), 0
    for path, tree in trees():
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in EXECUTES):
                continue
            executed += 1
            sql = node.args[0]
            is_constant = isinstance(sql, ast.Constant) or (isinstance(sql, ast.Name) and sql.id.isupper())
            is_query = isinstance(sql, ast.Call) and isinstance(sql.func, ast.Name) and sql.func.id == "query"
            if not (is_constant or is_query):
                text = ast.unparse(sql)
                assert text in SQL_THAT_IS_MADE, f"{path.name}:{node.lineno} executes {text}"
                made.add(text)
    assert executed > 60
    assert made == set(SQL_THAT_IS_MADE), "one of them is gone"


def test_query_names_never_come_from_client_input() -> None:
    """A query name is a path."""
    names = set()
    for path, tree in trees():
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "query"):
                continue
            if not isinstance(node.args[0], ast.Constant):
                names.add(f"{path.name}: {ast.unparse(node.args[0])}")
    assert names == {
        "lookups.py: name",
        "reads.py: name",
        "transaction.py: name",
        "search.py: f'hits_{kind}'",
        "search.py: f'latest_{kind}'",
        "search.py: f'search_{kind}'",
    }


def test_the_code_never_runs_imports_or_unpickles_data() -> None:
    for path, tree in trees():
        file = path.relative_to(SOURCES).as_posix()
        for node in ast.walk(tree):
            where = f"{file}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Call):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                is_re = isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) == "re"
                assert is_re or name not in FORBIDDEN_CALLS or (file, name) in ALLOWED_CALLS, where
            if isinstance(node, ast.Import):
                modules = {alias.name.split(".")[0] for alias in node.names}
                assert (file, modules) in ALLOWED_IMPORTS or not modules & FORBIDDEN_IMPORTS, where
            if isinstance(node, ast.ImportFrom):
                modules = {(node.module or "").split(".")[0]}
                assert (file, modules) in ALLOWED_IMPORTS or not modules & FORBIDDEN_IMPORTS, where


AUDITED = """
import sys
heard = open(sys.argv.pop(1), "w", buffering=1)
EVENTS = ("subprocess", "os.exec", "os.system", "os.fork", "os.posix_spawn", "pickle", "socket.connect", "socket.bind")

def hook(event, arguments):
    text = repr(arguments)
    if "hunter2" in text or event.startswith(EVENTS):
        heard.write(f"{event} {text[:300]!r}\\n")

from treadle.cli import main
import inotify_simple
inotify_simple.INotify().close()  # asks ldconfig for the C library, once
sys.addaudithook(hook)
sys.exit(main(["serve", *sys.argv[1:]]))
"""


def test_client_input_triggers_no_audit_events(tmp_path: Path) -> None:
    """It opens, imports, runs and connects to nothing (docs.python.org/3/library/audit_events.html)."""
    heard = tmp_path / "heard"
    command = (sys.executable, "-c", AUDITED, str(heard))
    with wire.spawn(tmp_path / "data", "--max-message-bytes", "2000000", command=command) as daemon:
        daemon.initialize(clientInfo={"name": MARK}, rootUri=f"file:///{MARK}", locale=MARK)
        for _ in marked_session(daemon):
            pass
        daemon.result("rpc.discover")
        daemon.result("thread/read", {"threadId": "t"})
        assert daemon.finish() == 0
    assert heard.read_text() == ""


HOSTILE = [
    *("'; DROP TABLE events; --", '"; DELETE FROM settings; --', "%s%d%(x)s%n", "{0}{x.__class__.__mro__}", "${HOME}"),
    *("../../../x", "/etc/passwd", "C:\\x", "a\nb\r\nContent-Length: 9\r\n\r\n", "$.type", "$[0]", "__class__"),
    *("`id`", "$(id)", "|id", "<script>", "\x1b[31m", "\u202e", "\ufeff", "NULL", "' OR 1=1", "é" * 100, "🧵"),
]


def test_hostile_texts_are_stored_and_returned_unchanged(tmp_path: Path) -> None:
    data_dir = tmp_path / "in" / "data"
    data_dir.parent.mkdir()
    with wire.serving(data_dir) as daemon:
        daemon.dispatch("CreateProject", id="p", name="p", path="/p")
        daemon.dispatch("CreateThread", threadId="t", projectId="p", title="t")
        daemon.dispatch("StartTurn", threadId="t", id="u", prompt="go")
        opened = daemon.result("subscription/open", {"topic": "settings"})["subscriptionId"]
        for i, text in enumerate(HOSTILE):
            daemon.dispatch("ChangeSetting", key=text, value={text: [text]})
            daemon.dispatch("RenameThread", threadId="t", title=text)
            daemon.dispatch("CreateProject", id=f"p{i}", name=text, path=f"/{i}/{text}")
            daemon.dispatch("AddMessage", threadId="t", turnId="u", id=f"m{i}", role="user", text=text)
            daemon.dispatch("CreateCheckpoint", threadId="t", turnId="u", id=f"k{i}", gitRef=text, message=text)
            option = {"id": text, "name": text, "kind": text}
            daemon.dispatch("RequestApproval", threadId="t", turnId="u", id=f"q{i}", title=text, options=[option])
            daemon.dispatch("ResolveApproval", threadId="t", id=f"q{i}", outcome=text)
        settings = daemon.result("setting/list", {"limit": 500})["items"]
        assert {item["key"]: item["value"] for item in settings} == {text: {text: [text]} for text in HOSTILE}
        read = daemon.result("thread/read", {"threadId": "t"})
        assert [message["text"] for message in read["messages"][1:]] == HOSTILE
        assert [checkpoint["gitRef"] for checkpoint in read["checkpoints"]] == HOSTILE
        assert [approval["outcome"] for approval in read["approvals"]] == HOSTILE
        names = [project["name"] for project in daemon.result("project/list", {"limit": 500})["items"]]
        assert names == [*reversed(HOSTILE), "p"]
        page = daemon.result("setting/list", {"limit": 1})
        while page["nextCursor"]:
            page = daemon.result("setting/list", {"limit": 1, "cursor": page["nextCursor"]})
        seen: set[str] = set()
        while len(seen) < len(HOSTILE):
            changed = daemon.notification("projection/changed", lambda one: one["subscriptionId"] == opened)
            seen |= {change["value"]["key"] for change in changed["changes"]}
        assert seen == set(HOSTILE)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_dir()) == ["data", "in", "runners"]
    assert wire.run("verify", "--data-dir", str(data_dir)).returncode == 0


NO_IDS = [
    *("../../x", "a/b", "", "a b", "a\n", "x" * 129, "é", "a\x00b", "'; DROP TABLE events; --", "%s", "{0}", "..\\x"),
]


def test_invalid_ids_are_refused(tmp_path: Path) -> None:
    with wire.serving(tmp_path / "data") as daemon:
        for id in NO_IDS:
            for command in (
                {"type": "CreateProject", "id": id, "name": "p", "path": "/p"},
                {"type": "CreateProject", "commandId": id, "name": "p", "path": "/p"},
                {"type": "StartTurn", "threadId": id, "prompt": "go"},
            ):
                assert daemon.error("command/dispatch", command)["code"] == -32602, id
            assert daemon.error("thread/read", {"threadId": id})["code"] == -32602, id
        assert daemon.result("daemon/status")["sequence"] == 0


def test_a_project_path_is_normalized_without_touching_the_file_system(tmp_path: Path) -> None:
    with wire.serving(tmp_path / "data") as daemon:
        for path, kept in {"/a/../../etc": "/etc", "//a/./b/": "/a/b", "/..": "/", "/a\n/b": "/a\n/b"}.items():
            stored = daemon.dispatch("CreateProject", name="p", path=path)["events"][0]
            assert stored["event"]["path"] == kept
        for relative in ("../../x", "x", "~/x", " /x", "\\\\x"):
            error = daemon.error("command/dispatch", {"type": "CreateProject", "name": "p", "path": relative})
            assert error["data"]["kind"] == "pathNotAbsolute"


NAMES = ["../victim", "../../victim", "/victim", "..", ".", "", "a/b", "x" * 5000, "é", "victim\n", "*", "%s", "{0}"]


def test_a_forged_runner_name_in_the_log_opens_no_file(tmp_path: Path) -> None:
    data_dir = tmp_path / "in" / "data"
    data_dir.parent.mkdir()
    with wire.serving(data_dir) as daemon:
        daemon.dispatch("CreateProject", id="p", name="p", path="/p")
        for i in range(len(NAMES)):
            daemon.dispatch("CreateThread", threadId=f"t{i}", projectId="p", title="t")
    (data_dir / "runners").mkdir(exist_ok=True)
    victims = [data_dir / "victim.lock", data_dir.parent / "victim.lock", data_dir / "runners" / "victim\n.lock"]
    for victim in victims:
        victim.write_text("mine")
    with plain(data_dir) as db:
        (last,) = db.execute("SELECT max(sequence) FROM events").fetchone()
        for i, name in enumerate(NAMES):
            event = {
                "type": "TurnStarted",
                "at": "2026-01-01T00:00:00.000Z",
                "threadId": f"t{i}",
                "id": "u",
                "runner": name,
            }
            db.execute("INSERT INTO events (sequence, payload) VALUES (?, ?)", (last + 1 + i, json.dumps(event)))
    with wire.serving(data_dir) as daemon:
        for i in range(len(NAMES)):
            (turn,) = daemon.result("turn/list", {"threadId": f"t{i}"})["items"]
            assert turn["status"] == "interrupted", NAMES[i]
    assert [victim.read_text() for victim in victims[:2]] == ["mine", "mine"]
    assert sorted(path.name for path in data_dir.parent.glob("*[!r]")) == ["data", "victim.lock"]
    assert wire.run("doctor", "--data-dir", str(data_dir)).returncode in (0, 1)


@pytest.mark.parametrize("name", NAMES)
def test_an_invalid_runner_name_is_dead_without_file_system_access(tmp_path: Path, name: str) -> None:
    (tmp_path / "runners").mkdir()
    victim = tmp_path / "victim.lock"
    victim.touch()
    runner = Runner(tmp_path, Machine("0" * 16))
    assert runner.is_gone(name)
    runner.forget(name)
    assert victim.exists()


def test_hostile_view_names_in_a_restored_database_are_harmless(tmp_path: Path) -> None:
    """A restored database can contain a view with any name; a rebuild drops only the view."""
    data_dir = tmp_path / "data"
    with wire.serving(data_dir) as daemon:
        daemon.dispatch("ChangeSetting", key="k", value=1)
    with plain(data_dir) as db:
        for name in ('x"; DROP TABLE settings; --', "x y", "'", "select"):
            quoted = name.replace('"', '""')
            db.execute(f'CREATE VIEW "{quoted}" AS SELECT 1')
        db.execute("UPDATE meta SET value = '0' WHERE key = 'projectionVersion'")
    done = wire.run("rebuild", "--data-dir", str(data_dir))
    assert done.returncode == 0, done
    with plain(data_dir) as db:
        assert db.execute("SELECT count(*) FROM settings").fetchone() == (1,)
        assert db.execute("SELECT count(*) FROM sqlite_schema WHERE name LIKE 'x%'").fetchone() == (0,)


def test_the_default_data_directory_is_private(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "share"), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [*LOOSE, "serve"],
        input=b'{"jsonrpc":"2.0","id":1,"method":"initialize"}\n',
        capture_output=True,
        env=environment,
    )
    assert done.returncode == 0, done
    (found,) = tmp_path.rglob(FILE_NAME)
    assert_private(found.parent)
    shutil.rmtree(found.parent)


def test_sqlite_extensions_are_never_loaded(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "x.db") as db:
        if not hasattr(db, "enable_load_extension"):
            return
    for path, tree in trees():
        assert "load_extension" not in ast.unparse(tree), path
