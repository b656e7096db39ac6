"""Huge tool results: which sizes are accepted and refused, and how much memory stays in use."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import wire
from treadle.contract.bounds import MAX_VALUE_BYTES

IN_TURN = {"threadId": "t", "turnId": "u"}
ACTIVITY = {"type": "RecordActivity", **IN_TURN, "kind": "k", "title": "t", "status": "completed"}
TOO_LARGE = "x" * (MAX_VALUE_BYTES + 1)


@pytest.fixture
def daemon(data_dir: Path) -> Iterator[wire.Daemon]:
    with wire.serving(data_dir) as daemon:
        daemon.dispatch("CreateProject", id="p", name="p", path="/p")
        daemon.dispatch("CreateThread", threadId="t", projectId="p", title="t")
        daemon.dispatch("StartTurn", threadId="t", id="u", prompt="", messageId="prompt")
        yield daemon


@pytest.mark.parametrize(
    ("command", "field"),
    [
        ({**ACTIVITY, "detail": {"output": TOO_LARGE}}, "detail"),
        ({**ACTIVITY, "title": TOO_LARGE}, "title"),
        ({"type": "AddMessage", **IN_TURN, "role": "assistant", "text": TOO_LARGE}, "text"),
        ({"type": "AddMessage", **IN_TURN, "role": "assistant", "text": "é" * (MAX_VALUE_BYTES // 2 + 1)}, "text"),
        ({"type": "AppendMessage", "threadId": "t", "id": "prompt", "text": TOO_LARGE}, "text"),
        ({"type": "StartTurn", "threadId": "t", "prompt": TOO_LARGE}, "prompt"),
        ({"type": "ChangeSetting", "key": "k", "value": [TOO_LARGE]}, "value"),
        ({"type": "CompleteTurn", "threadId": "t", "id": "u", "stopReason": "s", "usage": TOO_LARGE}, "usage"),
        (
            {
                **{"type": "RequestApproval", **IN_TURN, "title": "t"},
                "options": [{"id": "o", "name": TOO_LARGE, "kind": "k"}],
            },
            "options",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else value["type"],
)
def test_a_value_over_the_size_limit_is_refused_with_its_path(
    daemon: wire.Daemon, command: dict[str, Any], field: str
) -> None:
    before = daemon.result("daemon/status", {})["sequence"]
    data = daemon.error("command/dispatch", command)["data"]
    assert (data["kind"], data["path"]) == ("invalidParams", f"$.params.{field}")
    assert re.fullmatch(r"the value has \d+ bytes, and may have 8388608: .*", data["reason"])
    small = {"type": "ChangeSetting", "key": "k", "value": 1}
    data = daemon.error("command/dispatchBatch", {"commands": [small, command]})["data"]
    assert data["path"] == f"$.params.commands[1].{field}"
    assert daemon.result("daemon/status", {})["sequence"] == before


@pytest.mark.parametrize("at", ["2026-02-29T00:00:00.000Z", "0000-01-01T00:00:00.000Z"])
def test_a_date_that_does_not_exist_is_refused(daemon: wire.Daemon, at: str) -> None:
    data = daemon.error("command/dispatch", {"type": "ChangeSetting", "key": "k", "value": 1, "at": at})["data"]
    assert (data["kind"], data["path"]) == ("invalidParams", "$.params.at")


def test_values_at_the_size_limit_are_stored_and_read_back(daemon: wire.Daemon) -> None:
    text = "x" * MAX_VALUE_BYTES
    commands = [{"type": "AddMessage", **IN_TURN, "id": id, "role": "assistant", "text": text} for id in "ab"]
    daemon.result("command/dispatchBatch", {"commands": commands})
    value = "x" * (MAX_VALUE_BYTES - 2)  # the quotes
    daemon.dispatch("ChangeSetting", key="k", value=value)
    assert daemon.result("setting/list", {})["items"][0]["value"] == value


def resident(daemon: wire.Daemon) -> int:
    """In MiB."""
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    found = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) // 1024


@pytest.mark.skipif(sys.platform != "linux", reason="no /proc here")
@pytest.mark.parametrize(
    "detail",
    [{"output": "x" * (MAX_VALUE_BYTES - 100)}, [{"line": f"{i:08}"} for i in range(400_000)]],
    ids=["one text", "many values"],
)
def test_a_large_value_does_not_keep_memory_in_use(daemon: wire.Daemon, detail: Any) -> None:
    before = resident(daemon)
    daemon.dispatch(**{**ACTIVITY, "id": "a", "detail": detail})
    daemon.result("thread/read", {"threadId": "t"})
    assert resident(daemon) - before < 150 + MAX_VALUE_BYTES // 1024**2


@pytest.mark.skipif(sys.platform != "linux", reason="no /proc here")
def test_details_of_many_activities_that_change_do_not_stay_in_memory(daemon: wire.Daemon) -> None:
    running: dict[str, Any] = {**ACTIVITY, "status": "running", "detail": {"output": "x" * (MAX_VALUE_BYTES - 100)}}
    ids = [f"a{n}" for n in range(12)]
    for id in ids:
        daemon.dispatch(**running, id=id)
    daemon.dispatch("UpdateActivity", threadId="t", id=ids[0], title="another")
    before = resident(daemon)
    for id in ids[1:]:
        daemon.dispatch("UpdateActivity", threadId="t", id=id, title="another")
    assert resident(daemon) - before < len(ids) * MAX_VALUE_BYTES // 1024**2 // 2
