"""Initialization, shutdown and cancellation, as in the Language Server Protocol."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from treadle.core.linger import Linger
from wire import PATIENCE, TREADLE, Daemon, kill, serving, spawn

EDITOR = {
    "processId": None,
    "clientInfo": {"name": "Neovim", "version": "0.11.0"},
    "locale": "C",
    "rootPath": None,
    "rootUri": "file:///home/me/src",
    "capabilities": {"workspace": {"applyEdit": True}, "window": {"workDoneProgress": True}},
    "trace": "off",
    "workspaceFolders": [{"uri": "file:///home/me/src", "name": "src"}],
    "initializationOptions": {},
}


def message(id: Any, method: str, params: Any = None) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params}


def setting(key: str, value: Any = 1) -> dict[str, Any]:
    return {"type": "ChangeSetting", "key": key, "value": value}


def keys(daemon: Daemon) -> list[str]:
    return [item["key"] for item in daemon.result("setting/list", {"limit": 500})["items"]]


@contextmanager
def plain(data_dir: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(data_dir / "treadle.db", isolation_level=None)) as connection:
        yield connection


def log(data_dir: Path) -> list[str]:
    """The types of the events in it."""
    with plain(data_dir) as db:
        return [row[0] for row in db.execute("SELECT event_type FROM events ORDER BY sequence")]


def streaming(daemon: Daemon) -> None:
    """A message `m` that is open in thread `t`."""
    daemon.dispatch("CreateProject", id="p", name="p", path="/p")
    daemon.dispatch("CreateThread", threadId="t", projectId="p", title="t")
    daemon.dispatch("StartTurn", threadId="t", id="u", prompt="hello")
    daemon.dispatch("AddMessage", threadId="t", turnId="u", id="m", role="assistant", text="", streaming=True)


# Initialization


def test_before_initialize_every_request_except_discover_is_refused(data_dir: Path) -> None:
    with spawn(data_dir) as daemon:
        daemon.notify("initialized")
        daemon.notify("command/dispatch", setting("k"))
        for method in ("daemon/status", "command/dispatch", "shutdown", "no/such"):
            error = daemon.error(method)
            assert (error["code"], error["data"]) == (-32002, {"kind": "notInitialized"})
        assert daemon.result("rpc.discover")["openrpc"]
        daemon.initialize()
        assert keys(daemon) == []
        assert daemon.finish() == 0


def test_the_initialize_params_of_an_editor_are_accepted(data_dir: Path) -> None:
    with spawn(data_dir, framing="headers") as daemon:
        answer = daemon.initialize(**EDITOR)
        assert answer["capabilities"] == {
            "positionEncoding": "utf-32",
            "search": True,
            "projectOpen": True,
            "approvals": True,
            "subscriptions": ["index", "thread", "settings", "events"],
            "limits": {
                "maxMessageBytes": 32 * 1024 * 1024,
                "maxBatch": 1000,
                "maxSubscriptions": 1000,
                "pageBytes": 1024 * 1024,
            },
        }
        assert answer["serverInfo"]["name"] == "treadle"
        assert answer["protocolVersion"] == 1
        assert daemon.result("daemon/status")["logId"] == answer["logId"]
        daemon.notify("initialized", {})
        daemon.notify("$/setTrace", {"value": "verbose"})
        assert daemon.result("shutdown") is None
        daemon.notify("exit")
        assert daemon.status() == 0


def test_an_invalid_process_id_is_refused_and_initialize_can_be_retried(data_dir: Path) -> None:
    with spawn(data_dir) as daemon:
        for process_id in ("1", 0, -1, 1.5, 2**31):
            error = daemon.error("initialize", {"processId": process_id})
            assert (error["code"], error["data"]["path"]) == (-32602, "$.params.processId")
        assert daemon.error("daemon/status")["code"] == -32002
        daemon.initialize()


def test_a_second_initialize_is_refused(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        error = daemon.error("initialize", {})
        assert (error["code"], error["data"]["kind"]) == (-32600, "invalidRequest")
        # And also while the first is not answered yet.
    with spawn(data_dir) as daemon:
        first, second = daemon.request("initialize"), daemon.request("initialize")
        assert "result" in daemon.answer(first)
        assert daemon.answer(second)["error"]["code"] == -32600


def test_requests_sent_right_after_initialize_are_answered_in_order(data_dir: Path) -> None:
    with spawn(data_dir, framing="headers") as daemon:
        script = [message(0, "initialize", {})]
        script += [message(i, "command/dispatch", setting(f"k{i:03}")) for i in range(1, 101)]
        script += [message(101, "setting/list", {"limit": 500})]
        script += [message(102, "no/such"), message(103, "initialize")]
        daemon.send_together(script)
        daemon.close_input()
        answers = daemon.rest()
        by_id = {answer["id"]: answer for answer in answers}
        assert sorted(by_id) == list(range(104))
        assert len(answers) == 104
        # What is refused at once may overtake what takes a while.
        assert [answer["id"] for answer in answers if answer["id"] not in (102, 103)] == list(range(102))
        assert [by_id[i]["result"]["sequence"] for i in range(1, 101)] == list(range(1, 101))
        assert len(by_id[101]["result"]["items"]) == 100
        assert by_id[102]["error"]["code"] == -32601
        assert by_id[103]["error"]["code"] == -32600
        assert daemon.status() == 0


def test_initialize_can_be_sent_in_a_batch(data_dir: Path) -> None:
    with spawn(data_dir) as daemon:
        daemon.send(
            [message(1, "daemon/status"), message(2, "initialize"), message(3, "command/dispatch", setting("k"))]
        )
        answers = {answer["id"]: answer for answer in daemon.message()}
        assert answers[1]["error"]["code"] == -32002
        assert answers[2]["result"]["logId"]
        assert answers[3]["result"]["sequence"] == 1


def test_initialize_can_be_cancelled_and_sent_again(data_dir: Path) -> None:
    with spawn(data_dir) as daemon:
        messages = [
            message(1, "initialize"),
            message(2, "setting/list"),
            message(3, "setting/list"),
            {"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": 3}},
            {"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": 1}},
        ]
        daemon.send_together(messages)
        codes = {answer["id"]: answer["error"]["code"] for answer in (daemon.message() for _ in range(3))}
        assert codes == {1: -32800, 2: -32002, 3: -32800}
        assert daemon.call("initialize")["result"]["logId"]


def test_pygls_is_not_imported_until_the_client_is_sent_a_request(data_dir: Path) -> None:
    program = (
        "import sys; from treadle import cli; cli.main(['serve', *sys.argv[1:]]); print(*sys.modules, file=sys.stderr)"
    )
    with spawn(data_dir, command=(sys.executable, "-c", program)) as daemon:
        daemon.initialize()
        streaming(daemon)
        daemon.result("thread/list")
        assert daemon.finish() == 0
        assert not {"pygls", "lsprotocol"} & set(daemon.stderr.split())


def test_more_requests_than_the_in_flight_limit_after_initialize_are_answered(data_dir: Path) -> None:
    with spawn(data_dir) as daemon:
        script = [message(i, "initialize" if i == 0 else "setting/list") for i in range(12_000)]
        daemon.send_together(script)
        assert all("result" in daemon.answer(i) for i in range(12_000))
        assert daemon.finish() == 0


# Refused databases


def foreign_text(data_dir: Path) -> None:
    (data_dir / "treadle.db").write_text("my shopping list\n" * 100)


def foreign_database(data_dir: Path) -> None:
    with plain(data_dir) as db:
        db.execute("CREATE TABLE shopping (item TEXT)")


def damaged(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        daemon.dispatch(**setting("k"))
    file = data_dir / "treadle.db"
    content = file.read_bytes()
    file.write_bytes(content[:4096] + b"\x55" * (len(content) - 4096))


def newer_projections(data_dir: Path) -> None:
    with serving(data_dir):
        pass
    with plain(data_dir) as db:
        db.execute("UPDATE meta SET value = '99' WHERE key = 'projectionVersion'")


def newer_event(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        daemon.dispatch(**setting("k"))
    with plain(data_dir) as db:
        payload = '{"type":"ThreadPinned","at":"2027-01-01T00:00:00.000Z","threadId":"t"}'
        columns = [row[1] for row in db.execute("PRAGMA table_info(events)")]
        assert columns[:2] == ["sequence", "payload"]
        db.execute("INSERT INTO events (sequence, payload) VALUES (2, ?)", (payload,))


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (foreign_text, "databaseCorrupt"),
        (foreign_database, "databaseRefused"),
        (damaged, "databaseCorrupt"),
        (newer_projections, "databaseNewer"),
        (newer_event, "databaseNewer"),
    ],
)
def test_a_refused_database_gives_one_error_and_is_left_unchanged(data_dir: Path, spoil: Any, kind: str) -> None:
    data_dir.mkdir()
    spoil(data_dir)
    before = (data_dir / "treadle.db").read_bytes()
    with spawn(data_dir) as daemon:
        error = daemon.error("initialize")
        assert (error["code"], error["data"]["kind"]) == (-32803, kind)
        assert daemon.error("daemon/status")["code"] == -32002
        # Asked again, it says so again.
        assert daemon.error("initialize") == error
        assert daemon.finish() == 1
        assert error["message"] in daemon.stderr
        assert daemon.notifications == []
    assert (data_dir / "treadle.db").read_bytes() == before


def test_initialize_can_be_retried_after_the_database_was_refused(data_dir: Path) -> None:
    data_dir.mkdir()
    foreign_text(data_dir)
    with spawn(data_dir) as daemon:
        daemon.error("initialize")
        (data_dir / "treadle.db").unlink()
        daemon.initialize()
        daemon.dispatch(**setting("k"))
        assert daemon.finish() == 0


def test_a_daemon_creates_no_files_before_initialize(data_dir: Path) -> None:
    with spawn(data_dir) as daemon:
        assert daemon.result("rpc.discover")
        assert daemon.finish() == 0
        assert daemon.stderr == ""
    assert not data_dir.exists()


def test_a_file_in_place_of_the_data_directory_is_refused(data_dir: Path) -> None:
    data_dir.write_text("")
    with spawn(data_dir) as daemon:
        error = daemon.error("initialize")
        assert (error["code"], error["data"]["kind"]) == (-32803, "databaseRefused")
        assert str(data_dir) in error["message"]
        assert daemon.finish() == 1


# Rebuilds at startup


@pytest.mark.both_logs
def test_a_rebuild_at_startup_reports_progress(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        for _ in range(16):
            commands = [setting(f"k{i}", os.urandom(4).hex()) for i in range(1000)]
            daemon.result("command/dispatchBatch", {"commands": commands})
        before = daemon.result("setting/list", {"limit": 500})
    with plain(data_dir) as db:
        db.execute("UPDATE meta SET value = '0' WHERE key = 'projectionVersion'")
        db.execute("DELETE FROM settings")
    with spawn(data_dir) as daemon:
        id = daemon.request("initialize", {"workDoneToken": "start-1"})
        daemon.answer(id)
        told = [one["params"] for one in daemon.notifications if one["method"] == "$/progress"]
        assert {one["token"] for one in told} == {"start-1"}
        values = [one["value"] for one in told]
        kinds = [value["kind"] for value in values]
        assert kinds == ["begin", *["report"] * (len(kinds) - 2), "end"]
        assert len(kinds) >= 4
        assert values[0]["title"]
        percentages = [value["percentage"] for value in values[:-1]]
        assert percentages == sorted(percentages)
        assert percentages[-1] < 100
        assert len(daemon.notifications) == len(told)
        assert daemon.result("setting/list", {"limit": 500}) == before
    assert len(list(data_dir.glob("before-*.db"))) == 1


def test_a_rebuild_reports_no_progress_without_a_token(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        daemon.dispatch(**setting("k"))
    with plain(data_dir) as db:
        db.execute("UPDATE meta SET value = '0' WHERE key = 'projectionVersion'")
    with serving(data_dir) as daemon:
        assert keys(daemon) == ["k"]
        assert daemon.notifications == []


# Shutdown and exit


def test_after_shutdown_only_exit_is_accepted_and_the_status_is_0(data_dir: Path) -> None:
    with spawn(data_dir, framing="headers") as daemon:
        daemon.initialize()
        assert daemon.result("shutdown") is None
        for method in ("daemon/status", "command/dispatch", "shutdown", "initialize", "rpc.discover"):
            error = daemon.error(method, setting("k") if method == "command/dispatch" else None)
            assert (error["code"], error["data"]["kind"]) == (-32600, "invalidRequest")
        daemon.notify("command/dispatch", setting("k"))
        daemon.notify("exit")
        assert daemon.status() == 0
    assert log(data_dir) == []


def test_shutdown_is_answered_after_all_earlier_requests(data_dir: Path) -> None:
    with spawn(data_dir) as daemon:
        daemon.initialize()
        messages = [message(i, "command/dispatch", setting(f"k{i}")) for i in range(50)] + [message("end", "shutdown")]
        daemon.send_together(messages)
        assert [daemon.message()["id"] for _ in range(51)] == [*range(50), "end"]
        daemon.notify("exit")
        assert daemon.status() == 0


def test_exit_without_shutdown_gives_exit_status_1(data_dir: Path) -> None:
    with spawn(data_dir) as daemon:
        daemon.initialize()
        daemon.notify("exit")
        assert daemon.status() == 1


def test_a_whole_session_can_be_sent_in_one_write(data_dir: Path) -> None:
    with spawn(data_dir) as daemon:
        script = [message(1, "initialize"), message(2, "command/dispatch", setting("k")), message(3, "shutdown")]
        script.append({"jsonrpc": "2.0", "method": "exit"})
        daemon.send_together(script)
        answers = daemon.rest()
        assert [answer["id"] for answer in answers] == [1, 2, 3]
        assert all("result" in answer for answer in answers)
        assert daemon.status() == 0
    assert log(data_dir) == ["SettingChanged"]


@pytest.mark.both_logs
def test_at_end_of_input_all_requests_are_answered_before_exit(data_dir: Path) -> None:
    with spawn(data_dir) as daemon:
        daemon.initialize()
        streaming(daemon)
        append = {"type": "AppendMessage", "threadId": "t", "id": "m", "text": "x"}
        asked = [daemon.request("command/dispatch", append) for _ in range(500)]
        asked += [daemon.request("command/dispatch", setting(f"k{i}")) for i in range(500)]
        asked += [daemon.request("thread/read", {"threadId": "t"}), daemon.request("event/list")]
        daemon.close_input()
        answers = {answer["id"]: answer for answer in daemon.rest()}
        assert sorted(answers) == asked
        assert all("result" in answer for answer in answers.values())
        assert answers[asked[-2]]["result"]["messages"][-1]["text"] == "x" * 500
        assert daemon.status() == 0


TELLS_WHAT_IT_DROPS = """
import sys
from treadle import cli
from treadle.server.stdio import FdWriter

async def flush_and_close(writer, timeout, original=FdWriter.flush_and_close):
    print("dropped in a while:", writer.pending_bytes)
    await original(writer, timeout)

FdWriter.flush_and_close = flush_and_close
sys.exit(cli.main(["serve", *sys.argv[1:]]))
"""


def test_a_slow_reader_gets_every_answer_after_end_of_input(data_dir: Path) -> None:
    with spawn(data_dir, command=(sys.executable, "-c", TELLS_WHAT_IT_DROPS)) as daemon:
        daemon.initialize()
        daemon.dispatch(**setting("k", "x" * 1_000_000))
        asked = [daemon.request("setting/list") for _ in range(12)]
        daemon.close_input()
        assert [daemon.message()["id"] for _ in asked] == asked
        assert daemon.status() == 0
        assert daemon.stderr == "dropped in a while: 0\n"


@pytest.mark.both_logs
@pytest.mark.parametrize("how", ["end of input", "exit", "SIGTERM", "SIGINT", "SIGHUP", "stdout closed"])
def test_no_turn_keeps_running_however_the_daemon_ends(data_dir: Path, how: str) -> None:
    with spawn(data_dir) as daemon:
        daemon.initialize()
        streaming(daemon)
        daemon.result("subscription/open", {"topic": "thread", "threadId": "t"})
        match how:
            case "end of input":
                daemon.close_input()
            case "exit":
                daemon.result("shutdown")
                daemon.notify("exit")
            case "SIGTERM" | "SIGINT" | "SIGHUP":
                daemon.process.send_signal(signal.Signals[how])
            case "stdout closed":
                daemon.close_output()
                daemon.request("daemon/status")
        assert daemon.status() == 0
        assert daemon.stderr == ""
    assert log(data_dir)[-2:] == ["MessageCompleted", "TurnInterrupted"]
    assert list((data_dir / "runners").iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says which signals are ignored")
def test_a_daemon_under_nohup_ignores_sighup(data_dir: Path) -> None:
    with spawn(data_dir, command=("nohup", *TREADLE, "serve")) as daemon:
        daemon.initialize()
        said = Path(f"/proc/{daemon.process.pid}/status").read_text()
        ignored = next(int(line.split()[1], 16) for line in said.splitlines() if line.startswith("SigIgn:"))
        assert ignored >> (signal.SIGHUP - 1) & 1
        daemon.process.send_signal(signal.SIGHUP)
        assert daemon.result("daemon/status")["sequence"] == 0
        assert daemon.finish() == 0


@pytest.mark.both_logs
def test_the_turn_of_a_killed_daemon_is_interrupted_by_the_next_daemon(data_dir: Path) -> None:
    with spawn(data_dir) as daemon:
        daemon.initialize()
        streaming(daemon)
        kill(daemon)
    assert log(data_dir)[-1] == "MessageAdded"
    with serving(data_dir) as daemon:
        (turn,) = daemon.result("thread/read", {"threadId": "t"})["turns"]
        assert turn["status"] == "interrupted"
    assert log(data_dir)[-2:] == ["MessageCompleted", "TurnInterrupted"]


DEFECT = """
import sys
from treadle import cli
from treadle.publish.subscriptions import Subscriptions

async def publish(subscriptions):
    raise ZeroDivisionError

Subscriptions._publish = publish
sys.exit(cli.main(["serve", *sys.argv[1:]]))
"""


def test_a_daemon_that_can_no_longer_notify_exits_with_status_1(data_dir: Path) -> None:
    with spawn(data_dir, command=(sys.executable, "-c", DEFECT)) as daemon:
        daemon.initialize()
        daemon.result("subscription/open", {"topic": "settings"})
        assert daemon.status() == 1
        assert "ZeroDivisionError" in daemon.stderr
        daemon.log.unlink()
        daemon.log.touch()


# The client's process


@contextmanager
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that lives until it is killed."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def test_the_daemon_exits_when_the_parent_process_exits(data_dir: Path) -> None:
    with spawn(data_dir) as daemon, sleeper() as process:
        daemon.initialize(processId=process.pid)
        streaming(daemon)
        process.kill()
        process.wait(PATIENCE)
        assert daemon.status() == 0
    assert log(data_dir)[-1] == "TurnInterrupted"


def test_the_daemon_exits_at_once_when_the_parent_process_does_not_exist(data_dir: Path) -> None:
    with sleeper() as process:
        pass
    with spawn(data_dir) as daemon:
        daemon.initialize(processId=process.pid)
        assert daemon.status() == 0


# Cancellation

LINGER = ("--linger-ms", str(int(PATIENCE) * 10_000))
"""Deltas of a message that streams fast wait for company until another command comes."""


def streaming_fast(daemon: Daemon) -> None:
    """`streaming`, with a message whose next delta waits: its last ones, which left no event, came fast."""
    streaming(daemon)
    for _ in range(Linger.DELTAS):
        daemon.dispatch("AppendMessage", threadId="t", id="m", text="")


def cancel(daemon: Daemon, id: Any) -> None:
    daemon.notify("$/cancelRequest", {"id": id})


def test_a_cancelled_queued_command_leaves_no_trace(data_dir: Path) -> None:
    with spawn(data_dir, *LINGER) as daemon:
        daemon.initialize()
        streaming_fast(daemon)
        append = {"type": "AppendMessage", "threadId": "t", "id": "m"}
        kept = [daemon.request("command/dispatch", append | {"text": text}) for text in "ab"]
        gone = daemon.request("command/dispatch", append | {"text": "no", "commandId": "c"})
        cancel(daemon, gone)
        error = daemon.answer(gone)["error"]
        assert (error["code"], error["data"]) == (-32800, {"kind": "cancelled"})
        assert not any(id in daemon.answers for id in kept)
        # A read waits for what came before it, which wakes what lingers.
        assert daemon.result("thread/read", {"threadId": "t"})["messages"][-1]["text"] == "ab"
        assert {daemon.answer(id)["result"]["sequence"] for id in kept} == {6}
        # Its commandId is free.
        daemon.dispatch("ChangeSetting", key="k", value=1, commandId="c")
        assert daemon.finish() == 0
    assert log(data_dir)[5:7] == ["MessageAppended", "SettingChanged"]


def test_cancelling_a_finished_command_has_no_effect(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        id = daemon.request("command/dispatch", setting("k"))
        assert "result" in daemon.answer(id)
        cancel(daemon, id)
        cancel(daemon, "no such")
        cancel(daemon, None)
        cancel(daemon, {"a": [1]})
        assert keys(daemon) == ["k"]
        assert daemon.answers == {}


@pytest.mark.both_logs
def test_each_command_is_either_cancelled_or_in_the_log(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        asked = {}
        for i in range(300):
            asked[daemon.request("command/dispatch", setting(f"k{i:03}"))] = f"k{i:03}"
            if i % 7 == 3:
                daemon.result("daemon/status")
            cancel(daemon, next(reversed(asked)))
        answers = {id: daemon.answer(id) for id in asked}
        assert {a["error"]["code"] for a in answers.values() if "error" in a} <= {-32800}
        assert keys(daemon) == [asked[id] for id, answer in answers.items() if "result" in answer]


def test_a_request_sent_together_with_its_cancellation_is_not_executed(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        for id, method, params in [
            (-1, "command/dispatch", setting("k")),
            (-2, "command/dispatchBatch", {"commands": [setting("a"), setting("b")]}),
            (-3, "setting/list", None),
            (-4, "daemon/status", None),
            (-5, "subscription/open", {"topic": "settings"}),
        ]:
            both = [message(id, method, params), {"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": id}}]
            daemon.send_together(both)
            assert daemon.answer(id)["error"]["code"] == -32800
        assert keys(daemon) == []
        assert daemon.result("daemon/status")["queues"]["subscriptions"] == 0


def test_cancellation_matches_the_exact_request_id(data_dir: Path) -> None:
    with spawn(data_dir, *LINGER) as daemon:
        daemon.initialize()
        streaming_fast(daemon)
        append = {"type": "AppendMessage", "threadId": "t", "id": "m", "text": "x"}
        daemon.send(message("7", "command/dispatch", append))
        cancel(daemon, 7)
        assert daemon.result("rpc.discover")
        assert daemon.answers == {}
        daemon.send(b'{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":"\\u0037"}}')
        assert daemon.answer("7")["error"]["code"] == -32800
        daemon.send(message(7.0, "command/dispatch", append))
        cancel(daemon, 7)
        assert daemon.answer(7)["error"]["code"] == -32800


def test_a_request_in_a_batch_can_be_cancelled(data_dir: Path) -> None:
    with spawn(data_dir, *LINGER) as daemon:
        daemon.initialize()
        streaming_fast(daemon)
        append = {"type": "AppendMessage", "threadId": "t", "id": "m", "text": "x"}
        daemon.send([message("a", "command/dispatch", append), message("b", "command/dispatch", append)])
        cancel(daemon, "a")
        cancel(daemon, "b")
        answers = daemon.message()
        assert {(answer["id"], answer["error"]["code"]) for answer in answers} == {("a", -32800), ("b", -32800)}


def not_utf8(parent: Path) -> Path:
    """A folder that does not exist yet, whose name has a byte that is not UTF-8."""
    return Path(os.fsdecode(os.fsencode(parent) + b"/caf\xe9"))


def test_a_data_directory_name_that_is_not_utf8_works_and_is_shown_escaped(tmp_path: Path) -> None:
    with spawn(not_utf8(tmp_path)) as daemon:
        daemon.initialize()
        assert daemon.result("daemon/status")["dataDir"] == f"{tmp_path}/caf\\xe9"
        assert daemon.finish() == 0


def test_a_refused_data_directory_name_that_is_not_utf8_is_shown_escaped(tmp_path: Path) -> None:
    data_dir = not_utf8(tmp_path)
    data_dir.write_text("a file")
    with spawn(data_dir) as daemon:
        error = daemon.error("initialize")
        assert (error["code"], error["data"]["kind"]) == (-32803, "databaseRefused")
        assert f"{tmp_path}/caf\\xe9" in error["message"]
        assert daemon.finish() == 1
