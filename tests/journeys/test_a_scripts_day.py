"""A script's day: only the command line, with JSON in and out. No client, and no daemon to keep running."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def treadle(*arguments: str) -> str:
    done = subprocess.run([sys.executable, "-m", "treadle", *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def call(data_dir: Path, method: str, params: dict[str, Any]) -> Any:
    return json.loads(treadle("call", "--data-dir", str(data_dir), method, json.dumps(params)))


def test_a_script_records_work_reads_it_back_and_moves_it_to_another_machine(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"

    # Each call runs its own daemon, and sees what the previous calls did.
    call(
        here, "command/dispatch", {"type": "CreateProject", "id": "nightly", "name": "Nightly", "path": "/srv/nightly"}
    )
    thread = {"type": "CreateThread", "threadId": "t", "projectId": "nightly", "title": "Update dependencies"}
    call(here, "command/dispatch", {**thread, "commandId": "once"})
    # The script does not know whether the command arrived, and sends it again: it is carried out once.
    call(here, "command/dispatch", {**thread, "commandId": "once"})
    [listed] = call(here, "thread/list", {})["items"]
    assert listed["title"] == "Update dependencies"

    # The events, one JSON text per line.
    events = [json.loads(line) for line in treadle("events", "--data-dir", str(here)).splitlines()]
    assert [event["sequence"] for event in events] == [1, 2]
    assert [event["event"]["type"] for event in events] == ["ProjectCreated", "ThreadCreated"]

    # The log is moved to another machine, and is the same there.
    exported = tmp_path / "log.jsonl"
    exported.write_text(treadle("export", "--data-dir", str(here)), "utf-8")
    treadle("import", "jsonl", "--data-dir", str(there), str(exported))
    assert treadle("events", "--data-dir", str(there)) == treadle("events", "--data-dir", str(here))
    treadle("verify", "--data-dir", str(there))
