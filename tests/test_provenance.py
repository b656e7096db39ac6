"""The turn that a line is from, found by the snapshots before and after each turn."""

from collections.abc import Awaitable, Callable

import pytest

from checkouts import Checkout, with_git
from treadle.workspace.git import GitError
from treadle.workspace.provenance import Introduced, introduced
from treadle.workspace.snapshots import list_refs

pytestmark = with_git

Pairs = list[tuple[str, str]]


class Turns:
    """Turns of an agent in a folder. pairs: the newest first."""

    def __init__(self, app: Checkout) -> None:
        self.app, self.pairs = app, Pairs()

    async def turn(self, work: Callable[[], object]) -> None:
        before = await self.app.snapshot()
        work()
        self.pairs.insert(0, (before.commit, (await self.app.snapshot()).commit))

    async def of(self, path: str, line: int | None = None) -> Introduced:
        return await introduced(await self.app.open(), self.pairs, path, line)


@pytest.fixture
def turns(part: Checkout) -> Turns:
    return Turns(part)


async def test_each_line_is_from_the_turn_or_the_time_between_that_wrote_it(turns: Turns) -> None:
    app = turns.app
    app.write("file", "earlier\n")
    app.commit()
    await turns.turn(lambda: app.write("file", "first\nearlier\n"))
    app.write("file", "first\nearlier\nbetween\n")
    app.commit()
    await turns.turn(lambda: app.write("file", "second\nfirst\nearlier\nbetween\n"))
    app.write("file", "second\nfirst\nearlier\nbetween\nsince\n")
    assert [await turns.of("file", n) for n in range(1, 6)] == [
        Introduced("pair", 0, 1, "file"),
        Introduced("pair", 1, 1, "file"),
        Introduced("earlier", None, 1, "file"),
        Introduced("between", 0, 3, "file"),
        Introduced("since", None, 5, "file"),
    ]


async def test_a_line_is_followed_through_commits_and_renames(turns: Turns) -> None:
    app, rest = turns.app, "".join(f"line {n}\n" for n in range(30))
    await turns.turn(lambda: app.write("old\nname", f"first\n{rest}"))
    app.commit()
    await turns.turn(lambda: (app.folder / "old\nname").rename(app.folder / "new name"))
    app.commit()
    app.git("commit", "--quiet", "--amend", "--message", "rewritten")
    await turns.turn(lambda: app.write("new name", f"above\nfirst\n{rest}"))
    assert await turns.of("new name", 2) == Introduced("pair", 2, 1, "old\nname")
    assert await turns.of("new name", 1) == Introduced("pair", 0, 1, "new name")


async def test_a_line_that_was_removed_and_came_back_is_from_the_turn_that_brought_it_back(turns: Turns) -> None:
    for text in ("one\ntwo\n", "two\n", "one\ntwo\n"):
        await turns.turn(lambda text=text: turns.app.write("file", text))  # type: ignore[misc]
    assert (await turns.of("file", 1)).pair == 0
    assert (await turns.of("file", 2)).pair == 2


async def test_a_file_is_from_the_turn_that_changed_or_removed_it_last(turns: Turns) -> None:
    app = turns.app
    app.write("mine", "one\n")
    await turns.turn(lambda: app.write("file", "one\n"))
    await turns.turn(lambda: app.write("file", "two\n"))
    await turns.turn(lambda: app.write("other", "one\n"))
    assert await turns.of("file") == Introduced("pair", 1, 0, "file")
    assert await turns.of("mine") == Introduced("earlier", None, 0, "mine")
    await turns.turn(lambda: (app.folder / "file").unlink())
    assert await turns.of("file") == Introduced("pair", 0, 0, "file")
    app.write("mine", "two\n")
    assert await turns.of("mine") == Introduced("since", None, 0, "mine")


async def test_a_project_without_turns_has_only_lines_since(turns: Turns) -> None:
    turns.app.write("file", "one\n")
    assert await turns.of("file", 1) == Introduced("since", None, 1, "file")


async def test_nothing_is_left_in_the_repository_and_nothing_of_the_user_is_asked(turns: Turns) -> None:
    app = turns.app
    app.git("config", "blame.ignoreRevsFile", "missing")
    app.git("config", "diff.loud.textconv", "false")
    app.write(".gitattributes", "* diff=loud\n")
    await turns.turn(lambda: app.write("file", "one\n"))
    await turns.turn(lambda: app.write("file", "one\ntwo\n"))
    objects, refs = sorted((app.top / ".git" / "objects").rglob("*")), await list_refs(await app.open())
    assert (await turns.of("file", 1)).pair == 1
    assert sorted((app.top / ".git" / "objects").rglob("*")) == objects
    assert await list_refs(await app.open()) == refs


async def test_what_does_not_exist_is_refused(turns: Turns) -> None:
    await turns.turn(lambda: turns.app.write("file", "one\n"))

    async def kind(asked: Awaitable[Introduced]) -> str:
        with pytest.raises(GitError) as refused:
            await asked
        return refused.value.kind

    assert await kind(turns.of("missing", 1)) == "noSuchFile"
    assert await kind(turns.of("missing")) == "noSuchFile"
    for line in (2, 0, -1):
        assert await kind(turns.of("file", line)) == "noSuchLine"
    turns.pairs.append(("1" * 40, "2" * 40))
    assert await kind(turns.of("file", 1)) == "noCommit"
