"""`treadle export --markdown`: a folder with a file for each thread, which is brought up to date."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from wire import Daemon, run, serving

HOSTILE = {
    "path": "../../etc/passwd",
    "front-matter": "---\nid: other\n---\n# \"x\": 'y' \\",
    "long": "long " * 100,
    "upper": "SAME",
    "lower": "same",
    "accents": "Überprüfung: naïve Café",
    "no-letters": "日本 🧵",
    "device": "NUL",
    "dots": "..",
}


@pytest.fixture
def daemon(data_dir: Path) -> Iterator[Daemon]:
    with serving(data_dir) as daemon:
        daemon.dispatch("CreateProject", id="p", name="A: project\n- x", path="/workspace/demo")
        yield daemon


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "notes"


def export(data_dir: Path, folder: Path) -> str:
    done = run("export", "--data-dir", str(data_dir), "--markdown", str(folder))
    assert done.returncode == 0, done.stderr
    return done.stdout.rpartition(": ")[2].strip() + done.stderr.replace(str(folder), "")


def create(daemon: Daemon, id: str, title: str) -> None:
    daemon.dispatch("CreateThread", threadId=id, projectId="p", title=title)


def files(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.glob("*.md")}


def front_matter(text: str) -> dict[str, str]:
    first, head, _ = text.split("---\n", 2)
    assert first == ""
    return {name: json.loads(value) for name, value in (line.split(": ", 1) for line in head.splitlines())}


def test_each_thread_has_a_file_whatever_its_title(data_dir: Path, daemon: Daemon, folder: Path) -> None:
    for id, title in HOSTILE.items():
        create(daemon, id, title)
        daemon.dispatch("StartTurn", threadId=id, id="t", prompt="---\nid: nobody\n---")
    assert export(data_dir, folder) == f"{len(HOSTILE)} written, 0 unchanged, 0 removed"
    written = files(folder)
    assert len({name.lower() for name in written}) == len(HOSTILE)
    assert all(name.isascii() and len(name) < 80 and "/" not in name for name in written)
    heads = [front_matter(text) for text in written.values()]
    assert {head["id"]: head["title"] for head in heads} == HOSTILE
    assert {head["project"] for head in heads} == {"A: project\n- x"}
    assert [path.name for path in folder.parent.iterdir() if path.suffix == ".md"] == []


def test_only_what_changed_is_written_again(data_dir: Path, daemon: Daemon, folder: Path) -> None:
    create(daemon, "a", "First")
    create(daemon, "b", "Second")
    export(data_dir, folder)
    before = {path.name: path.stat().st_ino for path in folder.iterdir()}
    assert export(data_dir, folder) == "0 written, 2 unchanged, 0 removed"
    daemon.dispatch("StartTurn", threadId="a", id="t", prompt="A question")
    daemon.dispatch("AddMessage", threadId="a", turnId="t", id="m", role="assistant", text="One", streaming=True)
    assert export(data_dir, folder) == "1 written, 1 unchanged, 0 removed"
    daemon.dispatch("AppendMessage", threadId="a", id="m", text=" and two")
    assert export(data_dir, folder) == "1 written, 1 unchanged, 0 removed"
    assert export(data_dir, folder) == "0 written, 2 unchanged, 0 removed"
    [first] = [text for name, text in files(folder).items() if name.startswith("first-")]
    assert "One and two" in first
    [second] = [path for path in folder.iterdir() if path.name.startswith("second-")]
    assert second.stat().st_ino == before[second.name]


def test_a_renamed_thread_keeps_its_file(data_dir: Path, daemon: Daemon, folder: Path) -> None:
    create(daemon, "a", "First")
    export(data_dir, folder)
    [name] = files(folder)
    daemon.dispatch("RenameThread", threadId="a", title="Another")
    assert export(data_dir, folder) == "1 written, 0 unchanged, 0 removed"
    assert front_matter(files(folder)[name])["title"] == "Another"


def test_the_file_of_a_deleted_thread_is_removed_only_if_it_is_as_it_was_written(
    data_dir: Path, daemon: Daemon, folder: Path
) -> None:
    create(daemon, "a", "First")
    create(daemon, "b", "Second")
    export(data_dir, folder)
    (folder / "mine.md").write_text("my own")
    [mine] = folder.glob("second-*")
    mine.write_text(mine.read_text() + "a note of mine\n")
    for id in "ab":
        daemon.dispatch("DeleteThread", threadId=id)
    told = export(data_dir, folder)
    assert told.startswith("0 written, 0 unchanged, 1 removed")
    assert f"{mine.name} was left alone" in told
    assert sorted(files(folder)) == ["mine.md", mine.name]


def test_a_file_of_someone_else_is_not_overwritten(data_dir: Path, daemon: Daemon, folder: Path) -> None:
    create(daemon, "a", "First")
    export(data_dir, folder)
    [name] = files(folder)
    (folder / ".treadle-export.json").unlink()
    assert export(data_dir, folder) == "1 written, 0 unchanged, 0 removed"
    (folder / ".treadle-export.json").unlink()
    (folder / name).write_text("my own")
    assert "was left alone" in export(data_dir, folder)
    assert files(folder) == {name: "my own"}
