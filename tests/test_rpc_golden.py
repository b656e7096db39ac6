"""The wire format does not change: a real daemon answers a whole session as tests/golden/wire.json says.

`session` is a list of steps: what is sent (all in one write; a string is sent unchanged), and what is received.
`apart` has the answers that need a daemon of their own. Times, versions and other values that differ from run to run,
and msgspec's own error texts, are replaced (`normalized`). No test writes the file.
"""

import asyncio
import inspect
import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest

from treadle.contract import errors
from treadle.contract.methods import CLIENT_ENDPOINTS, FROM_CLIENT, TO_CLIENT
from treadle.contract.params import NoParams
from treadle.domain import agent_decider, checks, decider, thread_decider, turn_decider
from treadle.server.app import Daemon as Server
from treadle.server.handlers import Methods
from treadle.server.session import Method, RpcSession
from treadle.store.errors import NewerDatabase, Refused
from wire import FRAMINGS, Framing, kill, serving, spawn

pytestmark = pytest.mark.both_logs

GOLDEN = json.loads((Path(__file__).parent / "golden" / "wire.json").read_text())
SESSION: list[dict[str, Any]] = GOLDEN["session"]
APART: dict[str, Any] = GOLDEN["apart"]

METHODS = {method.name: method for method in Methods(cast(Server, None)).table()}
OF_REPOSITORIES = {
    *("checkpoint/create", "checkpoint/diff", "checkpoint/restore", "provenance/find"),
    *("worktree/apply", "worktree/discard"),
}
"""Methods that need a repository: the tests of checkpoints and worktrees compare their results with the document."""

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
DIFFERS = {
    *("version", "pythonVersion", "sqliteVersion", "projectionVersion", "pid", "dataDir", "logId"),
    *("machineId", "runner", "databaseBytes", "walBytes"),
}


def normalized(value: Any, key: str = "") -> Any:
    """What does not differ from run to run; other values are named for what they are."""
    if isinstance(value, dict):
        if value.get("kind") in ("parseError", "invalidParams"):
            value = {**value, "reason": "…"}
        if set(value) == {"code", "message", "data"}:
            value = {**value, "message": re.sub("(?<=Invalid params: ).*", "…", value["message"])}
        if "openrpc" in value:
            names = ("methods", "x-client-methods", "x-notifications")
            lists = {name: [one["name"] for one in value[name]] for name in names}
            return {"openrpc": value["openrpc"], **lists}
        return {name: normalized(member, name) for name, member in value.items()}
    if isinstance(value, list):
        return [normalized(item) for item in value]
    if key in DIFFERS and not (key == "version" and isinstance(value, int)):  # a thread has a version, too
        return key
    if isinstance(value, str) and TIME.fullmatch(value):
        return "time"
    return value


def in_order(messages: list[Any]) -> list[Any]:
    """Answers, then notifications, then batches: nobody promises an order among what one step brings."""

    def place(message: Any) -> tuple[int, str, str]:
        if isinstance(message, list):
            return 2, "", ""
        if "method" in message:
            return 1, message["method"], json.dumps(message)
        return 0, repr(message["id"]), ""

    return sorted((in_order(m) if isinstance(m, list) else m for m in messages), key=place)


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.only_local("events of a shared log have an actor")
def test_a_session_matches_its_golden(data_dir: Path, framing: Framing) -> None:
    config = data_dir.with_name("config")
    (config / "treadle").mkdir(parents=True)
    (config / "treadle" / "agents.json").write_text('{"agents": {"mine": {"command": "node", "args": ["--key", "k"]}}}')
    with spawn(data_dir, "--no-agents", framing=framing, env={"XDG_CONFIG_HOME": str(config)}) as daemon:
        for step in SESSION:
            daemon.send_together(m.encode() if isinstance(m, str) else m for m in step["send"])
            received = [daemon.message() for _ in step["receive"]]
            assert in_order(normalized(received)) == step["receive"], step["does"]
        assert daemon.rest() == []
        assert daemon.status() == 0


def error_of(answer: dict[str, Any], data_dir: Path) -> Any:
    return normalized(json.loads(json.dumps(answer["error"]).replace(str(data_dir), "/data")))


def test_the_error_for_an_oversized_message_matches_its_golden(data_dir: Path) -> None:
    with serving(data_dir, "--max-message-bytes", "1000") as daemon:
        daemon.send(b"x" * 1001)
        assert error_of(daemon.message(), data_dir) == APART["messageTooLarge"]


def test_the_error_for_too_many_subscriptions_matches_its_golden(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        asked = [daemon.request("subscription/open", {"topic": "settings"}) for _ in range(1001)]
        answers = [daemon.answer(id) for id in asked]
        assert all("result" in answer for answer in answers[:1000])
        assert error_of(answers[1000], data_dir) == APART["overloaded"]
        daemon.result("subscription/close", {"subscriptionId": "sub-500"})
        daemon.result("subscription/open", {"topic": "settings"})
        assert daemon.error("subscription/open", {"topic": "settings"})["code"] == errors.OVERLOADED


def test_the_error_for_an_unexpected_exception_matches_its_golden() -> None:
    async def broken(params: object) -> None:
        raise ZeroDivisionError

    async def play() -> list[bytes]:
        answers: list[bytes] = []
        methods = {"broken": Method("broken", "", NoParams, None, broken, early=True)}
        session = RpcSession(
            methods, write=answers.append, translate=lambda error: None, take_answer=lambda answer: None
        )
        await session.receive(b'{"jsonrpc":"2.0","id":1,"method":"broken"}')
        await session.settled()
        return answers

    (answer,) = asyncio.run(play())
    assert json.loads(answer)["error"] == APART["internalError"]


def plain(data_dir: Path, statement: str) -> None:
    with closing(sqlite3.connect(data_dir / "treadle.db", isolation_level=None)) as db:
        db.execute(statement)


REFUSE = "CREATE TRIGGER refuse BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'no'); END"


@pytest.mark.only_local("the server has the event then: tests/test_shared_faults.py")
def test_the_error_for_a_write_refused_by_the_database_matches_its_golden(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        plain(data_dir, REFUSE)
        answer = daemon.call("command/dispatch", {"type": "ChangeSetting", "key": "k", "value": 1})
        assert error_of(answer, data_dir) == APART["storage"]


@pytest.mark.parametrize(
    ("kind", "spoil"),
    [
        ("databaseRefused", "PRAGMA application_id = 1"),
        ("databaseNewer", "UPDATE meta SET value = '99' WHERE key = 'projectionVersion'"),
    ],
)
def test_the_error_for_a_refused_database_matches_its_golden(data_dir: Path, kind: str, spoil: str) -> None:
    with serving(data_dir):
        pass
    plain(data_dir, spoil)
    with spawn(data_dir) as daemon:
        assert error_of(daemon.call("initialize"), data_dir) == APART[kind]
        assert daemon.finish() == 1


def test_the_error_for_an_invalid_configuration_of_agents_matches_its_golden(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        (data_dir / "agents.json").write_text('{"agents": {"mine": {"command": 7}}}')
        assert error_of(daemon.call("agent/list"), data_dir) == APART["badConfig"]


def test_the_progress_of_a_rebuild_matches_its_golden(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        for _ in range(11):
            commands = [{"type": "ChangeSetting", "key": "k", "value": i} for i in range(1000)]
            daemon.result("command/dispatchBatch", {"commands": commands})
    plain(data_dir, "UPDATE meta SET value = '0' WHERE key = 'projectionVersion'")
    with spawn(data_dir) as daemon:
        daemon.initialize(workDoneToken=7)
        begin, *reports, end = [{**one, "params": numberless(one["params"])} for one in daemon.notifications]
        assert [begin, reports[0], end] == APART["$/progress"]


def numberless(params: dict[str, Any]) -> dict[str, Any]:
    value = {**params["value"], "message": re.sub(r"\d+", "…", params["value"]["message"])}
    return {**params, "value": {**value, "percentage": "…"} if "percentage" in value else value}


@pytest.mark.only_local("the server has the event then: tests/test_shared_faults.py")
def test_a_warning_matches_its_golden(data_dir: Path) -> None:
    with spawn(data_dir) as daemon:
        daemon.initialize()
        daemon.dispatch("CreateProject", id="p", name="p", path="/p")
        daemon.dispatch("CreateThread", threadId="t", projectId="p", title="t")
        daemon.dispatch("StartTurn", threadId="t", prompt="hello")
        kill(daemon)
    plain(data_dir, REFUSE)
    with spawn(data_dir) as daemon:
        daemon.initialize()
        assert daemon.notification("window/logMessage") == APART["window/logMessage"]["params"]
        plain(data_dir, "DROP TRIGGER refuse")
        assert daemon.finish() == 0


# Completeness


def sent() -> list[dict[str, Any]]:
    messages = [m for step in SESSION for m in step["send"] if not isinstance(m, str)]
    return [one for m in messages for one in (m if isinstance(m, list) else [m]) if isinstance(one, dict)]


def received() -> list[dict[str, Any]]:
    messages = [m for step in SESSION for m in step["receive"]]
    return [one for m in messages for one in (m if isinstance(m, list) else [m])]


def golden_errors() -> list[dict[str, Any]]:
    apart = [one for one in APART.values() if "code" in one]
    return apart + [one["error"] for one in received() if "error" in one]


def test_every_method_has_a_golden() -> None:
    answered = {one["id"] for one in received() if "result" in one}
    assert {one["method"] for one in sent() if one.get("id") in answered} == set(METHODS) - OF_REPOSITORIES


def test_every_notification_and_request_to_the_client_has_its_golden() -> None:
    told = {one["method"] for one in received() if "method" in one} | {name for name in APART if "/" in name}
    assert told == {*TO_CLIENT, *(endpoint.name for endpoint in CLIENT_ENDPOINTS)}
    assert {one["method"] for one in sent() if "id" not in one} >= set(FROM_CLIENT)


def test_every_error_code_has_a_golden() -> None:
    codes = {value for value in vars(errors).values() if isinstance(value, int)}
    assert {error["code"] for error in golden_errors()} == codes


def test_every_error_kind_has_a_golden() -> None:
    # The factories are given as many words as they take: what counts is the kind.
    factories = [f for _, f in inspect.getmembers(errors, inspect.isfunction) if f.__module__ == errors.__name__]
    factories = [f for f in factories if f is not errors.request_failed]  # its kinds are in store/errors.py
    kinds = {f(*["x"] * len(inspect.signature(f).parameters)).data["kind"] for f in factories}
    for module in (decider, checks, agent_decider, thread_decider, turn_decider):
        kinds |= set(re.findall(r'(?:Rejected|Conflict)\(\s*"(\w+)"', inspect.getsource(module)))
    kinds |= {Refused.kind, NewerDatabase.kind, "notFound", "commandIdConflict"}
    kinds -= {"noRemote", "remoteTaken"}  # of shared logs, see test_shared_projects.py
    assert {error["data"]["kind"] for error in golden_errors()} >= kinds


def test_step_names_are_unique() -> None:
    names = [step["does"] for step in SESSION]
    assert len(set(names)) == len(names)
