"""`treadle export` and `treadle import jsonl`: an import gives the identical log, or nothing."""

import io
import json
import signal
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from people import many_threads, some_work
from support import opened, plain, rows
from test_bad_days import Work
from treadle.store.pages import MAX_BYTES
from treadle.store.sqlite import projections
from treadle.transfer.jsonl import Header, import_log
from wire import PATIENCE, TREADLE, run, serving


def log(data_dir: Path) -> list[tuple[int, str]]:
    with plain(data_dir) as db:
        return db.execute("SELECT sequence, payload FROM events ORDER BY sequence").fetchall()


def tables(data_dir: Path) -> dict[str, Any]:
    with plain(data_dir) as db:
        return {table: rows(db, table) for table in (*projections.TABLES, "event_types", "sqlite_sequence")}


def log_id(data_dir: Path) -> str:
    with plain(data_dir) as db:
        return str(db.execute("SELECT value FROM meta WHERE key = 'logId'").fetchone()[0])


def exported(data_dir: Path) -> str:
    done = run("export", "--data-dir", str(data_dir))
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def imported(data_dir: Path, text: str | bytes) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [*TREADLE, "import", "jsonl", "-", "--data-dir", str(data_dir)],
        input=text.encode() if isinstance(text, str) else text,
        capture_output=True,
        timeout=PATIENCE,
    )


def test_an_imported_export_is_the_identical_log_with_a_new_log_id(data_dir: Path, tmp_path: Path) -> None:
    with serving(data_dir) as daemon:
        for n in range(1_200):
            daemon.request(
                "command/dispatch", {"type": "ChangeSetting", "key": f"k{n}", "value": {"n": n, "🧵": 1e300}}
            )
        daemon.result("daemon/status")
    some_work(data_dir)
    file, copy = tmp_path / "log.jsonl", tmp_path / "copy"
    done = run("export", str(file), "--data-dir", str(data_dir))
    assert done.returncode == 0
    assert done.stdout == f"{file}: {len(log(data_dir)):,} events\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text() == exported(data_dir)
    done = run("import", "jsonl", str(file), "--data-dir", str(copy))
    assert (done.returncode, done.stdout) == (0, f"{len(log(data_dir)):,} events imported into {copy}\n")
    assert log(copy) == log(data_dir)
    assert tables(copy) == tables(data_dir)
    assert log_id(copy) != log_id(data_dir)
    assert run("verify", "--data-dir", str(copy)).returncode == 0
    assert exported(copy).splitlines()[1:] == exported(data_dir).splitlines()[1:]
    with serving(copy) as daemon:
        assert daemon.dispatch("ChangeSetting", key="new", value=1)["sequence"] == len(log(data_dir)) + 1


def test_an_export_is_a_header_and_one_event_per_line(data_dir: Path) -> None:
    some_work(data_dir)
    header, *lines = exported(data_dir).splitlines()
    assert json.loads(header) == {
        "format": "treadle-log", "version": 1, "events": len(lines), "logId": log_id(data_dir), "treadle": "0.1.0",
    }  # fmt: skip
    assert lines == [f'{{"sequence":{sequence},"event":{payload}}}' for sequence, payload in log(data_dir)]


def test_who_caused_an_event_is_exported_and_imported(data_dir: Path, tmp_path: Path) -> None:
    some_work(data_dir)
    header, first, second, *others = exported(data_dir).splitlines()
    lines = [header, first[:-1] + ',"actor":"ada"}', second, *others[:-1], others[-1][:-1] + ',"actor":"b \\"ø\\""}']
    copy = tmp_path / "copy"
    assert imported(copy, "\n".join(lines)).returncode == 0
    with plain(copy) as db:
        actors = [actor for (actor,) in db.execute("SELECT actor FROM events ORDER BY sequence")]
    assert actors == ["ada", *[None] * (len(lines) - 3), 'b "ø"']
    assert exported(copy).splitlines()[1:] == lines[1:]
    assert run("verify", "--data-dir", str(copy)).returncode == 0
    with serving(copy) as daemon:
        items = daemon.result("event/list", {"limit": 2})["items"]
        assert [item.get("actor") for item in items] == ["ada", None]


def test_the_export_of_an_empty_log_can_be_imported(data_dir: Path, tmp_path: Path) -> None:
    with serving(data_dir):
        pass
    text = exported(data_dir)
    assert len(text.splitlines()) == 1
    assert imported(tmp_path / "copy", text).returncode == 0
    assert log(tmp_path / "copy") == []


def test_an_export_during_writes_is_a_consistent_snapshot(data_dir: Path, tmp_path: Path) -> None:
    some_work(data_dir)
    with serving(data_dir) as daemon:
        exporting = subprocess.Popen([*TREADLE, "export", "--data-dir", str(data_dir)], stdout=subprocess.PIPE)
        ids = [
            daemon.request("command/dispatch", {"type": "ChangeSetting", "key": "k", "value": n}) for n in range(2_000)
        ]
        text, _ = exporting.communicate(timeout=PATIENCE)
        assert all("result" in daemon.answer(id) for id in ids)
    assert imported(tmp_path / "copy", text).returncode == 0
    copy = log(tmp_path / "copy")
    assert copy == log(data_dir)[: len(copy)]


def test_an_export_does_not_overwrite_a_file(data_dir: Path, tmp_path: Path) -> None:
    some_work(data_dir)
    file = tmp_path / "there"
    file.write_text("mine")
    done = run("export", str(file), "--data-dir", str(data_dir))
    assert (done.returncode, done.stderr) == (1, f"treadle: {file} already exists: choose a new name\n")
    assert file.read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file() and path.suffix != ".stderr") == ["there"]


def test_importing_into_a_log_with_events_is_refused(data_dir: Path, tmp_path: Path) -> None:
    some_work(data_dir)
    text, before = exported(data_dir), log(data_dir)
    done = imported(data_dir, text)
    assert done.returncode == 1
    assert f"{data_dir} has a log of {len(before)} events: ".encode() in done.stderr
    assert log(data_dir) == before


def test_turns_that_ran_when_the_log_was_exported_are_interrupted_where_it_is_imported(
    data_dir: Path, tmp_path: Path
) -> None:
    with serving(data_dir) as daemon:
        Work(daemon).begin()
        assert imported(tmp_path / "copy", exported(data_dir)).returncode == 0
        assert log(tmp_path / "copy") == log(data_dir)
        with serving(tmp_path / "copy") as other:
            (turn,) = other.result("turn/list", {"threadId": "t"})["items"]
            assert turn["status"] == "interrupted"
            assert not turn["runner"].startswith(other.result("daemon/status")["machineId"])
        (turn,) = daemon.result("turn/list", {"threadId": "t"})["items"]
        assert turn["status"] == "running"


def test_a_running_daemon_notices_an_import_into_its_empty_log(data_dir: Path, tmp_path: Path) -> None:
    some_work(data_dir)
    text = exported(data_dir)
    with serving(tmp_path / "copy") as daemon:
        daemon.result("subscription/open", {"topic": "index"})
        assert imported(tmp_path / "copy", text).returncode == 0
        daemon.notification("projection/changed", lambda params: params["sequence"] == len(text.splitlines()) - 1)
        assert daemon.result("thread/list")["items"][0]["id"] == "talk-1"


Damage = Callable[[list[bytes]], list[bytes]]
DAMAGES: dict[str, tuple[Damage, str]] = {
    "no header": (lambda lines: lines[1:], "line 1: not an export of a treadle log"),
    "an empty file": (lambda lines: [], "line 1: not an export of a treadle log"),
    "another format": (lambda lines: [b'{"format":"csv","version":1,"events":0}'], "line 1: not an export of a"),
    "a newer format": (
        lambda lines: [lines[0].replace(b'"version":1', b'"version":2'), *lines[1:]],
        "line 1: version 2 of the format is not supported, this treadle reads 1",
    ),
    "half a line": (lambda lines: [*lines[:7], lines[7][:40], *lines[8:]], "line 8: damaged: "),
    "a truncated file": (lambda lines: lines[:9], "line 10: the file ends here, after 8 of "),
    "a missing line": (lambda lines: [*lines[:4], *lines[5:]], "line 5: sequence 5 instead of 4"),
    "a duplicate line": (lambda lines: [*lines[:5], *lines[4:]], "line 6: sequence 4 instead of 5"),
    "one event too many": (lambda lines: [*lines, lines[-1]], "there are more events than the "),
    "not UTF-8": (lambda lines: [*lines[:2], lines[2].replace(b"Show", b"Sh\xffw"), *lines[3:]], "line 3: damaged"),
    "an unknown event": (
        lambda lines: [*lines[:2], lines[2].replace(b"ThreadCreated", b"ThreadPainted"), *lines[3:]],
        "line 3: damaged: Invalid value 'ThreadPainted'",
    ),
    "a missing field": (
        lambda lines: [*lines[:2], lines[2].replace(b'"title"', b'"titel"'), *lines[3:]],
        "line 3: damaged: Object missing required field `title`",
    ),
    "U+0000": (
        lambda lines: [*lines[:2], lines[2].replace(b"Show", b"\\u0000"), *lines[3:]],
        "line 3: a string holds U",
    ),
    "a duplicate id": (
        lambda lines: [*lines[:3], lines[2].replace(b'"sequence":2', b'"sequence":3'), *lines[4:]],
        "line 4: the database refuses it: ",
    ),
    "a thread deleted twice": (
        lambda lines: [
            b'{"format":"treadle-log","version":1,"events":3}',
            b'{"sequence":1,"event":{"type":"ThreadCreated","at":"2026-01-31T12:00:00.000Z","threadId":"t","projectId":"p","title":"one"}}',
            b'{"sequence":2,"event":{"type":"ThreadDeleted","at":"2026-01-31T12:00:00.000Z","threadId":"t"}}',
            b'{"sequence":3,"event":{"type":"ThreadDeleted","at":"2026-01-31T12:00:00.000Z","threadId":"t"}}',
        ],
        "line 4: the database refuses it: ",
    ),
    "an invalid time": (
        lambda lines: [*lines[:2], lines[2].replace(b'"at":"', b'"at":"about '), *lines[3:]],
        "line 3: damaged: 'about 2",
    ),
    "a changed member with a name that means something else in SQLite": (
        lambda lines: [
            b'{"format":"treadle-log","version":1,"events":1}',
            b'{"sequence":1,"event":{"type":"ActivityUpdated","at":"2026-01-31T12:00:00.000Z","threadId":"t","id":"a","detail":{"a.b":1}}}',
        ],
        "line 2: damaged: a member that changes is named 'a.b'",
    ),
    "an invalid id": (
        lambda lines: [*lines[:2], lines[2].replace(b'"threadId":"', b'"threadId":"../'), *lines[3:]],
        "line 3: damaged: '../talk-1' is not a valid id",
    ),
    "a negative number of events": (
        lambda lines: [lines[0].replace(b'"events":', b'"events":-'), *lines[1:]],
        "line 1: not an export of a treadle log: Expected `int` >= 0",
    ),
    "a last line that is not JSON": (lambda lines: [*lines[:-1], b"\x00\x01"], "damaged: "),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_export_is_refused_with_its_line_and_nothing_is_imported(
    data_dir: Path, tmp_path: Path, what: str
) -> None:
    some_work(data_dir)
    damage, says = DAMAGES[what]
    text, copy = exported(data_dir), tmp_path / "copy"
    done = imported(copy, b"".join(line + b"\n" for line in damage(text.encode().splitlines())))
    told = done.stderr.decode().splitlines()[-1]
    assert done.returncode == 1
    assert told.startswith("treadle: stdin: line ")
    assert told.endswith(". Nothing was imported")
    assert says in told
    assert copy.exists() == (not says.startswith("line 1:"))
    if copy.exists():
        assert log(copy) == []
        assert set(map(len, tables(copy).values())) <= {0}
        assert imported(copy, text).returncode == 0
        assert log(copy) == log(data_dir)


def test_nothing_is_imported_from_a_long_export_damaged_at_its_end(data_dir: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    with serving(data_dir) as daemon:
        changes = [{"type": "ChangeSetting", "key": f"k{n}", "value": n} for n in range(1_000)]
        for first in range(0, 1_000, 500):
            daemon.result("command/dispatchBatch", {"commands": changes[first : first + 500]})
        many_threads(daemon, 300)
    lines = exported(data_dir).splitlines()
    done = imported(copy, "\n".join([*lines[:-1], lines[-1][:-5]]))
    assert (done.returncode, f"line {len(lines)}: damaged" in done.stderr.decode()) == (1, True)
    assert log(copy) == []
    assert imported(copy, "\n".join(lines)).returncode == 0
    assert log(copy) == log(data_dir)


def test_importing_an_unreadable_file_is_an_error(data_dir: Path, tmp_path: Path) -> None:
    done = run("import", "jsonl", str(tmp_path / "missing"), "--data-dir", str(data_dir))
    assert done.returncode == 1
    assert "missing" in done.stderr
    assert not data_dir.exists()


def test_an_interrupted_import_leaves_an_empty_log(data_dir: Path, tmp_path: Path) -> None:
    some_work(data_dir)
    text, copy = exported(data_dir).encode(), tmp_path / "copy"
    process = subprocess.Popen(
        [*TREADLE, "import", "jsonl", "-", "--data-dir", str(copy)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    header, *lines = text.splitlines(keepends=True)
    process.stdin.write(header + b"".join(lines[:5]))
    process.stdin.flush()
    while not (copy / "rebuilding.lock").exists():  # it is about to append
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=PATIENCE)
    assert (process.returncode, b"Traceback" in told) == (130, False), told
    assert log(copy) == []
    assert imported(copy, text).returncode == 0


async def test_large_events_are_imported_in_small_groups(data_dir: Path) -> None:
    async with opened(data_dir):
        pass
    change = (
        b'{"sequence":%d,"event":{"type":"SettingChanged","at":"2026-01-31T12:00:00.000Z","key":"k","value":"%b"}}\n'
    )
    stream = io.BytesIO(b"".join(change % (n, b"x" * MAX_BYTES) for n in (1, 2, 3)))
    done: list[int] = []
    assert import_log(data_dir, Header("treadle-log", 1, 3), stream, lambda n, total: done.append(n)) == 3
    assert done == [1, 2, 3]
