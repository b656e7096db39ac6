"""Rules answer approvals: a no goes before a question, and that before a yes; what is in doubt is asked."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.agents.path_patterns import path_matches
from treadle.agents.rules import Answered, Asked, answer, answer_all, rule_for
from treadle.agents.shell_words import argv_of, may_run
from treadle.agents.tool_calls import paths_of
from treadle.domain.agent_events import GivenMatch, GivenScope
from treadle.domain.entities import Rule
from treadle.domain.events import OfferedOption
from treadle.domain.ids import Decision
from treadle.domain.paths import normalized

Json = dict[str, Any]

NOW = "2026-01-31T12:00:00.000Z"
FOLDER = "/work/app"
RECORDINGS = Path(__file__).parent / "recordings"
YES, NO = Answered(outcome="yes", rule_id="r"), Answered(outcome="no", rule_id="r")


def options(**kinds: str) -> list[OfferedOption]:
    return [OfferedOption(id=id, name=id, kind=kind) for id, kind in kinds.items()]


USUAL = options(always="allow_always", yes="allow_once", no="reject_once", never="reject_always")


def asked(call: Json, offered: list[OfferedOption] = USUAL, paths: list[str] | None = None) -> Asked:
    resolved = [normalized(f"{FOLDER}/{path}" if path[0] != "/" else path) for path in paths_of(call)]
    return Asked(
        thread_id="t",
        project_id="p",
        agent="claude",
        folder=FOLDER,
        call=call,
        paths=resolved if paths is None else paths,
        options=offered,
    )


def run(command: Any, **more: Any) -> Asked:
    return asked({"kind": "execute", "rawInput": {"command": command, **more}})


def edit(path: str, kind: str = "edit") -> Asked:
    return asked({"kind": kind, "locations": [{"path": path}]})


def rule(decision: Decision, id: str = "r", **members: Any) -> Rule:
    match = {name: members.pop(name) for name in ("kind", "command", "path") if name in members}
    scope = GivenScope(thread_id=members.pop("thread_id", None), project_id=members.pop("project_id", None))
    return Rule(
        sequence=1,
        id=id,
        scope=scope,
        agent=members.pop("agent", None),
        match=GivenMatch(**match),
        decision=decision,
        until=members.pop("until", None),
        created_at=NOW,
    )


GIT_DIFF = rule("allow", command=["git", "diff"])
NPM_TEST = rule("allow", command=["npm", "test"])


# Which rule answers


def test_a_rule_that_denies_goes_before_one_that_asks_and_that_before_one_that_allows() -> None:
    allow = rule("allow", "allows", command=["git", "diff"])
    ask = rule("ask", "asks", kind="execute")
    deny = rule("deny", "denies", command=["git"])
    call = run("git diff")
    assert answer([allow], call, NOW) == Answered(outcome="yes", rule_id="allows")
    assert answer([allow, ask], call, NOW, otherwise="allow") is None
    assert answer([allow, ask, deny], call, NOW) == Answered(outcome="no", rule_id="denies")


def test_without_a_rule_the_user_is_asked_unless_the_run_decides_for_all() -> None:
    call = run("git diff && rm x")
    assert answer([GIT_DIFF], call, NOW) is None
    assert answer([GIT_DIFF], call, NOW, otherwise="allow") == Answered(outcome="yes")
    assert answer([GIT_DIFF], call, NOW, otherwise="deny") == Answered(outcome="no")
    assert answer([rule("deny", command=["rm"])], call, NOW, otherwise="allow") == NO


@pytest.mark.parametrize(
    ("members", "holds"),
    [
        ({}, True),
        ({"thread_id": "t"}, True),
        ({"thread_id": "other"}, False),
        ({"project_id": "p"}, True),
        ({"project_id": "other"}, False),
        ({"agent": "claude"}, True),
        ({"agent": "codex"}, False),
        ({"until": "2026-01-31T12:00:00.001Z"}, True),
        ({"until": NOW}, False),
        ({"until": "2026-01-31T11:59:59.999Z"}, False),
    ],
)
def test_a_rule_out_of_its_scope_or_time_changes_nothing(members: Json, holds: bool) -> None:
    decisions: list[Decision] = ["allow", "deny"]
    for decision, given_answer in zip(decisions, (YES, NO), strict=True):
        made = rule(decision, command=["git"], **members)
        assert answer([made], run("git diff"), NOW) == (given_answer if holds else None)


# Which option is chosen


def test_allow_chooses_the_only_option_that_allows_once() -> None:
    assert answer_all(USUAL, "allow") == Answered(outcome="yes")
    assert answer_all(options(always="allow_always", no="reject_once"), "allow") is None
    assert answer_all(options(this="allow_once", mode="allow_once"), "allow") is None
    assert answer_all([], "allow") is None


def test_deny_chooses_the_first_option_that_rejects_once_and_otherwise_cancels() -> None:
    assert answer_all(USUAL, "deny") == Answered(outcome="no")
    assert answer_all(options(no="reject_once", stop="reject_once"), "deny") == Answered(outcome="no")
    assert answer_all(options(never="reject_always", yes="allow_once"), "deny") == Answered(outcome=None)
    assert answer_all([], "deny") == Answered(outcome=None)


def test_a_rule_that_allows_but_finds_no_option_for_this_one_time_leaves_it_to_the_user() -> None:
    call = asked({"kind": "execute", "rawInput": {"command": "git diff"}}, options(always="allow_always"))
    assert answer([GIT_DIFF], call, NOW, otherwise="deny") is None


# What is never allowed


@pytest.mark.parametrize("kind", ["fetch", "other", "switch_mode", "new_kind", "", None, 7])
def test_a_call_of_such_a_kind_is_never_allowed_by_a_rule_but_may_be_denied(kind: Any) -> None:
    call = asked({"kind": kind, "locations": [{"path": "src/a.py"}], "rawInput": {"command": "git diff"}})
    word = kind if isinstance(kind, str) and kind else "other"
    rules = [rule("allow", **members) for members in ({"path": "**"}, {"command": ["git"]}, {"kind": word}, {})]
    rules += [rule("allow", kind=word, path="**", command=["git"]), rule("allow", kind="edit", path="**")]
    assert answer(rules, call, NOW) is None
    assert answer([*rules, rule("deny", kind=word)], call, NOW) == NO
    assert answer([rule("deny", kind="execute")], call, NOW) == NO


def test_a_kind_alone_allows_nothing_and_a_command_needs_its_first_words() -> None:
    assert answer([rule("allow", kind="read")], edit("src/a.py", "read"), NOW) is None
    assert answer([rule("allow", kind="execute")], run("ls"), NOW) is None
    assert answer([rule("allow", kind="execute", path="**")], run("ls", cwd=FOLDER), NOW) is None


def test_a_command_is_not_taken_from_the_title() -> None:
    call = asked({"kind": "execute", "title": "git diff", "rawInput": {}})
    assert answer([GIT_DIFF], call, NOW) is None
    assert answer([rule("deny", kind="execute")], call, NOW) == NO


def test_a_call_that_reads_by_a_command_is_not_allowed_by_its_path() -> None:
    reads = rule("allow", kind="read", path="src/**")
    location = {"kind": "read", "locations": [{"path": "src/a.py"}]}
    assert answer([reads], asked(location), NOW) == YES
    assert answer([reads], asked({**location, "rawInput": {"command": ["cat", "src/a.py"]}}), NOW) is None
    assert answer([reads], asked({**location, "rawInput": {"command": "view"}}), NOW) == YES


# Commands that are allowed

ALLOWED: list[Any] = [
    "git diff",
    "  git   diff ",
    "git diff --stat",
    "git diff HEAD~1 -- src/a.py",
    "git diff -- 'a file'",
    'git diff -- "a file"',
    "git diff 'a;b' '$x' \"a|b\"",
    "'git' \"diff\"",
    "git diff -- src/é.py",
    "git diff --word-diff-regex='[^ ]'",
    "bash -lc 'git diff'",
    "npm test",
    "npm test -- --watch=false",
    ["git", "diff"],
    ["git", "diff", "--stat"],
    ["bash", "-lc", "git diff"],
    ["/bin/zsh", "-c", "npm test"],
]

NOT_ALLOWED: list[Any] = [
    "git diff; rm x",
    "git diff;rm x",
    "git diff && rm x",
    "git diff&&rm x",
    "git diff || rm x",
    "git diff | sh",
    "git diff |& sh",
    "git diff & rm x",
    "git diff &",
    "git diff > x",
    "git diff >x",
    "git diff >> x",
    "git diff 2> x",
    "git diff >| x",
    "git diff &> x",
    "git diff < x",
    "git diff <<< x",
    "git diff <<EOF\nrm x\nEOF",
    "git diff <(rm x)",
    "git diff >(rm x)",
    "git diff$(rm x)",
    "git diff $(rm x)",
    'git diff "$(rm x)"',
    "git diff `rm x`",
    'git diff "`rm x`"',
    "git diff $x",
    'git diff "$x"',
    "git diff ${x}",
    "git diff $'\\n'",
    'git diff "a\\"; rm x; \\""',
    "git diff '\\' ';rm x;'",
    "git diff \\; rm x",
    "git diff \\",
    "git\\ diff",
    "git diff *",
    "git diff ?.py",
    "git diff [a]",
    "git diff {a,b}",
    "git diff ~/x",
    "git diff =x",
    "git diff HEAD^",
    "git diff !x",
    'git diff "!x"',
    "git diff # x",
    "git diff #x",
    "git diff\nrm x",
    "git diff\r\nrm x",
    "git diff\rrm x",
    "git diff\x0brm x",
    "git diff\x0crm x",
    "git\tdiff",
    "git diff\x00; rm x",
    "git diff\x00",
    "git diff\x1b[2K",
    "git diff\u2028rm x",
    "git diff\u2029rm x",
    "git diff\x85rm x",
    "git\u00a0diff",
    "git\u3000diff",
    "git\u200b diff",
    "git diff \u202egnp.exe",
    "git diff \u2066x",
    "git diff \ufeffx",
    "git diff \ud800",
    "\uff47it diff",
    "g\u0456t diff",
    "git diff 'x",
    'git diff "x',
    "git diff 'x\nrm x'",
    "GIT_DIR=x git diff",
    "GIT_EXTERNAL_DIFF=rm git diff",
    "A+=x git diff",
    "env A=b git diff",
    "git -c core.pager=x diff",
    "git -C /x diff",
    "git --no-pager diff",
    "git difftool",
    "git diff-files",
    "gitdiff",
    "GIT diff",
    "git",
    "git log diff",
    "sudo git diff",
    "time git diff",
    "! git diff",
    "{ git diff; }",
    "(git diff)",
    "if git diff; then rm x; fi",
    "cd /x && git diff",
    "/tmp/git diff",
    "./git diff",
    "npm testing",
    "npm run test",
    "npm test; rm x",
    "bash -c 'git diff; rm x'",
    "bash -c 'git diff' x",
    "bash -x -c 'git diff'",
    "/tmp/bash -c 'git diff'",
    "bash -c \"bash -c 'git diff'\"",
    "",
    " ",
    "''",
    ["git", "diff", ";", "rm"],
    ["git", "diff;rm x"],
    ["git", "diff", "$(rm x)"],
    ["git", "diff", "a b"],
    ["git diff"],
    ["git", "diff", "'a'"],
    ["git", "diff", ""],
    ["git", "diff", "\n", "rm"],
    ["bash", "-lc", "git diff && rm x"],
    ["bash", "-lc", "git", "diff"],
    ["git", "diff", 1],
    [],
    None,
    7,
    {"git": "diff"},
]


@pytest.mark.parametrize("command", ALLOWED, ids=repr)
def test_a_command_that_is_only_words_is_allowed_by_its_first_words(command: Any) -> None:
    assert answer([GIT_DIFF, NPM_TEST], run(command), NOW) == YES


@pytest.mark.parametrize("command", NOT_ALLOWED, ids=ascii)
def test_a_command_that_may_do_something_else_is_asked_for(command: Any) -> None:
    assert answer([GIT_DIFF, NPM_TEST], run(command), NOW) is None


@pytest.mark.parametrize(
    "given_input",
    [
        {"command": "git diff", "env": {"GIT_EXTERNAL_DIFF": "rm"}},
        {"command": "git diff", "stdin": "x"},
        {"command": "git diff", "cmd": "rm x"},
        {"command": "git diff", "more": [{"command": "rm x"}]},
        {"command": "git diff", "args": ["; rm x"]},
        {"command": "git diff", "cwd": "/elsewhere"},
        {"command": "git diff", "workdir": "../elsewhere"},
        {"tool": {"command": "git diff"}},
        "git diff",
        ["git", "diff"],
        None,
    ],
    ids=repr,
)
def test_what_stands_beside_a_command_may_make_it_another_one(given_input: Any) -> None:
    assert answer([GIT_DIFF], asked({"kind": "execute", "rawInput": given_input}), NOW) is None


def test_a_command_may_come_with_a_description_its_folder_and_its_arguments() -> None:
    assert answer([GIT_DIFF], run("git diff", description="Show it; all", cwd=f"{FOLDER}/src", timeout=5), NOW) == YES
    assert answer([GIT_DIFF], run("git", args=["diff", "--stat"]), NOW) == YES
    assert answer([GIT_DIFF], asked({"kind": "execute", "rawInput": {"cmd": "git diff"}}), NOW) == YES


@given(
    st.text(st.sampled_from("git dif'\"\\ax=-")),
    st.sampled_from([";", "|", "&", ">", "<", "$(", "$x", "`", "\n", "\0", "*", "(", "{"]),
    st.text(st.sampled_from("git dif'\"\\ax=-")),
)
def test_no_text_with_an_operator_outside_quotes_is_words(before: str, operator: str, after: str) -> None:
    words = argv_of(before + operator + after)
    if words is not None:  # then it is part of a word, between quotes
        assert any(operator in word for word in words)
        assert operator not in ("\n", "\0", "\\")
        assert '"' in before or "'" in before
    assert (
        answer([GIT_DIFF], run("git diff " + before.replace("'", "").replace('"', "") + operator + after), NOW) is None
    )


@given(st.text() | st.text(st.sampled_from("git dif'\";|&$`\\\n ~=!#")))
def test_what_is_read_as_words_strictly_is_found_generously_too(text: str) -> None:
    words = argv_of(text)
    if words is not None:
        assert "\\" not in text
        assert text.isprintable()
        assert words[0] == "" or may_run([text], words[:1])


@pytest.mark.parametrize(
    "text",
    ["a" * 1_000_000, "'" * 1_000_001, "a " * 500_000 + ";", "git diff " + '"a' * 100_001],
    ids=["word", "quotes", "words", "parts"],
)
def test_a_huge_command_is_read_to_its_end(text: str) -> None:
    assert answer([GIT_DIFF, rule("deny", command=["rm"])], run(text), NOW) is None


def test_a_shell_reads_the_same_words() -> None:
    texts = [text for text in ALLOWED if isinstance(text, str) and not text.startswith("bash")]
    for text in texts:
        printed = subprocess.run(["sh", "-c", f"printf '%s\\0' {text}"], capture_output=True, check=True).stdout
        assert printed.decode().split("\0")[:-1] == argv_of(text)


# Commands that are denied

REMOVES = [
    "rm x",
    "rm",
    "cd x && rm -rf y",
    "cd x&&rm y",
    "cd x;rm y",
    "a | rm",
    "a\nrm x",
    "sudo rm x",
    "sudo -u me rm x",
    "/bin/rm x",
    "../bin/rm x",
    "env A=b rm x",
    "A=b rm x",
    "bash -c 'rm x'",
    'bash -lc "rm x"',
    "bash -c \"bash -c 'rm x'\"",
    'bash -c "bash -c \\"rm x\\""',
    "eval 'rm x'",
    "x=$(rm y)",
    'echo "$(rm y)"',
    "echo `rm y`",
    "find . -exec rm {} +",
    "ls | xargs rm",
    "ls | xargs -0 /bin/rm -f",
    "timeout 5 rm x",
    "nohup rm x &",
    "(rm x)",
    "{ rm x; }",
    "{rm,-rf,x}",
    "if true; then rm x; fi",
    "\\rm x",
    "r\\m x",
    "r\\\nm x",
    "r''m x",
    '"rm" x',
    "'rm' x",
    "$'rm' x",
    ">out rm x",
    "2>&1 rm x",
    "git -c alias.x='!rm y' x",
    "git --exec=rm x",
    "cat <<EOF | sh\nrm x\nEOF",
    "# it isn't\nrm x",
    "RM x",
    "rm\0 x",
    "rm 'x",
    "ssh host 'cd y; rm x'",
]


@pytest.mark.parametrize(
    "command", [*REMOVES, ["rm", "x"], ["bash", "-lc", "cd x && rm y"], ["sudo", "/bin/rm"]], ids=repr
)
def test_a_denied_program_is_found_wherever_it_may_run(command: Any) -> None:
    deny = rule("deny", command=["rm"])
    allow = rule("allow", "a", command=[command.split()[0] if isinstance(command, str) else command[0]])
    for call in (run(command), asked({"kind": "read", "rawInput": {"tool": [{"cmd": command}]}})):
        assert answer([allow, deny], call, NOW) == NO


@pytest.mark.parametrize(
    "command", ["git push", "git -C x push", "cd x && git push -f", "git 2>&1 push", "sudo git push"]
)
def test_the_words_after_a_denied_program_may_have_options_between_them(command: str) -> None:
    for prefix in (["git", "push"], ["git push"], ["/usr/bin/git", "push"]):
        assert answer([rule("deny", command=prefix)], run(command), NOW) == NO


@pytest.mark.parametrize(
    "command", ["git log", "git status && npm run push", 'git commit -m "don\'t push"', "gitk push", "push git", ""]
)
def test_another_command_is_not_denied(command: str) -> None:
    assert answer([rule("deny", command=["git", "push"])], run(command), NOW) is None


@given(st.sampled_from(REMOVES) | st.text(), st.lists(st.sampled_from(["allow", "ask"]), max_size=3), st.randoms())
def test_no_rule_outweighs_one_that_denies(command: str, others: list[Decision], random: Any) -> None:
    rules = [rule(other, "other", command=["rm"]) for other in others]
    rules += [rule("deny", kind="execute"), rule("allow", "other", command=(command.split() or ["x"])[:1])]
    random.shuffle(rules)
    assert answer(rules, run(command), NOW, otherwise="allow") == NO


# Paths


@pytest.mark.parametrize(
    ("pattern", "path", "allowed"),
    [
        ("src/**", "src/a.py", True),
        ("src/**", "src/x/y/a.py", True),
        ("src/", "src/x/a.py", True),
        ("./src/*", "src/a.py", True),
        ("src/*", "src/x/a.py", False),
        ("src/**/*.py", "src/a.py", True),
        ("src/**/*.py", "src/x/y/a.py", True),
        ("src/**/*.py", "src/x/y/a.txt", False),
        ("**/test_?.py", "a/b/test_1.py", True),
        ("**", "a", True),
        ("*", "a/b", False),
        ("[ab].py", "a.py", True),
        ("src/a.py", f"{FOLDER}/src/a.py", True),
        ("src/**", f"{FOLDER}/./src//x/../a.py", True),
        (f"{FOLDER}/src/**", "src/a.py", True),
        ("/etc/**", "/etc/hosts", True),
        ("src/**", "src/../b.py", False),
        ("src/**", "src/../../b.py", False),
        ("**", "../b.py", False),
        ("**", "/etc/passwd", False),
        ("**", f"{FOLDER}2/a.py", False),
        ("**", f"{FOLDER}/../app2/a.py", False),
        ("src/../**", "b.py", False),
        ("../**", "../b.py", False),
        ("src", "src/a.py", False),
        ("**", ".git/hooks/pre-commit", False),
        ("src/**", "src/.env", False),
        (".github/**", ".github/x.yml", True),
        ("**/.env", "x/.env", True),
        ("SRC/**", "src/a.py", False),
        ("cafe\u0301/*", "caf\u00e9/a", True),
        ("**", "~/a.py", False),
        ("**", "$HOME/a.py", False),
        ("**", "a.py, ../../etc/passwd", False),
        ("**", "src\\..\\a.py", False),
        ("**", "http://host/a.py", False),
        ("**", "a\n.py", False),
        ("**", "file:///etc/passwd", False),
        ("**", f"file://{FOLDER}/a%20b.py", True),
    ],
)
def test_a_path_is_allowed_if_a_pattern_matches_all_of_it(pattern: str, path: str, allowed: bool) -> None:
    assert answer([rule("allow", kind="edit", path=pattern)], edit(path), NOW) == (YES if allowed else None)


def test_all_paths_have_to_be_allowed_and_one_denied_is_enough() -> None:
    call = asked({"kind": "edit", "locations": [{"path": "src/a.py"}, {"path": "secret/b.py"}]})
    assert answer([rule("allow", path="src/**")], call, NOW) is None
    assert answer([rule("allow", path="**")], call, NOW) == YES
    for pattern in ("secret/**", "SECRET/", "/WORK/app/secret/*", "**/b.*"):
        assert answer([rule("allow", path="**"), rule("deny", path=pattern)], call, NOW, "allow") == NO


def test_a_rule_that_denies_matches_names_with_a_dot() -> None:
    assert answer([rule("deny", path="**")], edit(".git/config"), NOW) == NO
    assert answer([rule("deny", path="**/*.env")], edit("x/.env"), NOW) == NO


def test_a_call_without_a_path_matches_no_rule_with_one() -> None:
    call = asked({"kind": "search", "rawInput": {"query": "x"}})
    assert answer([rule("allow", path="**"), rule("deny", path="**"), rule("ask", path="**")], call, NOW) is None


def test_a_link_counts_as_what_it_leads_to_and_for_a_no_as_itself_too() -> None:
    call = asked({"kind": "edit", "locations": [{"path": "src/link"}]}, paths=["/etc/passwd"])
    assert answer([rule("allow", path="src/**")], call, NOW) is None
    assert answer([rule("deny", path="src/**")], call, NOW) == NO
    assert answer([rule("deny", path="/etc/**")], call, NOW) == NO


def test_paths_that_were_not_all_resolved_allow_nothing() -> None:
    call = {"kind": "edit", "locations": [{"path": "src/a.py"}, {"path": "src/link"}]}
    assert answer([rule("allow", path="src/**")], asked(call, paths=[f"{FOLDER}/src/a.py"]), NOW) is None
    assert answer([rule("allow", path="src/**")], asked(call, paths=[]), NOW) is None


@given(st.lists(st.sampled_from(["..", ".", "src", "a", "", "...", ".x"]), min_size=1, max_size=12).map("/".join))
def test_no_path_with_dots_leaves_the_folder(path: str) -> None:
    depth = 0
    left = path.startswith("/")  # then it is an absolute path, of which none begins with the folder
    for name in path.split("/"):
        depth += {"..": -1, ".": 0, "": 0}.get(name, 1)
        left = left or depth < 0
    if left:  # a path that comes back names the folder again, which these names do not
        assert not path_matches("**", path, FOLDER, generous=False)
        assert not path_matches("src/**", path, FOLDER, generous=True)


@pytest.mark.parametrize(
    ("call", "paths"),
    [
        ({}, []),
        ({"locations": [{"path": "a"}, {"path": "a", "line": 3}, {}, None]}, ["a"]),
        ({"content": [{"type": "diff", "path": "a", "newText": "path: b"}, {"type": "content"}]}, ["a"]),
        ({"rawInput": {"file_path": "a", "content": "x"}}, ["a"]),
        ({"rawInput": {"filePath": "a", "filepath": "b", "abs_path": "c", "notebook_path": "d"}}, ["a", "b", "c", "d"]),
        ({"rawInput": {"paths": ["a", "b", 7], "cwd": "/c"}}, ["a", "b", "/c"]),
        ({"rawInput": {"files": [{"path": "a", "movePath": "b"}]}}, ["a", "b"]),
        ({"rawInput": {"changes": {"/x/a": {"update": {"move_path": "/x/b"}}}}}, ["/x/a", "/x/b"]),
        ({"rawInput": {"path": "src", "pattern": "../../**"}}, ["src", "../../**"]),
        ({"rawInput": {"path": "src", "pattern": "*.py"}}, ["src"]),
        ({"rawInput": {"uri": "file:///x/a%20b"}}, ["/x/a b"]),
        ({"rawInput": "path"}, []),
        ({"locations": "a", "content": {}, "rawInput": 7}, []),
    ],
)
def test_paths_of_a_call_are_found_wherever_agents_put_them(call: Json, paths: list[str]) -> None:
    assert sorted(paths_of(call)) == sorted(paths)


# Always


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("git diff --stat", ["git", "diff"]),
        ("bash -lc 'npm test'", ["npm", "test"]),
        ("npm run build", ["npm", "run", "build"]),
        ("git config user.name me", ["git", "config", "user.name", "me"]),
        ("python3 greet.py", ["python3", "greet.py"]),
        ("make", None),
        ("rm build", None),
        ("/bin/rm build", None),
        ("sudo apt install x", None),
        ("git diff | cat", None),
        ("git diff ''", ["git", "diff"]),
        ("x ''", None),
        ("x " + "y " * 100, None),
    ],
)
def test_always_allowing_a_command_allows_its_first_words(command: str, words: list[str] | None) -> None:
    made = rule_for(run(command), "allow", GivenScope())
    assert (made and (made.kind, made.command, made.path)) == (words and ("execute", words, None))


def test_always_denying_a_command_may_be_about_a_bare_program() -> None:
    made = rule_for(run("make"), "deny", GivenScope())
    assert made is not None
    assert made.command == ["make"]


@pytest.mark.parametrize("path", ["src/a.py", "a[1]*?.py", ".env", "/etc/hosts", "é/e\u0301"])
def test_always_allowing_a_path_allows_only_this_path(path: str) -> None:
    for scope in (GivenScope(), GivenScope(thread_id="t"), GivenScope(project_id="p")):
        made = rule_for(edit(path), "allow", scope)
        assert made is not None
        assert made.path is not None
        assert made.path.startswith("/") == (scope == GivenScope() or path.startswith("/"))
        made_rule = rule("allow", kind=made.kind, path=made.path)
        assert answer([made_rule], edit(path), NOW) == YES
        for other in ("src/b.py", "a1x.py", "etc/hosts", path + "/x", path + "x"):
            assert answer([made_rule], edit(other), NOW) is None


def test_always_is_not_offered_for_what_no_rule_allows_or_names_several_paths() -> None:
    for kind in ("fetch", "other", "switch_mode"):
        assert rule_for(edit("a", kind), "allow", GivenScope()) is None
        assert rule_for(asked({"kind": kind}), "deny", GivenScope()) is None
    assert rule_for(asked({"kind": "edit", "locations": [{"path": "a"}, {"path": "b"}]}), "deny", GivenScope()) is None
    assert rule_for(run("git diff", cwd="/elsewhere"), "allow", GivenScope()) is None


# Agents as they are


def requests_of(recording: str) -> list[Json]:
    lines = map(json.loads, (RECORDINGS / recording).read_text("utf-8").splitlines())
    messages = [line.get("msg", {}) for line in lines]
    return [m["params"] for m in messages if m.get("method") == "session/request_permission"]


def recorded(recording: str) -> list[Asked]:
    calls = [(p.get("toolCall") or p["subject"]["toolCall"], p["options"]) for p in requests_of(recording)]
    return [
        Asked(
            thread_id="t",
            project_id="p",
            agent="a",
            folder="/workspace/demo",
            call=call,
            paths=paths_of(call),
            options=[OfferedOption(id=o["optionId"], name=o["name"], kind=o["kind"]) for o in offered],
        )
        for call, offered in calls
    ]


def test_rules_answer_what_recorded_agents_asked() -> None:
    rules = [
        rule("allow", "python", command=["python3", "-c"]),
        rule("allow", "edits", kind="edit", path="*.py"),
        rule("deny", "log", command=["git", "log"]),
        rule("deny", "cat", command=["cat"]),
    ]
    opencode = [answer(rules, call, NOW) for call in recorded("opencode-retry-helper.jsonl")]
    assert set(opencode) == {
        Answered(outcome="once", rule_id="python"),
        Answered(outcome="once", rule_id="edits"),
        Answered(outcome="reject", rule_id="log"),
    }
    codex = [answer(rules, call, NOW) for call in recorded("codex-greeting-acp-v2.jsonl")]
    assert codex == [None, Answered(outcome="cancel", rule_id="cat"), None]
