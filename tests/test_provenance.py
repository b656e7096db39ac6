"""The snapshot that a line first was in, and with a daemon, the turn of an agent that wrote it."""

import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from checkouts import Checkout, with_git
from runs import Json, Runs, running
from test_checkpoints import SCHEMA, Work
from treadle.workspace.git import GitError
from treadle.workspace.provenance import MAX_FILE_BYTES, Lines, first_versions
from treadle.workspace.snapshots import list_refs
from wire import run

pytestmark = with_git


class Versions:
    """Snapshots of a folder, oldest first."""

    def __init__(self, app: Checkout) -> None:
        self.app, self.commits = app, list[str]()

    async def take(self, name: str, content: str) -> None:
        self.app.write(name, content)
        self.commits.append((await self.app.snapshot()).commit)

    async def of(self, path: str, line: int | None = None) -> list[Lines]:
        return await first_versions(await self.app.open(), self.commits, path, line)

    async def numbers(self, path: str) -> list[int]:
        """The version of each line."""
        return [lines.version for lines in await self.of(path) for _ in range(lines.count)]


@pytest.fixture
def versions(part: Checkout) -> Versions:
    return Versions(part)


async def test_each_line_is_from_the_first_snapshot_that_has_it(versions: Versions) -> None:
    await versions.take("file", "0\n")
    await versions.take("file", "1\n0\n")
    versions.app.commit()
    await versions.take("file", "1\n0\n2\n2\n")
    await versions.take("other", "3\n")
    versions.app.write("file", "1\n0\n2\n2\n4\n")
    assert await versions.numbers("file") == [1, 0, 2, 2, 4]
    assert await versions.of("file", 4) == [Lines(4, 1, 2, "file", 4)]
    assert (await versions.of("file"))[2] == Lines(3, 2, 2, "file", 3)


async def test_a_line_is_followed_through_commits_and_renames(versions: Versions) -> None:
    app, rest = versions.app, "".join(f"line {n}\n" for n in range(30))
    await versions.take("old\nname", f"first\n{rest}")
    app.commit()
    (app.folder / "old\nname").rename(app.folder / "new name")
    app.commit()
    app.git("commit", "--quiet", "--amend", "--message", "rewritten")
    await versions.take("new name", f"above\nfirst\n{rest}")
    assert await versions.of("new name") == [Lines(1, 1, 1, "new name", 1), Lines(2, 31, 0, "old\nname", 1)]


async def test_a_line_that_was_removed_and_came_back_is_from_the_snapshot_that_has_it_again(versions: Versions) -> None:
    for text in ("one\ntwo\n", "two\n", "one\ntwo\n"):
        await versions.take("file", text)
    assert await versions.numbers("file") == [2, 0]


async def test_without_snapshots_each_line_is_of_the_present(versions: Versions) -> None:
    versions.app.write("file", "one\n")
    assert await versions.numbers("file") == [0]


async def test_a_snapshot_that_git_does_not_have_any_more_is_left_out(versions: Versions) -> None:
    versions.commits.append("1" * 40)
    await versions.take("file", "one\n")
    versions.commits.append("2" * 40)
    await versions.take("file", "one\ntwo\n")
    assert await versions.numbers("file") == [0, 3]


async def test_nothing_is_left_in_the_repository_and_nothing_of_the_user_is_asked(versions: Versions) -> None:
    app = versions.app
    app.git("config", "blame.ignoreRevsFile", "missing")
    app.git("config", "diff.loud.textconv", "false")
    app.write(".gitattributes", "* diff=loud\n")
    await versions.take("file", "one\n")
    await versions.take("file", "one\ntwo\n")
    objects, refs = sorted((app.top / ".git" / "objects").rglob("*")), await list_refs(await app.open())
    assert await versions.numbers("file") == [0, 1]
    assert sorted((app.top / ".git" / "objects").rglob("*")) == objects
    assert await list_refs(await app.open()) == refs
    assert app.litter() == []


async def test_what_does_not_exist_or_is_too_big_is_refused(versions: Versions) -> None:
    async def kind(path: str, line: int | None = None) -> str:
        with pytest.raises(GitError) as refused:
            await versions.of(path, line)
        return refused.value.kind

    app = versions.app
    app.write("folder/.gitignore", "secret\n")
    app.write("folder/secret")
    await versions.take("file", "one\n")
    assert [await kind(name) for name in ("missing", "folder", "folder/secret")] == ["noSuchFile"] * 3
    assert [await kind("file", line) for line in (2, 0, -1)] == ["noSuchLine"] * 3
    app.write("big", b"line\n" * (MAX_FILE_BYTES // 5 + 1))
    assert await kind("big") == "fileTooBig"
    app.write("empty", "")
    assert await versions.of("empty") == []


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    with running(tmp_path_factory.mktemp("provenance")) as found:
        yield found


class Asked(Work):
    """A thread whose files are asked about."""

    def find(self, name: str, line: int | None = None) -> Json:
        params = {"path": str(self.checkout.folder / name), "line": line}
        found: Json = self.thread.runs.daemon.result("provenance/find", params)
        Draft202012Validator({"$defs": SCHEMA["$defs"], "$ref": "#/$defs/Provenance"}).validate(found)
        return found

    def by(self, name: str) -> list[tuple[str, list[str]]]:
        """Of each line, what it is by, and the turns."""
        found = self.find(name)
        turns = [turn["turnId"] for turn in found["turns"]]
        return [
            (lines["by"], [turns[position] for position in lines["turns"]])
            for lines in found["lines"]
            for _ in range(lines["count"])
        ]

    def turn(self) -> str:
        """Let the agent append a line to `file`; return the id of the turn."""
        after = self.edit("file")[1]
        return str(self.thread.said("CheckpointCreated", id=after)[0]["turnId"])

    def recorded(self, turn: str, phase: str, thread: str | None = None) -> None:
        """Record the files as they are, committed, as the checkpoint of a client."""
        commit = self.checkout.commit()
        more = {"turnId": turn, "phase": phase, "commit": commit, "gitRef": "refs/heads/main", "message": ""}
        self.thread.runs.daemon.dispatch("CreateCheckpoint", threadId=thread or self.thread.id, **more)


def test_a_line_is_ascribed_to_the_turn_of_an_agent_and_those_of_the_user_to_none(runs: Runs) -> None:
    work = Asked(runs, "lines")
    work.checkout.write("file", "earlier\n")
    first = work.turn()
    with (work.checkout.folder / "file").open("a") as file:
        file.write("between\n")
    work.checkout.commit()
    second = work.turn()
    with (work.checkout.folder / "file").open("a") as file:
        file.write("since\n")
    assert work.by("file") == [("earlier", []), ("turn", [first]), ("between", []), ("turn", [second]), ("since", [])]
    work.checkout.commit()
    found = work.find("file", 4)
    (turn,) = found["turns"]
    assert (turn["threadId"], turn["turnId"], turn["title"], turn["agent"]) == ("lines", second, "lines", "lines")
    assert turn["prompt"] == "script=edit file=file"
    assert turn["startedAt"] == work.thread.until("TurnStarted", id=second)["at"]
    assert found["lines"] == [{"start": 4, "count": 1, "by": "turn", "turns": [0], "path": "file", "line": 4}]
    assert found["cut"] is False


def test_the_command_shows_each_line_with_its_turn(runs: Runs) -> None:
    work = Asked(runs, "shown")
    work.checkout.write("file", "mine\x1b[2J\n")
    turn = work.turn()

    def blame(*arguments: str) -> Any:
        return run("blame", *arguments, "--data-dir", str(runs.daemon.data_dir))

    name = str(work.checkout.folder / "file")
    mine, agents = blame(name).stdout.splitlines()
    assert mine.startswith("-------- not by a recorded turn ")
    assert mine.endswith(" 1) mine␛[2J")
    assert agents.startswith("shown    shown ")
    assert agents.endswith(" 2) a line of the agent")
    assert agents.index(" 2)") == mine.index(" 1)")
    details = blame(f"{name}:2").stdout
    assert f"turn    {turn}" in details
    assert "prompt  script=edit file=file" in details
    assert "line 1 was not written by a recorded turn: it was there in the first" in blame(f"{name}:1").stdout
    assert json.loads(blame(name, "--json").stdout) == work.find("file")
    refused = blame(f"{name}:3")
    assert (refused.returncode, "has no line 3" in refused.stderr) == (1, True)


def test_a_line_that_several_turns_may_have_written_names_all_of_them(runs: Runs) -> None:
    work = Asked(runs, "several")
    daemon = runs.daemon
    daemon.dispatch("CreateThread", threadId="several-2", projectId="of-several", title="Another")
    for thread, turn in (("several", "one"), ("several-2", "two")):
        daemon.dispatch("StartTurn", threadId=thread, id=turn)
    work.recorded("one", "before")
    work.checkout.write("file", "one\n")
    work.recorded("two", "before", "several-2")
    work.checkout.write("file", "one\nboth\n")
    work.recorded("one", "after")
    work.checkout.write("file", "one\nboth\ntwo\n")
    assert work.by("file") == [("turn", ["one"]), ("perhaps", ["one", "two"]), ("turn", ["two"])]
    daemon.dispatch("InterruptTurn", threadId="several-2", id="two", reason="killed")  # without a checkpoint after it
    assert work.by("file")[2] == ("perhaps", ["two"])


def test_the_turns_of_a_project_around_it_count_too_and_those_of_a_project_beside_it_do_not(runs: Runs) -> None:
    work = Asked(runs, "around")
    work.checkout.write("part/file", "mine\n")
    turn = work.thread.answer("script=edit file=part/file")["id"]
    work.of_turn(turn)
    for part in ("part", "beside"):
        (work.checkout.folder / part).mkdir(exist_ok=True)
        runs.daemon.dispatch("CreateProject", id=f"the-{part}", name=part, path=str(work.checkout.folder / part))
    assert work.by("part/file") == [("earlier", []), ("turn", [turn])]


def test_what_cannot_be_asked_about_is_refused_with_a_reason(runs: Runs) -> None:
    work = Asked(runs, "refused")

    def refused(path: str) -> Json:
        found: Json = runs.daemon.error("provenance/find", {"path": path})
        return found

    assert refused("relative")["data"]["path"] == "$.params.path"
    assert refused("/elsewhere/file")["data"] == {"kind": "notFound", "entity": "project", "id": "/elsewhere"}
    assert refused(str(work.checkout.folder / "missing"))["data"]["kind"] == "noSuchFile"
    shutil.rmtree(work.checkout.top / ".git")
    assert refused(str(work.checkout.folder / "missing"))["data"]["kind"] == "noRepository"
