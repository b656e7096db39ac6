"""Subscriptions on the wire: a client that applies its notifications has the content of a fresh snapshot."""

import random
import re
from pathlib import Path
from typing import Any

import pytest

from treadle.client.replica import Replica
from wire import FRAMINGS, Daemon, Framing, serving

pytestmark = pytest.mark.both_logs

SCENERY: list[dict[str, Any]] = [
    {"type": "CreateProject", "id": "p", "name": "p", "path": "/p"},
    {"type": "CreateThread", "threadId": "t", "projectId": "p", "title": "t"},
    {"type": "CreateThread", "threadId": "other", "projectId": "p", "title": "other"},
    {"type": "StartTurn", "threadId": "t", "id": "u", "messageId": "asked", "prompt": "hello"},
    {"type": "AddMessage", "threadId": "t", "turnId": "u", "id": "m", "role": "system", "text": "", "streaming": True},
]  # fmt: skip


def dispatch_all(daemon: Daemon, commands: list[dict[str, Any]]) -> int:
    """Do them; the sequence after them."""
    return int(daemon.result("command/dispatchBatch", {"commands": commands})["sequence"])


class Follower:
    """A topic as a client holds it. opened: the answer to subscription/open."""

    def __init__(self, daemon: Daemon, topic: str, replica: Replica | None = None, **params: Any) -> None:
        self.daemon = daemon
        self.asked = {"topic": topic, **params}
        self.opened = daemon.result("subscription/open", self.asked)
        self.replica = replica or Replica()
        self.told: list[Any] = []
        self.replica.start(self.opened)
        assert self.replica.sequence == self.opened["sequence"]

    def until(self, sequence: int) -> "Follower":
        """Apply what comes until it is at that sequence."""
        while self.replica.sequence < sequence:
            params = self.daemon.notification("projection/changed", lambda p: p["subscriptionId"] == self.id)
            assert params["sequence"] >= self.replica.sequence
            self.replica.apply(params["changes"], params["sequence"])
            self.told.append(params)
        return self

    @property
    def id(self) -> str:
        return str(self.opened["subscriptionId"])

    def holds_what_is_there(self) -> bool:
        """Whether a fresh snapshot says the same, as far back as it goes."""
        fresh = {k: v for k, v in self.asked.items() if k in ("topic", "threadId")}
        opened = self.daemon.result("subscription/open", {**fresh, "turnLimit": 500})
        self.daemon.result("subscription/close", {"subscriptionId": opened["subscriptionId"]})
        expected = Replica()
        expected.start(opened)
        if opened["snapshot"].get("beforeCursor") is None:
            return expected.entities == self.replica.entities
        return all(held.items() <= self.replica.entities[kind].items() for kind, held in expected.entities.items())


# Topics


SNAPSHOT, CHANGES, POSITION = (("snapshot", {"snapshot"}), ("changes", {"changes"}), ("position", set[str]()))


@pytest.mark.parametrize(
    ("params", "fresh", "resumed"),
    [
        ({"topic": "index"}, SNAPSHOT, CHANGES),
        ({"topic": "thread", "threadId": "t"}, SNAPSHOT, CHANGES),
        ({"topic": "settings"}, SNAPSHOT, CHANGES),
        ({"topic": "events"}, POSITION, POSITION),
        ({"topic": "events", "threadId": "t"}, POSITION, POSITION),
    ],
)
@pytest.mark.only_local("reads do not know what log it is")
def test_an_answer_has_only_the_members_of_its_type(
    data_dir: Path, params: dict[str, Any], fresh: tuple[str, set[str]], resumed: tuple[str, set[str]]
) -> None:
    with serving(data_dir) as daemon:
        last = dispatch_all(daemon, [*SCENERY, {"type": "ChangeSetting", "key": "k", "value": 1}])
        log_id = daemon.result("daemon/status")["logId"]
        for resume, (type, members) in (
            ({}, fresh),
            ({"afterSequence": 2}, resumed),
            ({"afterSequence": 2, "logId": log_id}, resumed),
            ({"afterSequence": last, "logId": log_id}, resumed),
            ({"afterSequence": last + 1, "logId": log_id}, fresh),
            ({"afterSequence": 2, "logId": "of another log"}, fresh),
        ):
            answer = daemon.result("subscription/open", {**params, **resume})
            assert answer["type"] == type, resume
            assert answer.keys() == {"type", "subscriptionId", "logId", "sequence"} | members
            assert None not in answer.values()


def test_the_index_follows_projects_and_thread_headers(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        index = Follower(daemon, "index")
        assert index.opened["snapshot"] == {"sequence": 0, "projects": [], "threads": []}
        sequence = dispatch_all(daemon, SCENERY)
        assert index.until(sequence).holds_what_is_there()
        assert index.replica.entities["thread"]["t"]["status"] == "running"
        sequence = dispatch_all(
            daemon,
            [
                {"type": "UpdateProject", "id": "p", "name": "q"},
                {"type": "DeleteThread", "threadId": "t"},
                {"type": "ArchiveThread", "threadId": "other"},
                {"type": "ChangeSetting", "key": "k", "value": 1},
            ],
        )
        index.until(daemon.result("thread/list")["items"][0]["version"])
        assert index.holds_what_is_there()
        assert list(index.replica.entities["thread"]) == ["other"]


def test_streamed_text_does_not_notify_index_subscribers(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        version = dispatch_all(daemon, SCENERY)
        index, thread = Follower(daemon, "index"), Follower(daemon, "thread", threadId="t")
        for _ in range(20):
            sequence = daemon.dispatch("AppendMessage", threadId="t", id="m", text="x")["sequence"]
        thread.until(sequence)
        renamed = daemon.dispatch("RenameThread", threadId="t", title="u")["sequence"]
        thread.until(renamed)
        index.until(renamed)
        assert len(index.told) == 1
        assert version < index.replica.entities["thread"]["t"]["version"] == renamed


def test_a_thread_subscription_gets_all_changes_of_its_thread_and_no_others(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        dispatch_all(daemon, SCENERY)
        thread = Follower(daemon, "thread", threadId="t")
        options = [{"id": "y", "name": "Yes", "kind": "allow_once"}]
        activity = {"type": "RecordActivity", "threadId": "t", "turnId": "u", "id": "a", "kind": "plan", "title": "x"}
        steps: list[dict[str, Any]] = [
            {**activity, "status": "running"},
            {"type": "AppendMessage", "threadId": "t", "id": "m", "text": "some"},
            {**activity, "status": "completed", "detail": [1, {"a": None}]},
            {"type": "RequestApproval", "threadId": "t", "turnId": "u", "id": "q", "title": "?", "options": options},
            {"type": "AppendMessage", "threadId": "t", "id": "m", "text": " more"},
            {"type": "ResolveApproval", "threadId": "t", "id": "q", "outcome": "y"},
            {"type": "CreateCheckpoint", "threadId": "t", "turnId": "u", "id": "k", "gitRef": "r", "message": "m"},
            {"type": "CompleteMessage", "threadId": "t", "id": "m"},
            {"type": "RestoreCheckpoint", "threadId": "t", "id": "k"},
            {"type": "CompleteTurn", "threadId": "t", "id": "u", "stopReason": "end_turn", "usage": {"n": 1}},
        ]
        for step in steps:
            daemon.dispatch("RenameThread", threadId="other", title=step["type"] + str(step.get("status")))
            assert thread.until(daemon.dispatch(**step)["sequence"]).holds_what_is_there()
        assert "other" not in str(thread.told)
        deleted = daemon.dispatch("DeleteThread", threadId="t")["sequence"]
        thread.until(deleted)
        assert thread.replica.entities == Replica().entities
        assert daemon.error("subscription/open", {"topic": "thread", "threadId": "t"})["code"] == -32011


def test_a_settings_subscription_follows_changes_of_settings(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        daemon.dispatch("ChangeSetting", key="before", value=1)
        settings = Follower(daemon, "settings")
        for key, value in [("a", 1), ("b", {"x": [10**30, 0.1]}), ("a", "🧵"), ("b", None), ("before", None)]:
            settings.until(daemon.dispatch("ChangeSetting", key=key, value=value)["sequence"])
            assert settings.holds_what_is_there()
        assert list(settings.replica.entities["setting"]) == ["a"]


def events_until(daemon: Daemon, subscription: str, sequence: int) -> list[Any]:
    found: list[Any] = []
    while True:
        params = daemon.notification("event/appended", lambda p: p["subscriptionId"] == subscription)
        found += params["events"]
        assert params["sequence"] >= found[-1]["sequence"]
        if found[-1]["sequence"] >= sequence:
            return found


@pytest.mark.parametrize("framing", FRAMINGS)
def test_an_events_subscription_has_no_gaps_or_duplicates(data_dir: Path, framing: Framing) -> None:
    with serving(data_dir, framing=framing) as daemon:
        dispatch_all(daemon, [{"type": "ChangeSetting", "key": "k", "value": i} for i in range(1000)])
        opened = daemon.result("subscription/open", {"topic": "events", "afterSequence": 10})
        assert (opened["type"], opened["sequence"]) == ("position", 10)
        dispatch_all(daemon, [{"type": "ChangeSetting", "key": "k", "value": -i} for i in range(1, 501)])
        found = events_until(daemon, opened["subscriptionId"], 1500)
        assert [stored["sequence"] for stored in found] == list(range(11, 1501))
        assert found[:500] == daemon.result("event/list", {"afterSequence": 10})["items"]
        from_now = daemon.result("subscription/open", {"topic": "events"})
        assert from_now["sequence"] == 1500
        last = daemon.dispatch("ChangeSetting", key="k", value="last")
        assert events_until(daemon, from_now["subscriptionId"], 1501) == last["events"]
        assert events_until(daemon, opened["subscriptionId"], 1501) == last["events"]


def test_an_events_subscription_can_be_limited_to_one_thread(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        dispatch_all(daemon, SCENERY)
        opened = daemon.result("subscription/open", {"topic": "events", "threadId": "t", "afterSequence": 0})
        for i in range(3):
            daemon.dispatch("RenameThread", threadId="other", title=f"{i}")
            last = daemon.dispatch("RenameThread", threadId="t", title=f"{i}")["sequence"]
        found = events_until(daemon, opened["subscriptionId"], last)
        assert found == daemon.result("event/list", {"threadId": "t"})["items"]


def test_a_closed_subscription_gets_no_more_notifications(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        first, second = Follower(daemon, "settings"), Follower(daemon, "settings")
        assert first.id != second.id
        first.until(daemon.dispatch("ChangeSetting", key="k", value=1)["sequence"])
        assert daemon.result("subscription/close", {"subscriptionId": first.id}) is None
        second.until(daemon.dispatch("ChangeSetting", key="k", value=2)["sequence"])
        assert not [one for one in daemon.notifications if one["params"]["subscriptionId"] == first.id]
        assert daemon.result("daemon/status")["queues"]["subscriptions"] == 1


# Streamed text


def test_streamed_text_arrives_as_appends_with_code_point_offsets(data_dir: Path) -> None:
    random.seed(7)
    alphabet = ["a", "é", "語", "🧵", "👩‍👩‍👧", "\U0010ffff", "\n", '"', "\\", "\u2028", "e\u0301"]
    pieces = ["".join(random.choices(alphabet, k=random.randint(1, 9))) for _ in range(400)]
    with serving(data_dir, "--linger-ms", "2") as daemon:
        dispatch_all(daemon, SCENERY)
        thread = Follower(daemon, "thread", threadId="t")
        asked = []
        for i, piece in enumerate(pieces):
            append = {"type": "AppendMessage", "threadId": "t", "id": "m", "text": piece}
            asked.append(daemon.request("command/dispatch", append))
            if i % 7 == 0:
                daemon.result("daemon/status")
        thread.until(max(daemon.answer(id)["result"]["sequence"] for id in asked))
        changes = [change for params in thread.told for change in params["changes"]]
        assert {change["type"] for change in changes} == {"append"}
        text = ""
        for change in changes:
            assert change["offset"] == len(text)
            text += change["text"]
        assert text == "".join(pieces)
        assert thread.holds_what_is_there()
        # One who comes in the middle is told the rest.
        late = Follower(daemon, "thread", threadId="t")
        sequence = daemon.dispatch("AppendMessage", threadId="t", id="m", text="🧵!")["sequence"]
        assert late.until(sequence).told[-1]["changes"] == [
            {"type": "append", "entity": "message", "id": "m", "text": "🧵!", "offset": len(text)}
        ]
        sequence = daemon.dispatch("CompleteMessage", threadId="t", id="m")["sequence"]
        assert thread.until(sequence).replica.entities["message"]["m"]["text"] == text + "🧵!"
        assert late.until(sequence).holds_what_is_there()


# Resuming


@pytest.mark.parametrize("topic", [{"topic": "index"}, {"topic": "thread", "threadId": "t"}, {"topic": "settings"}])
@pytest.mark.only_local("reads do not know what log it is")
def test_resubscribing_with_a_kept_replica_gives_only_the_changes(data_dir: Path, topic: dict[str, Any]) -> None:
    with serving(data_dir) as daemon:
        dispatch_all(daemon, [*SCENERY, {"type": "ChangeSetting", "key": "k", "value": 1}])
        before = Follower(daemon, **topic)
        sequence, log_id = before.opened["sequence"], before.opened["logId"]
    # The daemon's end has ended the turn; more happens while nobody looks.
    with serving(data_dir) as daemon:
        dispatch_all(
            daemon,
            [
                {"type": "DeleteThread", "threadId": "other"},
                {"type": "ChangeSetting", "key": "k", "value": None},
                {"type": "ChangeSetting", "key": "l", "value": 1},
                {"type": "StartTurn", "threadId": "t", "id": "u2", "prompt": "again"},
                {"type": "CreateThread", "threadId": "new", "projectId": "p", "title": "new"},
            ],
        )
        again = Follower(daemon, replica=before.replica, **topic, afterSequence=sequence, logId=log_id)
        assert again.opened["type"] == "changes"
        assert {change["type"] for change in again.opened["changes"]} <= {"upsert", "remove"}
        assert again.holds_what_is_there()
        sequence = dispatch_all(
            daemon,
            [
                {"type": "InterruptTurn", "threadId": "t"},
                {"type": "ChangeSetting", "key": "l", "value": 2},
            ],
        )
        if topic["topic"] != "settings":
            sequence -= 1
        assert again.until(sequence).holds_what_is_there()


@pytest.mark.only_local("reads do not know what log it is")
def test_a_replica_too_old_to_update_gets_a_snapshot(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        for i in range(10):
            dispatch_all(daemon, [{"type": "ChangeSetting", "key": f"k{i}", "value": j} for j in range(1000)])
        log_id = daemon.result("daemon/status")["logId"]

        def opened(**params: Any) -> str:
            found = daemon.result("subscription/open", {"topic": "settings", **params})
            assert found["sequence"] == daemon.result("daemon/status")["sequence"]
            return str(found["type"])

        assert opened(afterSequence=0, logId=log_id) == "changes"
        assert opened(afterSequence=10_000) == "changes"
        assert opened(afterSequence=10_001) == "snapshot"
        assert opened(afterSequence=9_999, logId="of another log") == "snapshot"
        daemon.dispatch("ChangeSetting", key="k", value=1)
        assert opened(afterSequence=0, logId=log_id) == "snapshot"
        assert opened(afterSequence=1, logId=log_id) == "changes"


# Other processes, and slow clients


def test_subscribers_are_notified_of_writes_by_another_daemon(data_dir: Path) -> None:
    with serving(data_dir) as daemon, serving(data_dir, framing="headers") as other:
        dispatch_all(other, SCENERY[:3])
        thread, index = Follower(daemon, "thread", threadId="t"), Follower(daemon, "index")
        dispatch_all(other, SCENERY[3:])
        for text in ("one", "🧵", "two"):
            sequence = other.dispatch("AppendMessage", threadId="t", id="m", text=text)["sequence"]
        assert thread.until(sequence).replica.entities["message"]["m"]["text"] == "one🧵two"
        renamed = daemon.dispatch("RenameThread", threadId="t", title="here")["sequence"]
        assert thread.until(renamed).holds_what_is_there()
        assert index.until(renamed).holds_what_is_there()


def test_subscribers_are_notified_of_each_durable_write_by_another_daemon(data_dir: Path) -> None:
    # A commit is seen only after its fsync, which comes after the write that wakes who watches the file.
    with serving(data_dir) as daemon, serving(data_dir, "--durability", "full") as other:
        settings = Follower(daemon, "settings")
        for i in range(20):
            settings.until(other.dispatch("ChangeSetting", key="k", value=i)["sequence"])
        assert settings.holds_what_is_there()


def rss(daemon: Daemon) -> int:
    """The most memory that the process has had so far, in MiB."""
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) // 1024


needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")


@needs_proc
@pytest.mark.only_local("reads do not know what log it is")
def test_a_slow_client_ends_with_a_correct_replica(data_dir: Path) -> None:
    with serving(data_dir) as daemon, serving(data_dir) as other:
        dispatch_all(other, SCENERY[:4])
        thread = Follower(daemon, "thread", threadId="t")
        before = rss(daemon)
        added = {"type": "AddMessage", "threadId": "t", "turnId": "u", "role": "assistant", "text": "x" * 100}
        for i in range(40):
            sequence = dispatch_all(other, [{**added, "id": f"m{i}-{j}"} for j in range(1000)])
        assert thread.until(sequence).holds_what_is_there()
        assert len(thread.replica.entities["message"]) == 40_001
        # 40,000 messages are some 12 MiB of JSON, read once for the changes and once for a snapshot.
        assert rss(daemon) - before < 150


@needs_proc
@pytest.mark.only_local("reads do not know what log it is")
def test_slow_client_does_not_grow_memory(data_dir: Path) -> None:
    with serving(data_dir) as daemon, serving(data_dir) as other:
        settings = Follower(daemon, "settings")
        events = daemon.result("subscription/open", {"topic": "events"})["subscriptionId"]
        settings.until(other.dispatch("ChangeSetting", key="k", value="x" * 1_000_000)["sequence"])
        before = rss(daemon)
        for i in range(40):
            sequence = other.dispatch("ChangeSetting", key="k", value=str(i % 10) * 1_000_000)["sequence"]
        assert settings.until(sequence).holds_what_is_there()
        assert len(settings.told) < 40
        assert rss(daemon) - before < 25
        # Of the log, nothing is left out.
        found = events_until(daemon, events, sequence)
        assert [stored["sequence"] for stored in found] == list(range(1, 42))


@needs_proc
@pytest.mark.only_local("reads do not know what log it is")
def test_many_large_unread_answers_are_not_kept_in_memory(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        for i in range(4):
            daemon.dispatch("ChangeSetting", key=f"k{i}", value="x" * 250_000)
        before = rss(daemon)
        asked = range(10_000, 10_500)
        requests = b"".join(daemon.frame(b'{"jsonrpc":"2.0","id":%d,"method":"event/list"}' % id) for id in asked)
        written = daemon.write(requests, reading=False)
        daemon.write(requests[written:])
        for id in asked:
            assert len(daemon.answer(id)["result"]["items"]) == 4
        assert rss(daemon) - before < 200
