"""Asks about approvals on the terminal: each option has a key."""

import asyncio
import contextlib
import os
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from treadle.agents.rules import Asked, rule_for
from treadle.agents.tool_calls import commands_of, paths_of
from treadle.cli.output import one_line
from treadle.domain.agent_commands import AddRule, RuleMatch, Scope

MOST_PATHS: Final = 10  # that are shown
MOST_NUMBERS: Final = 9
ALWAYS: Final = "A"


class Question(NamedTuple):
    """An approval to ask about. id, title: of the approval. asked: as rules see it."""

    id: str
    title: str
    asked: Asked


class Choice(NamedTuple):
    """What a key does. outcome: the option to choose, None to cancel. match: of the rule to add, if one."""

    label: str
    outcome: str | None
    match: RuleMatch | None = None


def is_form(detail: Any) -> bool:
    """Whether an approval is a form to fill in, which no option alone answers."""
    return isinstance(detail, dict) and "requestedSchema" in detail


def choices(question: Question) -> dict[str, Choice]:
    """What each key does.

    `a` and `d` choose the only option that allows or rejects this one time; without one that rejects, `d` cancels. `A`
    also adds a rule of treadle. Every other option has a number.
    """
    offered = list(question.asked.options)
    if is_form(question.asked.call):
        offered = [option for option in offered if not option.kind.startswith("allow")]
    found: dict[str, Choice] = {}
    allowing, rejecting = ([one for one in offered if one.kind == kind] for kind in ("allow_once", "reject_once"))
    if len(allowing) == 1:
        found["a"] = Choice(allowing[0].name, allowing[0].id)
        if (match := rule_for(question.asked, "allow", Scope(thread_id=question.asked.thread_id))) is not None:
            found[ALWAYS] = Choice("Always: add a rule", allowing[0].id, match)
    if len(rejecting) == 1:
        found["d"] = Choice(rejecting[0].name, rejecting[0].id)
    elif not rejecting:
        found["d"] = Choice("Cancel", None)
    lettered = [choice.outcome for choice in found.values()]
    others = [option for option in offered if option.id not in lettered]
    return found | {str(n): Choice(one.name, one.id) for n, one in enumerate(others[:MOST_NUMBERS], 1)}


def shown(question: Question) -> Iterator[str]:
    """The lines that say what it is about."""
    call = question.asked.call
    yield f"? {one_line(question.title)}"
    yield from (f"  command: {one_line(command)}" for command in commands_of(call))
    paths = paths_of(call)
    yield from (f"  path: {one_line(path)}" for path in paths[:MOST_PATHS])
    if len(paths) > MOST_PATHS:
        yield f"  and {len(paths) - MOST_PATHS} more paths"
    if isinstance(call.get("url"), str):
        yield f"  URL: {one_line(call['url'])}"
    if is_form(call):
        yield "  It is a form: answer it in a client that can show it, or refuse it here."


def _keys(labels: dict[str, str]) -> str:
    return "  " + "  ".join(f"[{key}] {one_line(label)}" for key, label in labels.items())


class Questions:
    """The questions that are open on a terminal, one after the other.

    say: prints a line. answer: gets a question, the chosen option, and the rule to add.
    """

    def __init__(
        self, say: Callable[[str], None], answer: Callable[[Question, str | None, AddRule | None], None]
    ) -> None:
        self._say, self._answer = say, answer
        self._waiting: list[Question] = []
        self._choices: dict[str, Choice] = {}
        self._rule: Choice | None = None  # chosen, and its scope is not
        self._reads = False
        self._before: list[Any] | None = None  # the settings of the terminal

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Leave the terminal as it was at the end of the block."""
        try:
            yield
        finally:
            self._stop()

    def ask(self, question: Question) -> None:
        """Ask, once those before are answered."""
        self._waiting.append(question)
        if len(self._waiting) == 1:
            self._show()

    def close(self, approval_id: str) -> None:
        """The approval was answered elsewhere, or needs no answer any more."""
        was_open = bool(self._waiting) and self._waiting[0].id == approval_id
        self._waiting = [one for one in self._waiting if one.id != approval_id]
        if was_open:
            self._next()

    def _next(self) -> None:
        self._rule = None
        if self._waiting:
            self._show()
        else:
            self._stop()

    def _show(self) -> None:
        self._start()
        question = self._waiting[0]
        self._choices = choices(question)
        for line in shown(question):
            self._say(line)
        self._say(_keys({key: choice.label for key, choice in self._choices.items()}))

    def _start(self) -> None:
        """Read single keys. What was typed before the question is dropped: it is no answer."""
        if self._before is None:
            self._before = termios.tcgetattr(0)
        tty.setcbreak(0, termios.TCSAFLUSH)
        if not self._reads:
            asyncio.get_running_loop().add_reader(0, self._read)
            self._reads = True

    def _stop(self) -> None:
        if self._reads:
            asyncio.get_running_loop().remove_reader(0)
            self._reads = False
        if self._before is not None:
            with contextlib.suppress(termios.error):  # the terminal is gone
                termios.tcsetattr(0, termios.TCSADRAIN, self._before)
            self._before = None

    def _read(self) -> None:
        try:
            typed = os.read(0, 1)
        except OSError:
            typed = b""
        if not typed:  # the terminal is gone; its signal ends this process
            self._stop()
        elif self._waiting:
            self._press(typed.decode("latin-1"))

    def _press(self, key: str) -> None:
        question = self._waiting[0]
        if self._rule is not None:
            self._press_scope(question, self._rule, key)
        elif (choice := self._choices.get(key)) is not None:
            if choice.match is None:
                self._give(question, choice.outcome, None)
                return
            self._rule = choice
            words = (
                " ".join(choice.match.command) if choice.match.command else f"{choice.match.kind} {choice.match.path}"
            )
            self._say(f"  Always allow: {one_line(words)}")
            self._say(_keys({"t": "in this thread", "p": "in this project", "any other key": "back"}))

    def _press_scope(self, question: Question, choice: Choice, key: str) -> None:
        asked = question.asked
        scope = {"t": Scope(thread_id=asked.thread_id), "p": Scope(project_id=asked.project_id)}.get(key)
        if scope is None or choice.match is None:
            self._rule = None
            self._show()
        else:
            self._give(question, choice.outcome, AddRule(scope=scope, match=choice.match, decision="allow"))

    def _give(self, question: Question, outcome: str | None, rule: AddRule | None) -> None:
        self._waiting.pop(0)
        self._answer(question, outcome, rule)
        self._next()
