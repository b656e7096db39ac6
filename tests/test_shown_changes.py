"""What a turn changed, in `treadle show`: real repositories, and an agent that changes files."""

import html
import json
import re
from pathlib import Path

import pytest

from checkouts import commands_of_git, with_git
from command_lines import InRepository
from people import HOSTILE
from test_transcripts import Page
from wire import serving

pytestmark = with_git


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> InRepository:
    """A turn that changes, adds and removes a file; one that changes nothing."""
    shop = InRepository(tmp_path_factory.mktemp("shown"))
    shop.checkout.write("a.txt", f"kept </details>\n```\n{HOSTILE}\n")
    shop.checkout.write("gone.txt")
    shop.turn("script=files write=a.txt,b.txt remove=gone.txt")
    shop.turn("Thank you", "--thread", "last")
    return shop


def shown(shop: InRepository, *options: str) -> str:
    return shop.do("show", "last", *options).stdout


def test_text_has_the_counts_of_each_file_and_with_full_the_diffs(shop: InRepository) -> None:
    text = shown(shop)
    lines = "  ± 3 files changed  +2 −4\n    a.txt  +1 −3\n    b.txt  added  +1\n    gone.txt  removed  −1\n"
    assert text.count(lines) == text.count("changed  +") == 1
    assert text.index(lines) < text.index("── turn 2")
    assert "│ -kept" not in text
    full = shown(shop, "--full")
    assert "    a.txt  +1 −3\n    │ @@ -1,3 +1 @@\n    │ -kept </details>\n    │ -```\n" in full
    assert "␛[31mred" in full
    assert "\x1b" not in full


def test_markdown_has_folded_diffs_that_nothing_in_them_closes(shop: InRepository) -> None:
    text = shown(shop, "--markdown")
    assert "**± 3 files changed** +2 −4\n\n<details><summary><code>a.txt</code> +1 −3</summary>\n" in text
    assert "\n\n````diff\n@@ -1,3 +1 @@\n-kept </details>\n-```\n" in text
    assert text.count("<details>") == text.count("\n</details>") == 3 + 3


def test_html_has_folded_diffs_and_is_well_formed(shop: InRepository) -> None:
    source = shown(shop, "--html")
    page = Page(source)
    assert page.open == []
    assert "script" not in {tag for tag, _ in page.tags}
    assert not re.search(r"\x1b|\x9b|\u202e", source)
    [row] = re.findall(r'<li class="changes">.*?\n</li>', source, re.DOTALL)
    assert [html.unescape(name) for name in re.findall(r"<summary><code>(.*?)</code>", row)] == [
        "a.txt",
        "b.txt",
        "gone.txt",
    ]
    assert row.count("<details>") == 3
    assert '<span class="plus">+the agent wrote this</span>' in row
    assert '<span class="count good">+1</span> <span class="count bad">−3</span>' in row


def test_without_diffs_nothing_of_files_is_shown(shop: InRepository) -> None:
    for form in ("--html", "--markdown", "--full"):
        assert "kept" not in shown(shop, form, "--no-diff")
        assert "files changed" not in shown(shop, form, "--no-diff")


def test_a_turn_with_large_diffs_has_counts_and_says_that_they_are_left_out(tmp_path: Path) -> None:
    treadle = InRepository(tmp_path)
    treadle.checkout.write("a.txt", "small\n")
    treadle.checkout.write("big.txt", "a line\n" * 100_000)
    treadle.turn("script=files write=a.txt,big.txt,c.txt")
    full = treadle.do("show", "last", "--full").stdout
    assert "    big.txt  +1 −100,000\n    │ (the diff is left out for its length: `treadle diff` shows it)\n" in full
    assert "    │ -small\n" in full
    page = treadle.do("show", "last", "--html").stdout
    assert page.count("The diff is left out for its length.") == 2  # also of what follows it
    assert len(page) < 100_000


def test_git_is_started_once_for_each_turn_that_changed_files(tmp_path: Path) -> None:
    shop = InRepository(tmp_path)
    shop.turn("script=files write=a.txt")
    for name in ("b.txt", "c.txt"):
        shop.turn(f"script=files write={name}", "--thread", "last")
    shop.turn("Thank you", "--thread", "last")
    shop.env["GIT_CONFIG_GLOBAL"] = str(tmp_path / "settings")
    commands = commands_of_git(tmp_path / "settings")
    assert shown(shop).count("1 file changed") == 3
    assert commands() == ["cat-file", "diff-tree", "diff-tree", "diff-tree", "rev-parse"]


def test_a_repository_that_is_gone_is_said_once(tmp_path: Path) -> None:
    treadle = InRepository(tmp_path)
    treadle.turn("script=edit")
    treadle.turn("script=edit", "--thread", "last")
    (treadle.work / ".git").rename(tmp_path / "git")
    for form, says in (("--full", "what this turn"), ("--markdown", "What this turn"), ("--html", "What this turn")):
        text = treadle.do("show", "last", form).stdout
        assert text.count(f"{says} changed cannot be shown: ") == 1
        assert "is not in a git repository" in text


def test_a_thread_whose_checkpoints_were_deleted_is_shown_without_changes(tmp_path: Path) -> None:
    treadle = InRepository(tmp_path)
    treadle.turn("script=edit")
    thread = treadle.threads()[0]["id"]
    with serving(treadle.data_dir) as daemon:
        for one in treadle.listed("checkpoints"):
            daemon.dispatch("PruneCheckpoint", threadId=thread, id=one["id"])
    assert "file changed" not in shown(treadle)


def test_json_is_as_thread_read_has_it(shop: InRepository) -> None:
    assert "changes" not in json.loads(shown(shop, "--json"))
