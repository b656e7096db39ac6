"""`treadle import` brings in the histories of other tools: again and again, live, as a hook, and through any kill."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks.claude_sessions import MIB, write_sessions
from benchmarks.rows_import import peak_bytes
from histories import (
    CART,
    SHOP,
    Claude,
    Json,
    aged,
    call,
    claude_shop,
    codex_cart,
    copilot_cart,
    gemini_cart,
    opencode_database,
    qwen_cart,
    text,
    write,
    write_opencode_rows,
)
from import_kills import events_of, importing, kill_imports
from scripted import linux_only
from treadle.cli.import_ import TOOLS
from treadle.transfer.sources.catalog import FILE_NAME as CATALOG
from treadle.transfer.sources.tools import SOURCES
from wire import PATIENCE, TREADLE, Daemon, run, serving

SHOP_THREAD = f"claude:{SHOP}"
SHOP_FILE = f".claude/projects/-work-shop/{SHOP}.jsonl"
ROLLOUT = f".codex/sessions/2026/05/01/rollout-2026-05-01T10-00-00-{CART}.jsonl"
FILES: dict[str, tuple[str, list[Json]]] = {
    "claude": (SHOP_FILE, claude_shop()),
    "codex": (ROLLOUT, codex_cart()),
    "gemini": (".gemini/tmp/shop/chats/session-cart.jsonl", gemini_cart()),
    "qwen": (".qwen/projects/-work-shop/chats/cart.jsonl", qwen_cart()),
    "copilot": (".copilot/session-state/cart/events.jsonl", copilot_cart()),
}
HOMES = ("CLAUDE_CONFIG_DIR", "CODEX_HOME", "OPENCODE_DB", "XDG_DATA_HOME", "GEMINI_CLI_HOME", "COPILOT_HOME")
KILLS = int(os.environ.get("IMPORT_KILLS", "6"))


class User:
    """A user with histories in their home folder, and a data directory."""

    def __init__(self, folder: Path) -> None:
        self.home, self.data_dir = folder / "home", folder / "data"
        self.home.mkdir()

    def write(self, name: str, records: list[Json], *, is_old: bool = True) -> Path:
        return write(self.home / name, records, is_old=is_old)

    def write_all(self) -> None:
        """A session of each tool."""
        for name, records in FILES.values():
            self.write(name, records)
        with opencode_database(self.home / ".local" / "share" / "opencode") as db:
            write_opencode_rows(db)

    def treadle(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return run(*arguments, "--data-dir", str(self.data_dir), env={"HOME": str(self.home)})

    def take(self, *arguments: str) -> Json:
        """Import, and return the report of the last tool."""
        done = self.treadle("import", *arguments, "--json")
        assert done.returncode == 0, done.stderr
        report: Json = json.loads(done.stdout.splitlines()[-1])
        return report

    def thread(self, id: str = SHOP_THREAD) -> Json:
        """What is in a thread."""
        with serving(self.data_dir) as daemon:
            read: Json = daemon.result("thread/read", {"threadId": id, "turnLimit": 200})
        return read

    def texts(self, id: str = SHOP_THREAD) -> list[str]:
        return [message["text"] for message in self.thread(id)["messages"] if message["text"]]


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> User:
    for name in HOMES:
        monkeypatch.delenv(name, raising=False)
    return User(tmp_path)


def files(folder: Path) -> dict[Path, bytes]:
    """What is in a folder, without what SQLite keeps beside a database that is read."""
    found = (path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(("-shm", "-wal")))
    return {path: path.read_bytes() for path in found}


# What there is


def test_every_tool_can_be_named_on_the_command_line() -> None:
    assert [*TOOLS] == [*SOURCES]


def test_the_table_shows_what_there_is_and_changes_nothing(user: User) -> None:
    user.write_all()
    path = user.home / SHOP_FILE
    then = path.stat().st_mtime - 25 * 86_400
    os.utime(path, (then, then))
    before = files(user.home)
    done = user.treadle("import", "--json")
    assert done.returncode == 0, done.stderr
    found = {row["tool"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert [*found] == ["claude", "codex", "opencode", "gemini", "qwen", "copilot"]
    assert {tool: row["sessions"] for tool, row in found.items()} == dict.fromkeys(found, 1)
    assert found["claude"]["size"] == path.stat().st_size
    assert found["claude"]["oldest"] == "2026-05-01T10:00:01.000Z"
    assert {tool: row["deletedSoon"] for tool, row in found.items() if row["keeps"]} == {"claude": 1, "gemini": 0}
    assert not user.data_dir.exists()
    assert files(user.home) == before
    user.take("--all")
    done = user.treadle("import", "--json")
    assert {row["tool"]: row["imported"] for row in map(json.loads, done.stdout.splitlines())} == dict.fromkeys(
        found, 1
    )


def test_the_table_is_readable(user: User) -> None:
    user.write_all()
    out = user.treadle("import").stdout
    assert re.search(r"^claude +~/\.claude +1 +2\.\d KiB +2026-05-01 +0 +0$", out, re.MULTILINE), out
    assert re.search(r"^codex .* never +0$", out, re.MULTILINE), out


def test_the_days_that_a_tool_keeps_sessions_are_read_from_its_settings(user: User) -> None:
    user.write_all()
    (user.home / ".claude" / "settings.json").write_text('{"cleanupPeriodDays": 5}')
    (user.home / ".gemini" / "settings.json").write_text('{"general": {"sessionRetention": {"enabled": false}}}')
    done = user.treadle("import", "--json")
    found = {row["tool"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert (found["claude"]["keeps"], found["claude"]["deletedSoon"]) == (5.0, 1)
    assert found["gemini"]["keeps"] is None


def test_without_any_history_the_table_says_so(user: User) -> None:
    assert "no history of another tool was found" in user.treadle("import").stdout
    assert "no history of another tool was found" in user.treadle("import", "--all").stdout
    done = user.treadle("import", "claude")
    assert (done.returncode, "does not exist: name the folder" in done.stderr) == (1, True)


# Importing


def test_all_imports_what_is_new_of_every_tool_with_its_own_times(user: User) -> None:
    user.write_all()
    done = user.treadle("import", "--all", "--json")
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(r["tool"], r["threads"], r["failed"], r["rejected"]) for r in reports] == [
        (tool, 1, [], {}) for tool in ("claude", "codex", "opencode", "gemini", "qwen", "copilot")
    ]
    listed = user.treadle("threads", "--json").stdout.splitlines()
    assert {json.loads(line)["createdAt"][:10] for line in listed} == {"2026-05-01"}
    assert all(json.loads(line)["updatedAt"][:10] == "2026-05-01" for line in listed)


WATCHED = """
import sys
from treadle import cli
def watch(event, arguments):
    if event in ("open", "sqlite3.connect") and sys.argv[1] in str(arguments[0]):
        print("OPENED", arguments[0])
sys.addaudithook(watch)
sys.exit(cli.main(sys.argv[2:]))
"""


def opened_by_an_import(user: User, *arguments: str) -> list[str]:
    """The files of histories that an import opens."""
    words = [str(user.home), "import", *arguments, "--json", "--data-dir", str(user.data_dir)]
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, *words],
        capture_output=True, text=True, check=True, env={**os.environ, "HOME": str(user.home)},
    )  # fmt: skip
    return [Path(line.split(" ", 1)[1]).name for line in done.stdout.splitlines() if line.startswith("OPENED")]


def test_a_second_import_opens_no_session_and_adds_nothing(user: User) -> None:
    user.write_all()
    side = Claude(isSidechain=True, agentId="a7")
    folder = (user.home / SHOP_FILE).with_suffix("") / "subagents"
    write(folder / "agent-a7.jsonl", [side.user("c1", "Search"), side.assistant("c2", text("Found."))])
    names = {Path(name).name for name, _ in FILES.values()} | {"agent-a7.jsonl"}
    assert names <= set(opened_by_an_import(user, "--all"))
    before = events_of(user.data_dir)
    opened = set(opened_by_an_import(user, "--all"))
    assert opened & (names | {"opencode.db"}) == set()
    assert events_of(user.data_dir) == before


def test_without_its_catalog_an_import_reads_everything_and_adds_nothing(user: User) -> None:
    user.write_all()
    user.take("--all")
    before = events_of(user.data_dir)
    (user.data_dir / CATALOG).unlink()
    assert (user.take("claude")["read"], user.take("codex")["read"]) == (1, 1)
    (user.data_dir / CATALOG).write_text('{"version": "no catalog"}')
    assert user.take("claude")["read"] == 1
    assert events_of(user.data_dir) == before


def test_the_catalog_of_another_log_is_not_believed(user: User) -> None:
    user.write_all()
    user.take("claude")
    catalog = (user.data_dir / CATALOG).read_bytes()
    user.data_dir.rename(user.data_dir.with_name("old"))
    user.data_dir.mkdir()
    (user.data_dir / CATALOG).write_bytes(catalog)
    assert user.take("claude")["threads"] == 1


def test_what_is_appended_is_imported_and_what_was_there_is_not_submitted_again(user: User) -> None:
    user.write(SHOP_FILE, claude_shop())
    user.take("claude")
    of = Claude()
    of.second = 20
    user.write(SHOP_FILE, [*claude_shop(), of.user("u9", "And the price?"), of.assistant("a9", text("Fine."))])
    report = user.take("claude")
    assert (report["threads"], report["turns"], report["events"]) == (0, 1, 4)
    assert user.texts()[-2:] == ["And the price?", "Fine."]
    assert user.take("claude")["unchanged"] == 1
    assert user.treadle("verify").returncode == 0


@pytest.mark.parametrize("tool", FILES)
def test_a_file_that_is_cut_at_any_byte_and_completed_is_as_one_that_was_imported_once(tool: str, user: User) -> None:
    """As if it were imported while the tool writes it."""
    name, records = FILES[tool]
    whole = user.write(name, records).read_bytes()
    user.take(tool)
    expected = events_of(user.data_dir)
    last = len(b"".join(whole.splitlines(keepends=True)[:-3]))
    (user.home / name).unlink()
    for cut in range(last, len(whole), (len(whole) - last) // 6):
        folder = user.home.parent / f"{cut}"
        folder.mkdir()
        other = User(folder)
        path = other.write(name, records, is_old=False)
        path.write_bytes(whole[:cut])
        other.take(tool)
        path.write_bytes(whole)
        aged(path)
        other.take(tool)
        assert without_places(events_of(other.data_dir)) == without_places(expected), cut


def without_places(events: list[Any]) -> list[str]:
    """Events without the files that they come from, sorted: a title may come before the turns that were left out."""
    return sorted(re.sub(r'"(source|path)": "[^"]*"', "", json.dumps(event)) for event in events)


def test_a_session_that_is_rewritten_truncated_or_moved_adds_what_is_new_and_nothing_twice(user: User) -> None:
    user.write(SHOP_FILE, claude_shop())
    user.take("claude")
    user.write(SHOP_FILE, claude_shop()[:4])
    assert user.take("claude")["events"] == 0
    of = Claude()
    of.second = 30
    user.write(
        SHOP_FILE, [*claude_shop()[:2], of.user("u9", "Other"), of.assistant("a9", text("Yes.")), *claude_shop()]
    )
    assert user.take("claude")["turns"] == 1
    moved = user.home / ".claude" / "projects" / "-work-store" / Path(SHOP_FILE).name
    moved.parent.mkdir()
    (user.home / SHOP_FILE).rename(moved)
    report = user.take("claude")
    assert (report["events"], report["gone"]) == (0, 0)
    assert sorted(user.texts()) == sorted([
        "Why is the cart empty?", "It is never filled.", "Thanks.", "You are welcome.", "Other", "Yes.",
    ])  # fmt: skip


def test_a_session_that_its_tool_deleted_is_kept_and_reported(user: User) -> None:
    path = user.write(SHOP_FILE, claude_shop())
    user.take("claude")
    path.unlink()
    report = user.take("claude")
    assert (report["sessions"], report["gone"], report["events"]) == (0, 1, 0)
    assert len(user.texts()) == 4


def test_a_dry_run_writes_nothing(user: User) -> None:
    user.write_all()
    report = user.take("claude", "--dry-run")
    assert (report["threads"], report["turns"], report["events"]) == (1, 2, 0)
    assert not user.data_dir.exists()
    user.take("claude")
    of = Claude()
    user.write(SHOP_FILE, [*claude_shop(), of.user("u9", "More"), of.assistant("a9", text("Yes."))])
    before = {path: path.stat().st_mtime_ns for path in user.data_dir.rglob("*") if path.suffix in (".db", ".json")}
    report = user.take("claude", "--dry-run")
    assert (report["threads"], report["turns"]) == (0, 1)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_dry_run_leaves_out_what_an_import_leaves_out_because_treadle_recorded_it(user: User) -> None:
    user.write_all()
    with serving(user.data_dir) as daemon:
        daemon.dispatch("CreateProject", id="p", name="shop", path="/work/shop")
        daemon.dispatch("CreateThread", threadId="t", projectId="p", title="Cart")
        daemon.dispatch("AssignAgent", threadId="t", agent="claude")
        daemon.dispatch("OpenSession", threadId="t", id="s", agent="claude", sessionId=SHOP, how="new")
    for options in (["--dry-run"], []):
        report = user.take("claude", *options)
        assert (report["threads"], report["turns"]) == (0, 0)
        assert report["skipped"] == {"a session that treadle ran or recorded itself": 1}


def test_only_the_sessions_that_are_asked_for_are_imported(user: User) -> None:
    other = SHOP.replace("1", "2")
    old = user.write(SHOP_FILE, claude_shop())
    new = Claude(other, cwd="/work/bakery/oven")
    user.write(
        f".claude/projects/-work-bakery/{other}.jsonl", [new.user("b1", "Hot?"), new.assistant("b2", text("Yes."))]
    )
    then = old.stat().st_mtime - 3 * 86_400
    os.utime(old, (then, then))
    assert [user.take("claude", "--dry-run", *words)["read"] for words in ([], ["--since", "1d"])] == [2, 1]
    assert user.take("claude", "--dry-run", "--project", "/work/bakery")["read"] == 1
    assert user.take("claude", "--dry-run", "--project", "/work/bak")["read"] == 0
    assert user.take("claude", "--dry-run", "--session", SHOP)["read"] == 1
    assert user.take("claude", "--dry-run", str(old))["read"] == 1
    assert user.take("claude", "--dry-run", str(user.home / ".claude" / "projects" / "-work-bakery"))["read"] == 1
    done = user.treadle("import", "claude", "--since", "soon")
    assert (done.returncode, "is neither an age" in done.stderr) == (2, True)


def test_two_folders_with_the_same_name_for_the_tool_are_two_projects(user: User) -> None:
    for number, folder in enumerate(("/work/a_b", "/work/a-b")):
        session = SHOP[:-1] + str(number)
        of = Claude(session, cwd=folder)
        user.write(
            f".claude/projects/-work-a-b/{session}.jsonl", [of.user(f"u{number}", "Hi"), of.assistant("a", text("Ho"))]
        )
    user.take("claude")
    with serving(user.data_dir) as daemon:
        assert {p["path"] for p in daemon.result("project/list")["items"]} == {"/work/a_b", "/work/a-b"}


def test_what_is_skipped_and_cut_is_counted_and_named(user: User) -> None:
    of = Claude()
    long = of.result("u8", "toolu_8", "word " * 10_000)
    path = user.write(SHOP_FILE, [*claude_shop()[:2], of.assistant("a7", call("toolu_8")), long])
    with path.open("ab") as file:
        file.write(b'{"type": "from-the-future", "uuid": "f1", "value": [1]}\n{broken\n')
    aged(path)
    report = user.take("claude", "--dry-run")
    assert report["cut"] == {"a tool result over 32 KiB": 1}
    assert report["unknown"] == {"from-the-future": 1}
    assert report["named"] == [f"{path}:6: a line that is not JSON"]
    assert user.take("claude", "--dry-run", "--full")["cut"] == {}
    done = user.treadle("import", "claude", "--strict")
    assert done.returncode == 1
    assert f"{path}:6: a line that is not JSON" in done.stdout
    assert "not known, kept as activities: 1 × from-the-future" in done.stdout


def test_two_imports_at_once_are_as_one(user: User) -> None:
    home = user.home / ".claude"
    for number in range(5):
        session = SHOP[:-1] + str(number)
        of = Claude(session)
        records = [
            r for n in range(20) for r in (of.user(f"u{n}", f"Go {n}"), of.assistant(f"a{n}", text(f"Done {n}")))
        ]
        user.write(f".claude/projects/-work-shop/{session}.jsonl", records)
    processes = [importing("claude", home, user.data_dir) for _ in range(3)]
    assert [process.wait(PATIENCE) for process in processes] == [0, 0, 0]
    events = events_of(user.data_dir)
    alone = user.data_dir.with_name("alone")
    assert importing("claude", home, alone).wait(PATIENCE) == 0
    assert sorted(map(json.dumps, events)) == sorted(map(json.dumps, events_of(alone)))


def test_an_import_that_is_killed_at_random_moments_gives_the_same_log(tmp_path: Path) -> None:
    report = kill_imports(tmp_path, KILLS, seed=1)
    assert report.problems == []
    assert report.kills == KILLS


def test_ctrl_c_ends_an_import_cleanly_and_says_what_was_imported(user: User) -> None:
    home = user.home / ".claude"
    write_sessions(home, 12 * MIB, 12 * MIB)
    command = [*TREADLE, "import", "claude", str(home), "--data-dir", str(user.data_dir)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert "importing" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert re.search(r"\d new thread", out)
    assert importing("claude", home, user.data_dir).wait(PATIENCE) == 0
    alone = user.data_dir.with_name("alone")
    assert importing("claude", home, alone).wait(PATIENCE) == 0
    assert events_of(user.data_dir) == events_of(alone)


@linux_only
def test_the_memory_of_an_import_does_not_depend_on_the_size_of_a_session(tmp_path: Path) -> None:
    peaks = []
    for size in (2, 24):
        home, data_dir = tmp_path / f"{size}", tmp_path / f"data-{size}"
        write_sessions(home, size * MIB, size * MIB)
        process, peak = importing("claude", home, data_dir), 0
        while process.poll() is None:
            peak = max(peak, peak_bytes(process.pid))
        assert process.returncode == 0
        peaks.append(peak)
    assert peaks[1] < peaks[0] + 30 * MIB
    assert peaks[1] < 150 * MIB


# Following


@contextmanager
def following(user: User, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """An import that follows what is written."""
    (user.home / ".claude" / "projects" / "-work-shop").mkdir(parents=True, exist_ok=True)
    command = [*TREADLE, "import", *arguments, "--follow", "--data-dir", str(user.data_dir)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "HOME": str(user.home)}
    )
    try:
        assert process.stderr is not None
        while "following" not in process.stderr.readline():
            pass
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def append(path: Path, *records: Json) -> None:
    with path.open("ab") as file:
        file.writelines(json.dumps(record).encode() + b"\n" for record in records)


def heard(daemon: Daemon, text: str) -> None:
    """Wait until a subscriber was told about this text."""
    daemon.notification("event/appended", lambda params: text in json.dumps(params))


def test_what_a_tool_writes_reaches_the_subscribers_of_another_process(user: User) -> None:
    records = claude_shop()
    with following(user, "claude") as process, serving(user.data_dir) as daemon:
        daemon.result("subscription/open", {"topic": "events"})
        path = user.write(SHOP_FILE, records[:3], is_old=False)
        heard(daemon, "Look.")
        append(path, records[3])
        heard(daemon, "toolu_1")
        append(path, *records[4:6])
        heard(daemon, "It is never filled.")
        append(path, *records[6:])
        heard(daemon, "You are welcome.")
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
    turns = user.thread()["turns"]
    assert [(turn["id"], turn["status"], turn["usage"] and turn["usage"]["output_tokens"]) for turn in turns] == [
        ("u1", "completed", 633),
        ("u3", "completed", None),
    ]
    assert user.texts() == ["Why is the cart empty?", "It is never filled.", "Thanks.", "You are welcome."]
    assert user.take("claude")["events"] == 0


def test_a_turn_that_is_open_when_following_ends_is_interrupted_and_continued_by_the_next_import(user: User) -> None:
    records = claude_shop()
    path = user.write(SHOP_FILE, records[:4], is_old=False)
    with following(user, "claude") as process, serving(user.data_dir) as daemon:
        daemon.result("subscription/open", {"topic": "events"})
        append(path, records[4])
        heard(daemon, "cart.ts")
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE)
    (turn,) = user.thread()["turns"]
    assert (turn["status"], turn["reason"]) == ("interrupted", "the import that followed it has ended")
    append(path, *records[5:])
    user.take("claude")
    assert user.take("claude")["events"] == 0
    assert user.texts() == ["Why is the cart empty?", "It is never filled.", "Thanks.", "You are welcome."]
    assert [turn["id"] for turn in user.thread()["turns"]] == ["u1", "u1:2", "u3"]


def test_a_file_that_is_written_anew_while_it_is_followed_is_read_anew(user: User) -> None:
    path = user.write(SHOP_FILE, claude_shop(), is_old=False)
    with following(user, "claude") as process, serving(user.data_dir) as daemon:
        daemon.result("subscription/open", {"topic": "events"})
        of = Claude()
        of.second = 20
        append(path, of.user("u8", "And the price?"), of.assistant("a8", text("Fine.")))
        heard(daemon, "Fine.")
        of.second = 40
        longer = [of.user("u9", "Something else " * 100), of.assistant("a9", text("Else."))]
        path.write_bytes(b"".join(json.dumps(record).encode() + b"\n" for record in [*longer, *claude_shop()]))
        heard(daemon, "Else.")
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
    assert sorted(user.texts())[:2] == ["And the price?", "Else."]
    assert len(user.texts()) == 8


# As a hook


def hook(user: User, told: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*TREADLE, "import", "claude", "--hook", "--data-dir", str(user.data_dir), *arguments],
        input=told, capture_output=True, text=True, timeout=PATIENCE, env={**os.environ, "HOME": str(user.home)},
    )  # fmt: skip


def test_a_hook_imports_its_session_and_prints_nothing(user: User) -> None:
    path = user.write(SHOP_FILE, claude_shop(), is_old=False)
    with serving(user.data_dir) as daemon:
        daemon.result("subscription/open", {"topic": "events"})
        done = hook(user, json.dumps({"session_id": SHOP, "transcript_path": str(path), "hook_event_name": "Stop"}))
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        heard(daemon, "You are welcome.")


@pytest.mark.parametrize("told", ["", "{", "[]", '{"transcript_path": 7}', '{"transcript_path": "/missing.jsonl"}'])
def test_a_hook_never_disturbs_the_tool_unless_it_is_asked_to(user: User, told: str) -> None:
    done = hook(user, told)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert hook(user, told, "--strict").returncode == 1
