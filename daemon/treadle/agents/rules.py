"""Rules: they answer the approvals that an agent asks for, so that the user is asked only for the rest.

Pure: no clock, no I/O. A rule that denies or asks matches generously, one that allows strictly: what is in doubt is for
the user to answer. A rule always chooses an option for this one time, so that the agent remembers nothing that removing
the rule would not undo.
"""

from collections.abc import Iterable, Sequence

from msgspec import Struct

from treadle.agents.path_patterns import exact_pattern, path_matches, relative_to
from treadle.agents.shapes import Json
from treadle.agents.shell_words import argv_of, may_run
from treadle.agents.tool_calls import command_of, commands_of, is_certain, kind_of_call, paths_of
from treadle.domain.agent_commands import RuleMatch
from treadle.domain.agent_events import GivenMatch, GivenScope
from treadle.domain.commands import ApprovalOption
from treadle.domain.entities import Rule
from treadle.domain.events import OfferedOption
from treadle.domain.ids import Decision, Timestamp

Options = Sequence[OfferedOption | ApprovalOption]

# `fetch` and `other` may do anything, `switch_mode` changes what is asked for at all, an unknown kind is unknown.
_ALLOWED_BY_PATH = frozenset({"read", "edit", "delete", "move", "search", "think"})

_WITH_ANY_ARGUMENTS = {
    "git": ("add", "blame", "branch", "commit", "diff", "fetch", "log", "ls-files", "rev-parse", "show", "status"),
    "cargo": ("build", "check", "clippy", "fmt", "test"),
    "go": ("build", "test", "vet"),
    "npm": ("test",),
    "pnpm": ("test",),
    "yarn": ("test",),
}
"""Subcommands that stay what they are, whatever arguments follow."""
_FILES = {"chmod", "chown", "cp", "dd", "find", "kill", "ln", "mv", "rm", "rmdir"}
_RUNS_OTHERS = {
    "bash",
    "curl",
    "doas",
    "env",
    "eval",
    "exec",
    "fish",
    "sh",
    "ssh",
    "su",
    "sudo",
    "wget",
    "xargs",
    "zsh",
}
_NEVER_ALWAYS = _FILES | _RUNS_OTHERS
"""Programs of which one more argument makes another act."""


class Asked(Struct, frozen=True, kw_only=True):
    """What an agent asks permission for.

    agent: its name in agents.json. folder: the folder in which it works, absolute, without symbolic links.
    call: the tool call of the Agent Client Protocol: what the request says, over what was announced before.
    paths: for each path of `paths_of(call)`, in the same order, the absolute path that it leads to: a relative one
    joined to the folder, symbolic links resolved as far as the path exists.
    """

    thread_id: str
    project_id: str
    agent: str
    folder: str
    call: Json
    paths: list[str]
    options: Options


class Answered(Struct, frozen=True, kw_only=True):
    """outcome: the id of the option to choose, or None: answer `cancelled`. rule_id: the rule that answers, if one."""

    outcome: str | None
    rule_id: str | None = None


def answer(rules: Iterable[Rule], asked: Asked, now: Timestamp, otherwise: Decision = "ask") -> Answered | None:
    """Return the answer of the rules, or None: ask the user.

    A rule that denies goes before one that asks, and that before one that allows. Rules of another thread, project or
    agent, and those whose time is over, do not count. otherwise: the decision if no rule matches.
    """
    holding = [rule for rule in rules if _holds(rule, asked, now)]
    decisions: tuple[Decision, ...] = ("deny", "ask", "allow")
    for decision in decisions:
        for rule in holding:
            if rule.decision == decision and _matches(rule.match, decision, asked):
                given = answer_all(asked.options, decision)
                return None if given is None else Answered(outcome=given.outcome, rule_id=rule.id)
    return answer_all(asked.options, otherwise)


def answer_all(options: Options, decision: Decision) -> Answered | None:
    """Return the answer that allows or denies whatever it is about, or None: ask the user.

    Allow chooses the only `allow_once`. Of two, one means more than the other: in one mode of Qwen Code the second
    switches the mode. Then the user is asked.

    Deny chooses the first `reject_once`: each is a no, and none is remembered. Without one it answers `cancelled`, not
    `reject_always`: that no would outlive the rule, and treadle could not take it back. No known agent has only that.
    """
    kind = {"allow": "allow_once", "deny": "reject_once", "ask": None}[decision]
    once = [option.id for option in options if option.kind == kind]
    if decision == "deny":
        return Answered(outcome=once[0] if once else None)
    return Answered(outcome=once[0]) if len(once) == 1 else None


def rule_for(asked: Asked, decision: Decision, scope: GivenScope) -> RuleMatch | None:
    """Return what a rule that always decides like this has to match, or None if no narrow rule covers the tool call.

    For a command that is its program and subcommand, if these stay what they are whatever follows, otherwise all of its
    words; for anything else its path, if it has exactly one. In a scope without a thread and a project the path is
    absolute.
    """
    kind = kind_of_call(asked.call)
    if kind == "execute":
        words = _first_words(argv_of(command_of(asked.call)) or [], decision)
        match = RuleMatch(kind=kind, command=words)
        fits = 0 < len(words) <= 100 and all(0 < len(word) <= 4096 for word in words)
    elif len(set(asked.paths)) == 1:
        everywhere = scope.thread_id is None and scope.project_id is None
        path = exact_pattern(asked.paths[0], asked.folder, everywhere=everywhere)
        match, fits = RuleMatch(kind=kind, path=path), len(path) <= 4096
    else:
        return None
    return match if fits and _matches(match, decision, asked) else None


def _first_words(argv: list[str], decision: Decision) -> list[str]:
    if len(argv) > 1 and argv[1] in _WITH_ANY_ARGUMENTS.get(argv[0], ()):
        return argv[:2]
    # The bare name of a program would allow all that it can do.
    return [] if decision == "allow" and (len(argv) < 2 or argv[0].rpartition("/")[2] in _NEVER_ALWAYS) else argv


def _holds(rule: Rule, asked: Asked, now: Timestamp) -> bool:
    return (
        rule.scope.thread_id in (None, asked.thread_id)
        and rule.scope.project_id in (None, asked.project_id)
        and rule.agent in (None, asked.agent)
        and (rule.until is None or now < rule.until)
    )


def _matches(match: GivenMatch, decision: Decision, asked: Asked) -> bool:
    return _allows(match, asked) if decision == "allow" else _concerns(match, asked)


def _concerns(match: GivenMatch, asked: Asked) -> bool:
    """Return whether the tool call may be what a rule that denies or asks is about: rather too often than not."""
    commands = commands_of(asked.call)
    kinds = {kind_of_call(asked.call)} | ({"execute"} if commands else set())
    paths = [*paths_of(asked.call), *asked.paths]
    pattern = match.path
    return (
        (match.kind is None or match.kind in kinds)
        and (match.command is None or may_run(commands, match.command))
        and (pattern is None or any(path_matches(pattern, path, asked.folder, generous=True) for path in paths))
    )


def _allows(match: GivenMatch, asked: Asked) -> bool:
    """Return whether the tool call is certainly what a rule that allows is about, and all of it."""
    kind, named, pattern = kind_of_call(asked.call), paths_of(asked.call), match.path
    if match.kind not in (None, kind) or len(named) != len(asked.paths) or not all(map(is_certain, named)):
        return False
    if kind == "execute":
        if match.command is None or any(relative_to(asked.folder, path) is None for path in asked.paths):
            return False
        argv = argv_of(command_of(asked.call))
        if argv is None or argv[: len(match.command)] != match.command:
            return False
    elif kind not in _ALLOWED_BY_PATH or match.command is not None or pattern is None or commands_of(asked.call):
        return False  # Codex calls a command that only reads files a `read`
    return pattern is None or (
        bool(named) and all(path_matches(pattern, path, asked.folder, generous=False) for path in asked.paths)
    )
