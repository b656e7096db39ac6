"""Reads shell commands in two ways: strictly, to allow one, and generously, to find a program that is denied.

Neither runs or expands anything. What only a shell knows is not seen: variables, aliases, functions, what is in a
script, and what a program does with its arguments.
"""

import posixpath
import re
from collections.abc import Iterable
from typing import Any

_SHELLS = frozenset(folder + shell for folder in ("", "/bin/", "/usr/bin/") for shell in ("bash", "sh", "zsh"))
_SCRIPT_OPTIONS = ("-c", "-lc")

# Characters that no common shell gives a meaning, and quotes in which none expands anything. A backslash is refused in
# quotes too: between single quotes it is plain in POSIX shells, and an escape in fish.
_WORD = r"""(?![~=])(?:[\w@%+:,./~=-]|'[^'\\]*'|"[^"\\$`!]*")+"""
_ONLY_WORDS = re.compile(rf" *{_WORD}(?: +{_WORD})* *")
_A_WORD = re.compile(_WORD)
_PART = re.compile(r"""'([^']*)'|"([^"]*)"|([^'"]+)""")
_ASSIGNMENT = re.compile(r"\w+\+?=")

_TOKEN = re.compile(
    r"""
      \\\n
    | \\(?P<escaped>.)
    | \$?'(?P<single>[^']*)(?:'|\Z)
    | \$?"(?P<double>(?:[^"\\]|\\(?:.|\Z))*)(?:"|\Z)
    | (?P<blank>[<>]&?|&>|\$?[(){}]|`|[^\S\r\n])
    | (?P<end>[;|&\r\n])
    | (?P<plain>[^\\'"<>&$(){}`\s;|]+|.)
    """,
    re.VERBOSE | re.DOTALL,
)
_ONE_WORD = re.compile(r"[\w./-]*")


def argv_of(command: Any) -> list[str] | None:
    """Return the words of a command that is words and nothing else, or None.

    command: a text for a shell, or a list of words. The script of `bash -c SCRIPT` is read in its place. Quotes are
    accepted; operators, redirections, substitutions, variables, patterns, backslashes, comments, assignments before the
    program, and everything that is not printable are not.
    """
    if isinstance(command, str):
        words = _words(command)
    else:
        is_list = isinstance(command, list) and all(isinstance(word, str) for word in command)
        words = command if is_list else None
    if words is None:
        return None
    if len(words) == 3 and words[0] in _SHELLS and words[1] in _SCRIPT_OPTIONS:
        return _words(words[2])
    # An agent may join the words of a list and hand them to a shell: they have to mean the same then.
    return words if isinstance(command, str) or _words(" ".join(words)) == words else None


def _words(text: str) -> list[str] | None:
    if not text.isprintable() or _ONLY_WORDS.fullmatch(text) is None:
        return None
    # Not by shlex, whose time grows with the square of a word's length.
    words = ["".join(map("".join, _PART.findall(word))) for word in _A_WORD.findall(text)]
    return None if _ASSIGNMENT.match(words[0]) else words


def may_run(texts: Iterable[str], prefix: list[str]) -> bool:
    """Return whether one of the commands may run a program with the words of `prefix`: rather too often than not.

    The program may stand anywhere in a command, by its name or by a path (`sudo rm`, `xargs /bin/rm`), and in anything
    quoted (`bash -c 'rm x'`); the other words follow it in this order (`git -C x push`). Case is ignored, as macOS does
    for names of programs. Not seen: what a shell computes (`$program`, `r[m]`, `$'\\x72m'`), aliases, scripts, another
    spelling of an option, and what a program does by itself (`find -delete`).
    """
    prefixes = [[_folded(word) for word in words] for words in (prefix, " ".join(prefix).split()) if words]
    return any(_runs(words, wanted) for text in texts for words in _commands(text) for wanted in prefixes)


def _runs(words: list[str], prefix: list[str]) -> bool:
    program = posixpath.basename(prefix[0])
    rest = iter(words)
    return any(posixpath.basename(word) == program for word in rest) and all(word in rest for word in prefix[1:])


def _commands(text: str) -> list[list[str]]:
    """Return the words of every command in the text, and in what it quotes."""
    found: list[list[str]] = []
    texts = [text.replace("\0", "")]  # shells ignore it
    while texts:
        commands, quoted = _split(texts.pop())
        found += commands
        texts += quoted
    return found


def _split(text: str) -> tuple[list[list[str]], list[str]]:
    commands: list[list[str]] = [[]]
    quoted: list[str] = []
    word: list[str] = []

    def end_word() -> None:
        whole = _folded("".join(word))
        parts = re.split("[,=!]", whole)  # {rm,x}, --exec=rm, alias.x=!rm
        commands[-1] += [whole, *parts] if len(parts) > 1 else [whole] if whole else []
        word.clear()

    for token in _TOKEN.finditer(text):
        kind = token.lastgroup
        if kind == "blank":
            end_word()
        elif kind == "end":
            end_word()
            commands.append([])
        elif kind is not None:
            value = token[kind]
            if kind == "double":
                value = re.sub(r'\\([\\"$`\n])', lambda escape: escape[1].strip("\n"), value)
            if kind in ("single", "double") and not _ONE_WORD.fullmatch(value):
                quoted.append(value)
            word.append(value)
    end_word()
    return commands, quoted


def _folded(word: str) -> str:
    return word.casefold()
