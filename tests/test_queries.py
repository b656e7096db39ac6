"""No read or append slows down as history grows: an index gives each its rows in the right order.

Nothing runs ANALYZE on a user's database, so these tests do not either: SQLite plans without statistics.
"""

import ast
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import treadle
from every_event import HISTORY, LIVE, at
from support import append_all, opened, plain
from treadle.domain import agent_events as a
from treadle.domain import events as e
from treadle.domain.events import OfferedOption
from treadle.store.pages import LATEST
from treadle.store.sqlite.database import FILE_NAME
from treadle.store.sqlite.search import KINDS
from treadle.store.sqlite.sql import query, scripts
from treadle.store.sqlite.transaction import PLURALS as _PLURAL

QUERIES = {script.name: script.text for script in scripts("queries")}
INDEXES = re.findall(r"CREATE (?:UNIQUE )?INDEX (\w+)", "".join(s.text for s in scripts("migrations")))

ALLOWED = {
    # Each holds only what runs or is open now: it does not grow with history.
    ("running_turns", "SCAN u USING INDEX idx_turns_running"),
    ("pending_approvals", "SCAN a USING INDEX idx_approvals_newest"),
    # A batch has a bounded number of commands, and its order is the order of the log.
    ("append_events", "USE TEMP B-TREE FOR ORDER BY"),
    ("open_sessions", "SCAN projection_sessions USING INDEX idx_sessions_open"),
    ("threads_at_work", "SCAN projection_prompts USING INDEX idx_prompts_newest"),
    ("threads_at_work", "UNION USING TEMP B-TREE"),
    ("threads_at_work", "SCAN projection_sessions USING INDEX idx_sessions_open"),
    ("threads_at_work", "SCAN projection_turns USING INDEX idx_turns_running"),
    ("open_queues", "SCAN q USING INDEX idx_prompts_newest"),
    ("open_queues", "USE TEMP B-TREE FOR DISTINCT"),
    # The queue of one thread, in an order that people change.
    ("lookup_queue", "USE TEMP B-TREE FOR ORDER BY"),
    ("queue_of_thread", "USE TEMP B-TREE FOR ORDER BY"),
    ("work_of_threads", "USE TEMP B-TREE FOR ORDER BY"),
    # Live projects are few, and only commands that name a path look at them.
    ("lookup_paths", "SCAN projection_projects USING INDEX idx_projects_live"),
    # The folders of one machine for projects of a shared log, as many as it works in.
    ("lookup_folders", "SCAN f USING INDEX sqlite_autoindex_project_folders_2"),
    # For `treadle worktree list` and `treadle doctor`: the worktrees that there are.
    ("threads_with_worktree", "SCAN projection_threads USING INDEX idx_threads_worktree"),
    # One row for each erasure: read when something was erased, not while the log is written.
    ("erased_threads", "SCAN erasures"),
    ("purge_threads", "SCAN erasures"),
    ("erasing_commands", "SCAN x"),
    ("erasing_commands", "SCAN v VIRTUAL TABLE INDEX 3:"),
    ("erasing_commands", "SCAN o"),
    ("erasure_list", "SCAN x"),
    # One row for each type of event.
    ("position", "SCAN event_types"),
    # For `treadle checkpoints prune` and `treadle doctor` alone: every project, and every thread that was deleted.
    ("project_paths", "SCAN projection_projects"),
    ("threads_with_refs", "SCAN d USING INDEX idx_threads_deleted"),
    # The threads of a project that is deleted, each of which is then deleted.
    ("lookup_members", "USE TEMP B-TREE FOR ORDER BY"),
    # A session is one thread, or a few.
    ("thread_list_of_session", "USE TEMP B-TREE FOR ORDER BY"),
    # For `treadle doctor` alone, which reads everything.
    ("log_extent", "SCAN events"),
    # For `treadle stats` alone: a slice of the log, the largest of all threads, and how many rows there are.
    ("stats_event_types", "USE TEMP B-TREE FOR GROUP BY"),
    ("stats_largest_threads", "USE TEMP B-TREE FOR ORDER BY"),
    ("stats_entities", "SCAN projection_projects USING INDEX idx_projects_live"),
    ("stats_entities", "SCAN projection_threads USING INDEX idx_threads_version"),
    ("stats_entities", "SCAN projection_threads USING INDEX idx_threads_deleted"),
    ("stats_entities", "SCAN projection_turns USING COVERING INDEX idx_turns_thread"),
    ("stats_entities", "SCAN projection_turns USING INDEX idx_turns_running"),
    ("stats_entities", "SCAN projection_messages USING COVERING INDEX idx_messages_thread"),
    ("stats_entities", "SCAN projection_activities USING COVERING INDEX idx_activities_thread"),
    ("stats_entities", "SCAN projection_approvals USING COVERING INDEX idx_approvals_thread"),
    ("stats_entities", "SCAN projection_approvals USING INDEX idx_approvals_newest"),
    ("stats_entities", "SCAN projection_prompts USING INDEX idx_prompts_newest"),
    ("stats_entities", "SCAN projection_sessions USING COVERING INDEX idx_sessions_session"),
    ("stats_entities", "SCAN projection_sessions USING INDEX idx_sessions_open"),
    ("stats_entities", "SCAN projection_rules USING INDEX idx_rules_live"),
    ("stats_entities", "SCAN checkpoints USING COVERING INDEX idx_checkpoints_thread"),
    ("stats_entities", "SCAN settings"),
}


SEARCHES = {name for name in QUERIES if name.startswith(("search_", "latest_", "hits_"))}
"""What these cost grows with how much there is to be found: they have a connection of their own."""


def plan(db: sqlite3.Connection, text: str) -> list[str]:
    parameters = dict.fromkeys(re.findall(r":(\w+)", text))
    return [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {text}", parameters).fetchall()]


@pytest.fixture
async def filled(data_dir: Path) -> Path:
    """A data directory in which every table has rows."""
    async with opened(data_dir) as store:
        await append_all(store, LIVE)
    return data_dir


@pytest.fixture
def db(filled: Path) -> Iterator[sqlite3.Connection]:
    with plain(filled) as connection:
        connection.execute("ATTACH ? AS live", (str(filled / FILE_NAME),))  # as `verify` has it
        yield connection


@pytest.mark.parametrize("name", QUERIES)
def test_queries_neither_scan_nor_sort_growing_tables(db: sqlite3.Connection, name: str) -> None:
    for step in plan(db, QUERIES[name]):
        if (name, step) in ALLOWED:
            continue
        assert "TEMP B-TREE" not in step
        # What is not a table of the schema: an argument that came as JSON, no row at all, a subquery that was planned.
        # M: by the words, of which each has its rows in order (xBestIndex of FTS5).
        scanned = re.fullmatch(r"SCAN (.*)", step)
        assert scanned is None or re.fullmatch(
            r"(k|json_each) VIRTUAL TABLE INDEX [13]:|CONSTANT ROW|\(subquery-\d+\)|threads|messages|activities|q"
            r"|\w+ VIRTUAL TABLE INDEX \d+:M\d[<>]*",
            scanned[1],
        ), step


@pytest.mark.parametrize("name", [n for n in QUERIES if re.search(r":(ids|keys)\b", QUERIES[n]) and n not in SEARCHES])
def test_queries_by_id_look_up_each_row_by_its_full_key(db: sqlite3.Connection, name: str) -> None:
    steps = [step for step in plan(db, QUERIES[name]) if "VIRTUAL TABLE" in step or "SEARCH" in step]
    assert "VIRTUAL TABLE" in steps[0], "the ids are the outer loop"
    assert re.search(r"\((thread_id=\? AND )?(id|key|path|command_id|rowid)=\?\)", steps[1]), steps


@pytest.mark.parametrize("index", INDEXES)
def test_every_index_is_unique_or_used_by_a_query(db: sqlite3.Connection, index: str) -> None:
    used = [name for name, text in QUERIES.items() if any(re.search(rf"\b{index}\b", step) for step in plan(db, text))]
    unique = db.execute("SELECT sql LIKE 'CREATE UNIQUE%' FROM sqlite_schema WHERE name = ?", (index,)).fetchone()[0]
    assert used or unique


# The same, counted: how many instructions SQLite's machine runs for it


def payloads(events: list[e.AnyEvent]) -> str:
    return msgspec.json.encode([e.encode(event).decode() for event in events]).decode()


def other_work(n: int) -> Iterator[e.AnyEvent]:
    """Another project, thread and setting, with the history that the thread `t` has."""
    yield e.ProjectCreated(id=f"p{n}", name="P", path=f"/p{n}", at=at(0))
    yield e.SettingChanged(key=f"theme-{n}", value=n, at=at(0))
    for event in LIVE:
        if isinstance(event, e.ThreadCreated):
            yield msgspec.structs.replace(event, thread_id=f"t{n}", project_id=f"p{n}")
        elif isinstance(event, e.ThreadEvent) and not isinstance(event, e.EventsRedacted):
            yield msgspec.structs.replace(event, thread_id=f"t{n}")
    yield e.MessageCompleted(id="open", thread_id=f"t{n}", at=at(0))
    yield e.TurnCompleted(id="four", thread_id=f"t{n}", stop_reason="end_turn", at=at(0))
    yield a.PromptRemoved(id="third", thread_id=f"t{n}", at=at(0))
    yield a.SessionEnded(id="s2", thread_id=f"t{n}", reason="done", at=at(0))
    yield a.RuleAdded(id=f"rule{n}", match=a.GivenMatch(kind="read"), decision="ask", at=at(0))


def more_of_the_thread(n: int) -> Iterator[e.AnyEvent]:
    """One more turn of the thread `t`, with all that a turn can have."""
    of: dict[str, Any] = {"thread_id": "t", "at": at(0)}
    option = OfferedOption(id="yes", name="Yes", kind="allow_once")
    yield e.TurnStarted(id=f"u{n}", runner="daemon", **of)
    yield e.MessageAdded(id=f"m{n}", turn_id=f"u{n}", role="user", text="Do", streaming=False, **of)
    yield e.ActivityRecorded(id=f"a{n}", turn_id=f"u{n}", kind="k", title="ls", status="completed", **of)
    yield e.ApprovalRequested(id=f"q{n}", turn_id=f"u{n}", title="?", options=[option], **of)
    yield e.ApprovalResolved(id=f"q{n}", outcome="yes", **of)
    yield e.CheckpointCreated(id=f"c{n}", turn_id=f"u{n}", git_ref="refs/x", message="", **of)
    yield a.UsageReported(id=f"u{n}", cost=0.5, currency="USD", tokens=7, **of)
    yield e.TurnCompleted(id=f"u{n}", stop_reason="end_turn", **of)
    yield a.PromptQueued(id=f"next{n}", text="Do", runner="daemon", **of)
    yield a.PromptSent(id=f"next{n}", turn_id="none", **of)
    yield a.SessionOpened(id=f"x{n}", agent="a", session_id="x", how="new", runner="daemon", **of)
    yield a.SessionEnded(id=f"x{n}", reason="done", **of)


class Counted:
    """A log with so many other threads, and so many more turns in the thread `t`; counts instructions."""

    def __init__(self, db: sqlite3.Connection, size: int) -> None:
        self.db = db
        begun = LIVE[:4]  # the thread is there, and nothing in it
        self._append([event for n in range(size) for event in other_work(n)])
        self._append(begun)
        self._append([event for n in range(size) for event in more_of_the_thread(n)])

    def _append(self, events: list[e.AnyEvent]) -> None:
        self.db.execute(query("append_events"), {"expected": self.sequence, "batch": payloads(events), "actors": None})

    @property
    def sequence(self) -> int:
        return int(self.db.execute(query("position")).fetchone()[0])

    def append(self, event: e.AnyEvent) -> int:
        return self.steps(
            query("append_events"), {"expected": self.sequence, "batch": payloads([event]), "actors": None}
        )

    def steps(self, text: str, parameters: dict[str, Any]) -> int:
        """How many instructions the statement takes."""
        count = 0

        def tick() -> int:
            nonlocal count
            count += 1
            return 0

        self.db.set_progress_handler(tick, 1)
        try:
            self.db.execute(text, parameters).fetchall()
        finally:
            self.db.set_progress_handler(None, 1)
        return count


SMALL, LARGE = 8, 80
READ_ALL = ("append", "stats_")  # what an append writes is counted above
SLACK = 1.25
"""For what SQLite does now and then, such as moving a page. Ten times as many rows are no ten times of anything."""


@pytest.fixture
async def small_and_large(tmp_path: Path) -> Any:
    logs = []
    for size in (SMALL, LARGE):
        async with opened(tmp_path / str(size)):
            pass
        db = sqlite3.connect(tmp_path / str(size) / FILE_NAME, isolation_level=None)
        logs.append(Counted(db, size))
    yield logs
    for counted in logs:
        counted.db.close()


async def test_appends_cost_the_same_in_a_long_history_as_in_a_short_one(
    small_and_large: tuple[Counted, Counted],
) -> None:
    small, large = small_and_large
    for event, _ in HISTORY[4:]:
        if isinstance(event, e.EventsRedacted):  # which makes all rows of the thread again
            continue
        few, many = small.append(event), large.append(event)
        if not isinstance(event, e.ThreadDeleted | e.ThreadErased):  # which remove what is in the thread
            assert many < few * SLACK, event


async def test_queries_cost_the_same_in_a_long_history_as_in_a_short_one(
    small_and_large: tuple[Counted, Counted],
) -> None:
    small, large = small_and_large
    for event, _ in HISTORY[4:-4]:
        small.append(event)
        large.append(event)
    for name, text in QUERIES.items():
        if name in ("running_turns", "log_extent", "replay", "replay_from_live") or name.startswith(READ_ALL):
            continue
        # What is left out grows with the live projects, and only with them.
        if name in SEARCHES or name in ("lookup_paths", "lookup_folders"):
            continue
        # They grow with all projects, with the threads that were deleted, with what pruning keeps, and, for an import,
        # with the turns of a thread.
        if name in ("project_paths", "threads_with_refs", "kept_checkpoints", "own_turns"):
            continue
        few, many = (log.steps(text, _parameters(name, log)) for log in small_and_large)
        assert few > 5
        assert many < few * SLACK, name


def _parameters(name: str, log: Counted) -> dict[str, Any]:
    ids = {"projects": "p", "threads": "t", "turns": "one", "messages": "open", "activities": "tool"}
    ids |= {"approvals": "ask", "checkpoints": "in", "settings": "size", "commands": "?"}
    ids |= {"prompts": "third", "sessions": "s2", "rules": "r2", "events": "4"}
    kind = name.partition("_")[2]
    key: list[Any] = [kind, "/q"] if kind == "paths" else [kind, ids.get(kind)]
    if kind in ("turns", "messages", "activities", "approvals", "checkpoints", "prompts", "sessions", "events"):
        key.insert(1, "t")
    given = {
        "thread": "t",
        "threads": '["t"]',
        "id": "tool" if name == "activity_read" else "open",
        "project": "p",
        "projects": '["p"]',
        "archived": None,
        "tool": None,
        "session": "s",
        "by_time": 1,
        "updated": "~",
        "limit": 3,
        "sequence": 1,
        "before": LATEST,
        "searched": "{}",
        "commands": "[]",
        "first": "t",
        "beyond": "t0",
        "after": "" if name == "setting_list" else log.sequence - 2,
        "message": log.sequence - 2,
        "ids": msgspec.json.encode(["t" if name == "work_of_threads" else ids.get(kind)]).decode(),
        "keys": msgspec.json.encode([key]).decode(),
        "folders": '{"p": "/p"}',
    }
    return {parameter: given[parameter] for parameter in re.findall(r":(\w+)", QUERIES[name])}


# The files


def _strings(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_every_query_file_is_used_and_every_used_query_has_a_file() -> None:
    trees = [ast.parse(path.read_text("utf-8")) for path in Path(treadle.__path__[0]).rglob("*.py")]
    named = {
        node.args[0].value
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "query"
        and isinstance(node.args[0], ast.Constant)
    }
    assert named <= QUERIES.keys()
    said = {string for tree in trees for string in _strings(tree)}
    made = {f"changed_{plural}" for plural in _PLURAL.values()}
    made |= {f"thread_list{of}{by}" for of in ("", "_of_project") for by in ("", "_by_time")}
    made |= {f"{step}_{kind}" for step in ("search", "latest", "hits") for kind in KINDS}
    assert made <= QUERIES.keys()
    assert QUERIES.keys() - said - made == set()


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_file_has_a_comment_and_one_statement(name: str) -> None:
    lines = QUERIES[name].splitlines()
    assert lines[0].startswith("-- ")
    statement = "\n".join(line for line in lines if not line.startswith("--"))
    assert statement.count(";") == 1
    assert statement.endswith(";")
    assert "SELECT *" not in statement
