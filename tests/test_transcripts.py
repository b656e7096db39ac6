"""`treadle show`: what it shows of a thread in each format, and that no text breaks out of its place."""

import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from people import BACKWARDS, FENCES, HOSTILE, on_terminal, pipelined, some_work
from treadle.cli import code_blocks, details, output, transcript_html, transcript_markdown
from wire import run, serving

RECORDING = Path(__file__).parent / "recordings" / "opencode-retry-helper.jsonl"
ORDERS = set("\x1b\x9b\u202e\x07")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def shown(data_dir: Path, *options: str) -> str:
    done = run("show", *options, "--data-dir", str(data_dir))
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def refusal(data_dir: Path, *options: str) -> str:
    done = run("show", *options, "--data-dir", str(data_dir))
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr


@pytest.fixture
def talk(data_dir: Path) -> Path:
    """A data directory with the conversation `talk-1`."""
    some_work(data_dir)
    return data_dir


# Continuing it in its own tool


@pytest.mark.parametrize(
    ("origin", "command"),
    [
        ({"tool": "claude", "sessionId": "7a-1", "cwd": "/src/my app"}, "cd '/src/my app' && claude --resume 7a-1"),
        ({"tool": "codex", "sessionId": "0199", "cwd": "/src"}, "cd /src && codex resume 0199"),
        ({"tool": "opencode", "sessionId": "ses_1"}, "opencode --session ses_1"),
        ({"tool": "claude", "sessionId": "7a-1", "parent": {"threadId": "p"}}, None),
        ({"tool": "claude", "sessionId": "--dangerously-skip-permissions"}, None),
        ({"tool": "claude", "sessionId": "7; rm -rf ~"}, None),
        ({"tool": "claude"}, None),
        ({"tool": "nobody-knows", "sessionId": "7"}, None),
    ],
)
def test_a_thread_of_another_tool_says_the_command_that_continues_it_there(
    talk: Path, origin: dict[str, Any], command: str | None
) -> None:
    with serving(talk) as daemon:
        daemon.dispatch("CreateThread", threadId="from", projectId="web", title="From elsewhere", origin=origin)
        resume = daemon.result("thread/read", {"threadId": "from"})["resume"]
        assert (resume is None) == (command is None)
        assert resume is None or (resume["command"][-1], resume["folder"]) == (origin["sessionId"], origin.get("cwd"))
    assert json.loads(shown(talk, "from", "--json"))["resume"] == resume
    for options in ((), ("--markdown",), ("--html",)):
        text = html.unescape(shown(talk, "from", *options)).replace("\\", "")
        assert "ontinue it" not in text if command is None else command in text


# Choosing the thread


def test_a_thread_is_given_by_id_unique_prefix_or_last(talk: Path) -> None:
    with serving(talk) as daemon:
        for id in ("talk-1x", "task", "last-year"):
            daemon.dispatch("CreateThread", threadId=id, projectId="web", title=f"Called {id}")
        daemon.dispatch("RenameThread", threadId="task", title="Called task")
        daemon.dispatch("CreateThread", threadId="gone", projectId="web", title="Gone")
        daemon.dispatch("DeleteThread", threadId="gone")
        newest = daemon.result("thread/list")["items"][0]["title"]
    for name, title in (
        ("talk-1", "Show the wind"), ("talk-1x", "Called talk-1x"), ("tas", "Called task"),
        ("last-", "Called last-year"), ("last", newest),
    ):  # fmt: skip
        assert shown(talk, name).splitlines()[0] == title
    assert "'ta' is ambiguous: it matches talk-1, talk-1x, task" in refusal(talk, "ta")
    assert "thread 'nope' not found: `treadle threads` lists the threads" in refusal(talk, "nope")
    assert "invalid thread id 'a b'" in refusal(talk, "a b")
    for options in ((), ("--json",), ("--html",)):
        assert "was deleted: `treadle events --thread gone` prints its events" in refusal(talk, "gone", *options)
    assert "thread 'gon' not found" in refusal(talk, "gon")


def test_show_last_without_threads_is_an_error(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        daemon.dispatch("ChangeSetting", key="k", value=1)
    assert refusal(data_dir, "last") == "treadle: there are no threads yet\n"


# JSON


def test_json_output_equals_the_result_of_thread_read(talk: Path) -> None:
    with serving(talk) as daemon:
        for options, params in (((), {"turnLimit": 500}), (("--turns", "1"), {"turnLimit": 1})):
            printed = shown(talk, "talk-1", "--json", *options)
            assert len(printed.splitlines()) == 1
            assert json.loads(printed) == daemon.result("thread/read", {"threadId": "talk-1", **params})


def test_json_output_of_a_long_thread_is_complete(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        daemon.dispatch("CreateProject", id="web", name="Web", path="/web")
        daemon.dispatch("CreateThread", threadId="t", projectId="web", title="Long")
        for n in range(60):
            daemon.dispatch("StartTurn", threadId="t", id=f"u{n}", messageId=f"m{n}", prompt="x" * 40_000)
            daemon.dispatch("CreateCheckpoint", threadId="t", turnId=f"u{n}", id=f"c{n}", gitRef="r", message="")
            daemon.dispatch("CompleteTurn", threadId="t", id=f"u{n}", stopReason="end_turn")
    whole = json.loads(shown(data_dir, "t", "--json"))
    ids = list(range(60))
    for name, letter in (("turns", "u"), ("messages", "m"), ("checkpoints", "c")):
        assert [value["id"] for value in whole[name]] == [f"{letter}{n}" for n in ids]
    assert whole["beforeCursor"] is None
    last = json.loads(shown(data_dir, "t", "--json", "--turns", "35"))
    assert [value["id"] for value in last["turns"]] == [f"u{n}" for n in ids[25:]]
    assert last["beforeCursor"] is not None
    text = shown(data_dir, "t")
    assert re.findall(r"^── turn (\d+) ", text, re.MULTILINE) == [str(n + 1) for n in ids]
    text = shown(data_dir, "t", "--turns", "2")
    assert re.findall(r"^── turn (\d+) ", text, re.MULTILINE) == ["59", "60"]
    assert "… 58 earlier turns" in text


# Terminal output

IN_ORDER = [
    *("Show the wind", "before all", "turn 1", "Please.", "I think.", "A list:", "pytest -q", "refs/treadle/1"),
    *("the model is overloaded", "turn 2", "Again", "Working on it", "completed (end_turn)", "1,200 tokens in"),
]


def assert_in_order(text: str, parts: list[str]) -> None:
    end = 0
    for part in parts:
        end = text.find(part, end)
        assert end >= 0, f"{part!r} is not where it should be"


def test_a_transcript_is_in_chronological_order(talk: Path) -> None:
    for options in ((), ("--full",), ("--markdown",), ("--html",)):
        text = shown(talk, "talk-1", *options)
        assert_in_order(re.sub(r"\bTurn\b", "turn", text).replace("\\_", "_"), IN_ORDER)


@pytest.fixture
def pipeline(data_dir: Path) -> tuple[Path, list[str]]:
    """A thread whose turns were each written at once, the second with times that run backwards; what it shows."""
    with serving(data_dir) as daemon:
        daemon.dispatch("CreateProject", id="p", name="p", path="/p")
        daemon.dispatch("CreateThread", threadId="t", projectId="p", title="Order")
        return data_dir, pipelined(daemon, "t", "u") + pipelined(daemon, "t", "v", BACKWARDS)


def test_a_transcript_is_in_the_order_of_the_commands_whatever_their_times(pipeline: tuple[Path, list[str]]) -> None:
    data_dir, said = pipeline
    for options in ((), ("--markdown",), ("--html",)):
        found = re.findall(r"[uv]: (?:one|two|three|four|five|six)", shown(data_dir, "t", *options))
        assert found == said, options
    read = json.loads(shown(data_dir, "t", "--json"))
    items = sorted(read["messages"] + read["activities"], key=lambda item: item["sequence"])
    assert [item.get("text") or item["title"] for item in items] == said


@pytest.fixture
def stopped(data_dir: Path) -> Path:
    """A thread with all that a command may say beside its text, in hostile words where they are free."""
    content: list[dict[str, Any]] = [
        {"type": "text", "text": "Compare ```\n<this>"},
        {"type": "image", "mimeType": "image/png", "data": "QUJD" * 4096, "uri": f"https://evil.example/{HOSTILE}"},
        {"type": "text", "text": "with"},
        {"type": "resource_link", "name": f"notes ![x](y) {HOSTILE}", "uri": "javascript:alert(1)"},
        {"type": "resource", "resource": {"uri": "file:///a.py", "mimeType": "text/x-python", "text": "<é>"}},
        {"type": "hologram", "mimeType": 7},
    ]
    origin = {"tool": f"<tool> {HOSTILE}", "sessionId": "ses-1", "branch": "main", "parent": {"threadId": "above"}}
    with serving(data_dir) as daemon:
        daemon.dispatch("CreateProject", id="p", name="p", path="/p")
        daemon.dispatch("CreateThread", threadId="t", projectId="p", title="Stop", origin=origin)
        daemon.dispatch("StartTurn", threadId="t", id="u", content=content)
        daemon.dispatch(
            "CreateCheckpoint",
            threadId="t",
            turnId="u",
            gitRef="refs/1",
            message="kept",
            phase="before",
            commit="c0" * 20,
        )
        daemon.dispatch("InterruptTurn", threadId="t", reason="too slow", by="<Ada>", confirmed=False)
        daemon.dispatch("StartTurn", threadId="t", id="v", prompt="Again")
        daemon.dispatch("FailTurn", threadId="t", id="v", error="too many", kind="rate_limit")
        daemon.dispatch("StartTurn", threadId="t", id="w", prompt="Again")
        daemon.dispatch("CancelTurn", threadId="t", id="w")
        assert "t · cancelling · p (/p)" in shown(data_dir, "t")
    return data_dir


STOPPED = [
    *("from <tool>", "session ses-1, branch main, subagent of above", "Compare", "<this>"),
    *("[image/png, https://evil.example/", "12.0 KiB]", "with", "[notes ![x](y)", "javascript:alert(1)]"),
    *("[text/x-python, file:///a.py, 4 bytes]", "[7]", "heckpoint before the turn", "kept"),
    *("refs/1, commit c0c0c0c0c0c0", "interrupted by <Ada> (too slow); the agent did not confirm"),
    "failed (rate_limit: too many)",
]


def test_a_transcript_says_how_a_turn_was_stopped_and_what_is_not_text(stopped: Path) -> None:
    assert_in_order(shown(stopped, "t"), STOPPED)
    page = Page(shown(stopped, "t", "--html"))
    assert_in_order("".join(page.text), STOPPED)
    assert page.open == []
    assert not {tag for tag, _ in page.tags} & {"script", "img", "link", "iframe", "object", "u", "tool", "this"}
    assert {attributes["href"] for _, attributes in page.tags if "href" in attributes} <= {
        f"#turn-{n}" for n in (1, 2, 3)
    }
    assert not any({"src", "srcset", "data", "action"} & attributes.keys() for _, attributes in page.tags)
    markdown = shown(stopped, "t", "--markdown")
    assert_in_order(html.unescape(re.sub(r"\\([\[\]_`*#|~\\])", r"\1", markdown)), STOPPED)
    quote = [line[2:] for line in markdown.splitlines() if line.startswith("> ")]
    outside, _ = blocks_of_code(quote)
    assert not any("<" in line or "![" in line for line in outside)
    for options in ((), ("--markdown",), ("--html",)):
        assert not ORDERS & set(shown(stopped, "t", *options))


def test_terminal_output_is_coloured_and_escapes_control_characters(talk: Path) -> None:
    status, printed = on_terminal("show", "talk-1", "--data-dir", str(talk))
    assert status == 0
    assert COLOUR.search(printed)
    assert not ORDERS & set(COLOUR.sub("", printed))
    assert "␛[31mred␛[0m <U+009B>31m <U+202E>evil␇" in COLOUR.sub("", printed)
    for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert "\x1b" not in on_terminal("show", "talk-1", "--data-dir", str(talk), env=env)[1]


def test_piped_output_has_no_colours_or_control_characters(talk: Path) -> None:
    for options in ((), ("--markdown",), ("--html",)):
        assert not ORDERS & set(shown(talk, "talk-1", *options))


def test_tool_output_is_truncated_without_full(talk: Path) -> None:
    assert re.search(r"│ … 2\d more lines \(show them with --full\)$", shown(talk, "talk-1"), re.MULTILINE)
    assert shown(talk, "talk-1", "--full").count("│ line\n") == 30


# HTML

VOID = {"meta"}


class Page(HTMLParser):
    """What a browser would make of it: tags as they nest, and the text in them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text.append(data)


def test_the_html_is_well_formed_and_escapes_all_text(talk: Path) -> None:
    source = shown(talk, "talk-1", "--html")
    page = Page(source)
    assert page.open == []
    text = "".join(page.text)
    assert text.count("</script><script>alert(1)</script> <b>&amp;</b> ␛[31mred␛[0m") == 5
    for line in ("- `a<b`", "if a < b:", "    print('</details>')", "never closed <u>", "+<c>"):
        assert line.replace("`", "") in text.replace("`", "")
    kinds = {tag for tag, _ in page.tags}
    assert {"details", "summary", "time", "nav", "pre"} <= kinds
    assert not kinds & {"script", "img", "link", "iframe", "object", "u"}
    assert all(not name.startswith("on") for _, attributes in page.tags for name in attributes)


def test_the_html_is_self_contained_without_scripts_and_has_dark_mode(talk: Path) -> None:
    source = shown(talk, "talk-1", "--html")
    page = Page(source)
    assert "default-src 'none'; style-src 'unsafe-inline'" in [
        attributes.get("content") for tag, attributes in page.tags if tag == "meta"
    ]
    assert {attributes["href"] for _, attributes in page.tags if "href" in attributes} == {"#turn-1", "#turn-2"}
    assert not any({"src", "srcset", "data", "action"} & attributes.keys() for _, attributes in page.tags)
    assert not re.search(r"url\(|@import", source)
    assert "@media (prefers-color-scheme: dark)" in source


def test_the_html_collapses_tool_calls_and_shows_times(talk: Path) -> None:
    page = Page(shown(talk, "talk-1", "--html"))
    folded = [attributes for tag, attributes in page.tags if tag == "details"]
    assert len(folded) == 2  # the thought and the tool
    assert all("open" not in attributes for attributes in folded)
    times = [attributes["datetime"] or "" for tag, attributes in page.tags if tag == "time"]
    assert times == sorted(times)
    assert len(times) == 2 + 9 + 2  # of the turns, of what is in them and before, and of their ends


def test_a_recorded_session_is_shown_in_every_format(data_dir: Path) -> None:
    assert run("import", "acp", str(RECORDING), "--data-dir", str(data_dir)).returncode == 0
    window = json.loads(shown(data_dir, "last", "--json"))
    for options in (("--full",), ("--markdown",), ("--html",)):
        text = shown(data_dir, "last", *options)
        plain = "".join(Page(text).text) if options == ("--html",) else text
        for message in window["messages"]:
            assert message["text"][:40].replace("`", "").strip() in plain.replace("`", "")
        assert text.count("Allow once") == len(window["approvals"]) == 8


# Markdown


def blocks_of_code(lines: list[str]) -> tuple[list[str], list[str]]:
    """The lines outside and inside of fenced blocks, as CommonMark has it where fences are not in lists."""
    outside: list[str] = []
    inside: list[str] = []
    fence = ""
    for line in lines:
        found = re.match(r" {0,3}(`{3,}|~{3,})(.*)$", line)
        if not fence and found:
            fence = found[1]
        elif fence and found and found[1].startswith(fence) and not found[2].strip():
            fence = ""
        else:
            (inside if fence else outside).append(line)
    assert not fence, "a block of code is never closed"
    return outside, inside


def test_markdown_of_a_message_stays_in_its_quote_with_html_escaped(talk: Path) -> None:
    lines = shown(talk, "talk-1", "--markdown").splitlines()
    quote = [line[2:] for line in lines if line.startswith("> ")]
    outside, inside = blocks_of_code(quote)
    assert {"if a < b:", "    print('</details>')", "never closed <u>"} <= set(inside)
    assert not any("<" in line.replace("<code>", "").replace("</code>", "") for line in outside)
    assert "- <code>a&lt;b</code>" in outside
    assert "- \\`\\`\\`" in outside


def test_tool_output_in_markdown_cannot_close_its_code_fence(talk: Path) -> None:
    lines = [line for line in shown(talk, "talk-1", "--markdown").splitlines() if not line.startswith(">")]
    outside, inside = blocks_of_code(lines)
    assert sum(line.startswith("</details>") for line in outside) == sum("<details>" in line for line in outside) == 2
    assert not any("<script" in line for line in outside)
    assert {"```", "````", "+<c>"} <= set(inside)


@pytest.mark.parametrize(
    "text",
    [
        FENCES, HOSTILE, "```", "~~~\n```\n<x>\n~~~", "```\n~~~\n<x>", "- a\n  ```\n<x>\n```\n<y>", "``` a`b\n<x>",
        "\\`<x>`", "`` ` <x> ``", "````\n```\n<x>\n````\n<y>", "    ```\n<x>", "> ```\n<x>", "`<x>\n`", "\t```\n<x>",
    ],
)  # fmt: skip
def test_html_in_a_quote_is_escaped_with_any_code_fences(text: str) -> None:
    outside, _ = blocks_of_code(list(transcript_markdown.quoted(text)))
    for line in outside:
        assert "<" not in line.replace("<code>", "").replace("</code>", "")


PIECES = [*"`~<>/ -a*&[]()\"'", "\n", "\\", "\x1b", "```", "\n```\n", "\n~~~~\n", "<b>"]
MARKUP = st.lists(st.sampled_from(PIECES), max_size=30).map("".join)
"""Of what Markdown and HTML are made of."""


@settings(max_examples=400, deadline=None)
@given(MARKUP)
def test_html_in_a_quote_is_escaped_for_any_text(text: str) -> None:
    outside, _ = blocks_of_code(list(transcript_markdown.quoted(text)))
    for line in outside:
        assert "<" not in line.replace("<code>", "").replace("</code>", "")


@settings(max_examples=400, deadline=None)
@example("**`**`")
@example("`a**`b`**c`")
@given(MARKUP)
def test_any_text_is_escaped_in_html(text: str) -> None:
    page = Page("".join(transcript_html._text(text)))
    assert page.open == []
    assert {tag for tag, _ in page.tags} <= {"p", "pre", "code", "b"}
    # But for the marks of Markdown that became tags, nothing is lost.
    left = re.compile(r"[`~*\s]")
    assert left.sub("", "".join(page.text)) == left.sub("", output.clean(text))


# The parts


def test_details_are_shown_as_text_json_or_diff() -> None:
    def told(detail: Any) -> list[tuple[str, ...]]:
        return [tuple(block) for block in details.blocks(detail)]

    assert told(None) == []
    assert told("plain") == [("text", "", "plain")]
    assert told([1, 2]) == [("json", "", "[\n  1,\n  2\n]")]
    assert told({"what": "ever"}) == [("json", "", '{\n  "what": "ever"\n}')]
    assert told({"rawInput": {"command": "ls"}, "rawOutput": {"output": "a"}}) == [
        ("code", "command", "ls"),
        ("code", "output", "a"),
    ]
    diff = {"type": "diff", "path": "/a", "oldText": "a\nb", "newText": "a\nc"}
    assert told({"content": [diff]}) == [("diff", "/a", "@@ -1,2 +1,2 @@\n a\n-b\n+c")]
    assert told({"content": [{**diff, "oldText": None}]}) == [("diff", "/a", "@@ -0,0 +1,2 @@\n+a\n+c")]
    assert told({"content": [{**diff, "newText": "a\nb"}]}) == [("diff", "/a", "(no change)")]
    assert told({"entries": [{"content": "Do", "status": "completed"}, "odd"]}) == [("text", "", "✓ Do\nodd")]
    assert told({"params": {"path": "/a"}, "error": {"code": 1}}) == [
        ("json", "input", '{\n  "path": "/a"\n}'),
        ("json", "error", '{\n  "code": 1\n}'),
    ]
    odds: list[Any] = [{"content": [1, None, {"type": "terminal"}]}, {"rawInput": 3}, {"entries": [[]]}, {"text": 1}]
    for odd in odds:
        assert all(isinstance(block, details.Block) for block in details.blocks(odd))
    image = {"type": "content", "content": {"type": "image", "mimeType": "image/png", "data": "QUI="}}
    assert told({"content": [image]}) == [("link", "", "[image/png, 2 bytes]")]
    long = {**diff, "oldText": "a\n" * 4_000, "newText": "b\n" * 4_000}
    assert told({"content": [long]})[0][2].splitlines() == ["+b"] * 4_000


def test_a_message_is_its_text_and_its_content_in_order() -> None:
    def told(text: str, *content: dict[str, Any]) -> list[tuple[str, str]]:
        return [(block.kind, block.text) for block in details.said(text, list(content) or None)]

    image = {"type": "image", "data": "QUI="}
    one, two = {"type": "text", "text": "one"}, {"type": "text", "text": "two"}
    assert told("") == [("text", "")]
    assert told("beside", image) == [("text", "beside"), ("link", "[image, 2 bytes]")]
    assert told("one", one, image) == [("text", "one"), ("link", "[image, 2 bytes]")]
    assert told("one\ntwo, and more", one, image, two) == [
        ("text", "one"),
        ("link", "[image, 2 bytes]"),
        ("text", "two, and more"),
    ]
    assert told("one, and more", one, image) == [("text", "one"), ("link", "[image, 2 bytes]"), ("text", ", and more")]
    assert told("", image) == [("link", "[image, 2 bytes]")]
    odd: list[dict[str, Any]] = [{}, {"type": "resource", "resource": 3}, {"type": "image", "data": 1, "uri": []}]
    assert [text for _, text in told("", *odd)] == ["[None]", "[resource]", "[image]"]


def test_text_is_split_into_prose_and_code_blocks() -> None:
    assert list(code_blocks.pieces("a\n```py\nb\n```\nc")) == [(["a"], None), (["b"], "py"), (["c"], None)]
    assert list(code_blocks.pieces("````\n```\n````\n")) == [([], None), (["```"], ""), ([], None)]
    assert list(code_blocks.pieces("~~~\n```")) == [([], None), (["```"], "")]


@pytest.mark.parametrize(
    ("text", "columns", "fits"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "ab…"),
        ("風速", 4, "風速"),
        ("風速計", 4, "風…"),
        ("e\u0301e\u0301", 2, "e\u0301e\u0301"),
    ],
)
def test_text_is_truncated_by_display_width(text: str, columns: int, fits: str) -> None:
    assert output.fit(text, columns) == fits
    assert output.width(fits) <= columns


def test_a_coloured_line_is_truncated_by_its_visible_width() -> None:
    paint = output.Paint(True)
    line = paint("red", "abc") + paint("bold", "def")
    assert output.cut(line, 6) == line
    assert COLOUR.sub("", output.cut(line, 5)) == "abcd…"
    assert output.cut(line, 5).endswith("\x1b[0m")
