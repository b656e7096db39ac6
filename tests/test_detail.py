"""Each text is in the log once: details and messages read from the events that hold them are what was sent."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from treadle.domain import commands as c
from treadle.domain import events as e
from treadle.domain.decider import Stamp, decide, evolve, initial_state, names
from treadle.domain.detail import changed, difference, json_text
from treadle.domain.errors import Rejected
from treadle.domain.state import ActivityState
from treadle.store.sqlite import migrations, projections
from treadle.store.sqlite.lookups import look_up
from treadle.store.sqlite.sql import query

# JSON. Members come from few names and texts from few pieces, so that two details have something in common.
TEXTS = st.one_of(
    st.lists(st.sampled_from(["a", "b", '"', "\\", "\n", "é", "😀", "\u2028"]), max_size=4).map("".join),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5),
)
PLAIN_NAMES = st.sampled_from(["a", "b", "rawOutput", "0", "-", "_", "x-1"])
NAMES = st.one_of(PLAIN_NAMES, PLAIN_NAMES, st.sampled_from(["", "a.b", 'q"', "$", "[0]", "é", "a b", "\\"]), TEXTS)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    TEXTS,
    st.integers(-(2**80), 2**80),
    st.sampled_from([1.0, -0.0, 1e300, -1.5e-300, 2**63, 2**64, 0.1]),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=6
)
OBJECTS = st.one_of(st.dictionaries(PLAIN_NAMES, VALUES, max_size=4), st.dictionaries(NAMES, VALUES, max_size=4))
DETAILS = st.one_of(OBJECTS, OBJECTS, VALUES)


# The difference


@given(DETAILS, DETAILS)
@example({"a": 1}, {})
@example(None, {})
@example({"a.b": 1}, {"a.b": 1})
@example({"a": "x", "b": 1}, {"a": "xy", "b": 1.0})
def test_a_detail_with_its_difference_to_another_is_the_other(before: Any, after: Any) -> None:
    found = difference(before, after)
    if found is not None:
        assert json_text(changed(before, *found)) == json_text(after)
        assert (found == ({}, {})) == (json_text(before) == json_text(after))


@given(DETAILS)
def test_a_detail_has_no_difference_to_itself(detail: Any) -> None:
    assert difference(detail, detail) == ({}, {})


def test_a_difference_holds_what_changed_and_of_a_text_that_grew_the_end() -> None:
    before = {"same": [1], "gone": 1, "grew": "ab", "other": "ab", "empty": ""}
    after = {"same": [1], "grew": "abc", "other": "b", "empty": "a", "new": {"x": None}}
    assert difference(before, after) == ({"gone": None, "other": "b", "empty": "a", "new": {"x": None}}, {"grew": "c"})


@pytest.mark.parametrize(("before", "after"), [(256, 257), (257, 256), (300, 300)])
def test_a_detail_of_more_than_256_members_is_recorded_as_a_whole(before: int, after: int) -> None:
    many = {f"m{n}": "x" for n in range(before)}, {f"m{n}": "xy" for n in range(after)}
    assert difference(*many) is None
    assert difference(many[0], many[0]) == ({}, {})
    assert difference({"a": "x"}, {"a": "xy", **{f"m{n}": n for n in range(255)}}) is not None


# The log and its projections


class Log:
    """A database with a running turn in a thread, and the state that commands are decided against."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db
        self.state = initial_state()
        for command in (
            c.CreateProject(id="p", name="P", path="/p"),
            c.CreateThread(thread_id="t", project_id="p", title="T"),
            c.StartTurn(thread_id="t", id="u", prompt="Do", message_id="prompt"),
        ):
            assert self.dispatch(command)

    def dispatch(self, command: c.Command) -> list[e.Event]:
        """Decide the command, and append what it leads to."""
        self.state.load({key: None for key in names(command) if key not in self.state})
        events = decide(self.state, command, Stamp("2026-01-31T12:00:00.000Z", "runner"))
        payloads = [e.encode(event).decode() for event in events]
        batch = {"expected": self.state.sequence, "batch": msgspec.json.encode(payloads).decode(), "actors": None}
        self.db.execute(query("append_events"), batch)
        for event in events:
            evolve(self.state, event)
        return events

    def activity(self, id: str) -> ActivityState | None:
        """The activity as the database has it."""
        found: ActivityState | None = look_up(self.db, [("activity", "t", id)])[("activity", "t", id)]
        return found

    def message(self, id: str) -> dict[str, Any]:
        """The message as `message/read` answers it."""
        (value,) = self.db.execute(query("message_read"), {"thread": "t", "id": id}).fetchone()
        message: dict[str, Any] = msgspec.json.decode(value)
        return message


def _empty() -> bytes:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        migrations.migrate(db)
        projections.rebuild(db)
        return db.serialize()


EMPTY = _empty()


@contextmanager
def in_turn() -> Iterator[Log]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        db.deserialize(EMPTY)
        yield Log(db)


IDS = st.sampled_from(["x", "y"])
STATUSES = st.sampled_from(["pending", "running", "completed", "failed"])
RECORDED = st.builds(
    c.RecordActivity,
    thread_id=st.just("t"),
    turn_id=st.just("u"),
    id=IDS,
    kind=st.sampled_from(["tool_call", "plan"]),
    title=TEXTS,
    status=STATUSES,
    detail=DETAILS,
)
UPDATED = st.builds(
    c.UpdateActivity,
    thread_id=st.just("t"),
    id=IDS,
    kind=st.none() | st.just("plan"),
    title=st.none() | TEXTS,
    status=st.none() | STATUSES,
    detail=st.none() | OBJECTS,
)


def folded(before: ActivityState | None, command: Any) -> ActivityState | None:
    """The activity after the command, by a plain fold."""
    if isinstance(command, c.RecordActivity):
        return ActivityState("u", command.kind, command.title, command.status, command.detail)
    members = command.detail or {}
    if before is None or (members and not isinstance(before.detail, dict | None)):
        return before
    detail = before.detail
    if members:
        kept = {name: value for name, value in (detail or {}).items() if name not in members}
        detail = {**kept, **{name: value for name, value in members.items() if value is not None}}
    given = {name: getattr(command, name) for name in ("kind", "title", "status")}
    given = {name: value for name, value in given.items() if value is not None}
    return msgspec.structs.replace(before, detail=detail, **given)


def as_text(activity: ActivityState | None) -> str:
    return json_text(activity)


@given(st.lists(RECORDED | UPDATED, max_size=8))
@settings(deadline=None)
def test_an_activity_in_the_database_and_in_the_state_is_what_its_commands_made_it(commands: list[Any]) -> None:
    with in_turn() as log:
        expected: dict[str, ActivityState | None] = {"x": None, "y": None}
        for command in commands:
            was = expected[command.id]
            expected[command.id] = folded(was, command)
            try:
                events = log.dispatch(command)
            except Rejected:
                assert expected[command.id] == was
                continue
            assert bool(events) == (as_text(expected[command.id]) != as_text(was))
            assert as_text(log.state[("activity", "t", command.id)]) == as_text(expected[command.id])
            assert as_text(log.activity(command.id)) == as_text(expected[command.id])
        sizes = """
            SELECT size, coalesce(length(CAST(json(detail) AS BLOB)), 0)
            FROM projection_activities JOIN activity_details USING (sequence)
        """
        assert all(size == actual for size, actual in log.db.execute(sizes))
        projections.rebuild(log.db)
        assert [as_text(log.activity(id)) for id in expected] == [as_text(expected[id]) for id in expected]
        log.db.execute("INSERT INTO activity_search (activity_search, rank) VALUES ('integrity-check', 0)")
        log.dispatch(c.DeleteThread(thread_id="t"))
        assert log.db.execute("SELECT count(*) FROM parts").fetchone() == (0,)
        assert log.db.execute("SELECT count(*) FROM activity_search('a*')").fetchone() == (0,)


def test_a_tool_call_that_is_told_as_pending_running_and_completed_holds_its_output_once() -> None:
    with in_turn() as log:
        output = "".join(chr(97 + n % 26) for n in range(10_000))
        detail: dict[str, Any] = {"rawInput": {"command": "ls"}}
        tool: dict[str, Any] = {"thread_id": "t", "turn_id": "u", "id": "x", "kind": "tool_call", "title": "ls"}
        log.dispatch(c.RecordActivity(**tool, status="pending", detail=detail))
        log.dispatch(c.RecordActivity(**tool, status="running", detail=detail))
        log.dispatch(c.RecordActivity(**tool, status="running", detail={**detail, "out": output[:5_000]}))
        log.dispatch(c.RecordActivity(**tool, status="completed", detail={**detail, "out": output}))
        held = log.activity("x")
        assert held is not None
        assert held.detail == {**detail, "out": output}
        (size,) = log.db.execute("SELECT sum(length(payload)) FROM events").fetchone()
        assert len(output) < size < len(output) + 2_000
        assert log.db.execute("SELECT count(*) FROM parts WHERE text IS NOT NULL").fetchone() == (0,)


@pytest.mark.parametrize("count", [3, 15, 16, 40, 400])
def test_a_member_of_many_small_parts_is_folded_when_the_activity_ends_and_again(count: int) -> None:
    with in_turn() as log:
        detail = {"kept": 1, "out": "\n"}
        tool: dict[str, Any] = {"thread_id": "t", "turn_id": "u", "id": "x", "kind": "tool_call", "title": "ls"}
        log.dispatch(c.RecordActivity(**tool, status="running", detail=detail))
        for _ in range(2):
            for n in range(count):
                detail = {**detail, "out": f"{detail['out']}line {n} é\n"}
                log.dispatch(c.UpdateActivity(thread_id="t", id="x", detail=detail))
            log.dispatch(c.UpdateActivity(thread_id="t", id="x", status="completed"))
            held, (parts,) = log.activity("x"), log.db.execute("SELECT count(*) FROM parts").fetchone()
            assert held is not None
            assert held.detail == detail
            assert parts == 2 if count > 15 else parts <= 17
            log.dispatch(c.UpdateActivity(thread_id="t", id="x", status="running"))
        (size,) = log.db.execute("SELECT size FROM projection_activities").fetchone()
        assert size == len(msgspec.json.encode(detail))


def test_folding_many_members_takes_a_number_of_steps_that_grows_with_their_parts() -> None:
    steps = [_steps_to_fold(members) for members in (50, 200)]
    assert steps[1] < 6 * steps[0]


def _steps_to_fold(members: int) -> int:
    """How many steps SQLite takes when an activity ends that has members of 20 parts each."""
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1

    with in_turn() as log:
        detail = {f"m{n}": "x" for n in range(members)}
        tool: dict[str, Any] = {"thread_id": "t", "turn_id": "u", "id": "x", "kind": "tool_call", "title": "ls"}
        log.dispatch(c.RecordActivity(**tool, status="running", detail=detail))
        for _ in range(19):
            detail = {name: text + "y" for name, text in detail.items()}
            log.dispatch(c.UpdateActivity(thread_id="t", id="x", detail=detail))
        log.db.set_progress_handler(step, 100)
        log.dispatch(c.UpdateActivity(thread_id="t", id="x", status="completed"))
        log.db.set_progress_handler(None, 100)
        held = log.activity("x")
        assert held is not None
        assert held.detail == detail
        assert log.db.execute("SELECT count(*) FROM parts").fetchone() == (members,)
    return steps


MESSAGES = st.sampled_from(["m", "n"])
WHERE: dict[str, Any] = {"thread_id": st.just("t"), "id": MESSAGES}
BLOCKS = st.lists(
    st.one_of(
        st.builds(lambda text: {"type": "text", "text": text}, TEXTS),
        st.just({"type": "image", "data": "aGk=", "mimeType": "image/png"}),
        st.builds(lambda value: {"type": "later", "text": value}, VALUES),
    ),
    min_size=1,
    max_size=3,
)
ADDED = st.builds(
    c.AddMessage, **WHERE, turn_id=st.just("u"), role=st.just("assistant"), text=TEXTS, streaming=st.just(True)
) | st.builds(
    c.AddMessage, **WHERE, turn_id=st.just("u"), role=st.just("assistant"), content=BLOCKS, streaming=st.booleans()
)
APPENDED = st.lists(TEXTS, min_size=1, max_size=9).flatmap(
    lambda texts: MESSAGES.map(lambda id: [c.AppendMessage(thread_id="t", id=id, text=text) for text in texts])
)
COMPLETED = st.builds(c.CompleteMessage, **WHERE)


@given(st.lists(ADDED.map(lambda one: [one]) | APPENDED | APPENDED | COMPLETED.map(lambda one: [one]), max_size=10))
@settings(deadline=None)
def test_the_text_of_a_message_is_what_was_added_and_appended(steps: list[list[Any]]) -> None:
    with in_turn() as log:
        texts: dict[str, str] = {}
        contents: dict[str, Any] = {}
        for command in [command for step in steps for command in step]:
            try:
                log.dispatch(command)
            except Rejected:
                continue
            match command:
                case c.AddMessage(id=str(id), content=list(blocks)):
                    texts[id] = "\n".join(b["text"] for b in blocks if b["type"] == "text")
                    contents[id] = blocks
                case c.AddMessage(id=str(id)):
                    texts[id] = command.text
                case c.AppendMessage(id=id):
                    texts[id] += command.text
        _holds(log, texts, contents)
        projections.rebuild(log.db)
        _holds(log, texts, contents)
        log.dispatch(c.CompleteTurn(thread_id="t", id="u", stop_reason="end_turn"))
        _holds(log, texts, contents)
        log.db.execute("INSERT INTO message_search (message_search, rank) VALUES ('integrity-check', 0)")
        parts = log.db.execute("SELECT count(*) FROM parts GROUP BY entity").fetchall()
        assert all(count <= 16 for (count,) in parts)


def _holds(log: Log, texts: dict[str, str], contents: dict[str, Any]) -> None:
    for id, text in texts.items():
        message = log.message(id)
        assert message["text"] == text
        assert json_text(message["content"]) == json_text(contents.get(id))
        assert log.state[("message", "t", id)] == message["status"]


def test_the_text_of_a_message_is_the_same_on_both_sides_of_the_number_of_parts_that_is_folded() -> None:
    with in_turn() as log:
        for count in range(14, 19):
            id = f"m{count}"
            log.dispatch(c.AddMessage(thread_id="t", turn_id="u", id=id, role="assistant", text="<", streaming=True))
            words = [f"{n}é" for n in range(count)]
            for word in words:
                log.dispatch(c.AppendMessage(thread_id="t", id=id, text=word))
            before = log.message(id)
            assert before["text"] == "<" + "".join(words)
            log.dispatch(c.CompleteMessage(thread_id="t", id=id))
            after = log.message(id)
            assert after["text"] == before["text"]
            folds = "SELECT count(*) FROM parts WHERE entity = ? AND text IS NOT NULL"
            assert log.db.execute(folds, (after["sequence"],)).fetchone() == (int(count + 1 > 16),)
