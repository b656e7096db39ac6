"""Finds secrets in text by their documented form, and puts `[redacted: KIND]` in their place."""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final

import msgspec
from msgspec import Struct

from treadle.domain.secret_forms import BEGIN, KEY_BODY, KEY_FOOTER, KEY_HEADER, RULES, SecretForm, compiled

KEY: Final = "redaction"
"""The setting that says whether and what is redacted."""

MARKER: Final = re.compile(r"\[redacted: ([a-z0-9-]+)\]")
MAX_PATTERNS: Final = 50
MAX_PATTERN: Final = 1_000  # characters
CONTEXT: Final = 80  # characters before the end of what is stored that may be the first part of a secret
MAX_UNFINISHED: Final = 8 * 1024  # characters at the end of a text that are looked at for the beginning of a secret


_WORDS: Final = [start for rule in RULES for start in rule.starts if rule.kind not in ("private-key", "url-password")]
_STARTS: Final = {
    sign: tuple((start, rule) for rule in RULES for start in rule.starts if next(filter(start.count, "_-./IJ")) == sign)
    for sign in "_-./IJ"
}
"""The words that secrets begin with, by a character of theirs that many texts do not have. Each has one of these."""

_IN_WORD: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.+/=-"
_BEGUN_WORD: Final = rf"{BEGIN}(?:{'|'.join(map(re.escape, _WORDS))})"
_BEGUN_KEY: Final = rf"-----BEGIN[ A-Z0-9]{{0,64}}-{{0,5}}\Z|{KEY_HEADER}(?:(?!{KEY_FOOTER}){KEY_BODY})*\Z"
_BEGUN_PASSWORD: Final = r"://[^\s/:@\"'<>`]{0,64}:[^\s/@\"'<>`]{0,256}\Z"


class Redactor:
    """Redacts texts. patterns: regular expressions of the user, besides the rules."""

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        self._own = [SecretForm("pattern", (), pattern, "") for pattern in patterns]

    def text(self, text: str) -> str:
        """The text without secrets; the same one if it has none."""
        rules = _rules_for(text)
        return self._replaced(text, rules) if rules or self._own else text

    def split(self, text: str, after: int) -> tuple[str, str]:
        """What can be stored of a text that goes on, without secrets, and the end of it that has begun like a secret.

        after: the number of characters before, which are stored already. They may be the first part of a word that
        secrets begin with, which is no secret itself.
        """
        rules = _rules_for(text)
        if not rules and not self._own:
            return text[after:], ""
        where = _begun(text, rules)
        if where < len(text):  # not within a secret: the last dashes of a private key may begin another
            found = (match for rule in rules for match in compiled(rule.pattern).finditer(text))
            where = min([where, *(match.start() for match in found if match.end() > where)])
        where = max(after, where)
        return self._replaced(text[:where], rules, after)[after:], text[where:]

    def finish(self, text: str, after: int) -> str:
        """What follows in a text that is over, without secrets."""
        return self._replaced(text, _rules_for(text), after)[after:]

    def begun(self, text: str) -> str:
        """What can be stored of a text that comes again as a whole when it grows: without secrets, and without an end
        that has begun like one."""
        rules = _rules_for(text)
        return self._replaced(text[: _begun(text, rules)], rules)

    def _replaced(self, text: str, rules: list[SecretForm], after: int = 0) -> str:
        for rule in rules:
            text = rule.replace(text, after)
        for rule in self._own:
            text = rule.replace(text, after)
        return text


def _rules_for(text: str) -> list[SecretForm]:
    """The rules that may find something: most texts have none of the words that secrets begin with."""
    return [rule for sign, starts in _STARTS.items() if sign in text for start, rule in starts if start in text]


def _begun(text: str, rules: list[SecretForm]) -> int:
    """Where the end of the text has begun like a secret; its length if it has not."""
    where = len(text)
    if not rules:
        return where
    begin = max(0, where - MAX_UNFINISHED - CONTEXT)
    if found := compiled(_BEGUN_WORD).search(text, max(begin, len(text.rstrip(_IN_WORD)))):
        where = found.start()
    if found := compiled(_BEGUN_PASSWORD).match(text, max(0, text.rfind("://"))):
        where = min(where, found.start())
    if "-----BEGIN" in text and (found := compiled(_BEGUN_KEY).search(text, begin)):
        where = min(where, found.start())
    return where


class RedactionSetting(Struct, frozen=True, forbid_unknown_fields=True):
    """The value of the setting."""

    mode: Any = "on"
    patterns: list[str] = []


class BadRedaction(ValueError):
    """The value of the setting is wrong; the message says why."""


def read_setting(value: Any) -> Redactor | None:
    """What redacts by this value of the setting, None if nothing does. Raises BadRedaction."""
    try:
        setting = msgspec.convert({} if value is None else value, RedactionSetting)
    except msgspec.ValidationError as error:
        raise BadRedaction(str(error)) from None
    if setting.mode not in ("on", "off"):
        raise BadRedaction(f'`mode` is {setting.mode!r}: it is "on" or "off"')
    if len(setting.patterns) > MAX_PATTERNS:
        raise BadRedaction(f"there are {len(setting.patterns)} patterns: {MAX_PATTERNS} are allowed")
    for pattern in setting.patterns:
        if len(pattern) > MAX_PATTERN:
            raise BadRedaction(f"a pattern has {len(pattern)} characters: {MAX_PATTERN} are allowed")
        try:
            is_empty = re.compile(pattern).search("")
        except (re.error, OverflowError, RecursionError) as error:
            raise BadRedaction(f"the pattern {pattern!r} is no regular expression: {error}") from None
        if is_empty:
            raise BadRedaction(f"the pattern {pattern!r} matches the empty text, and so every text")
    return Redactor(setting.patterns) if setting.mode == "on" else None


@lru_cache(maxsize=8)
def redactor_of(setting: str | None) -> Redactor | None:
    """What redacts by the setting, given as JSON text, or None if it is not set. A wrong one counts as not set."""
    try:
        return read_setting(None if setting is None else msgspec.json.decode(setting))
    except BadRedaction:  # set by an import of a log, say: a command with such a value is rejected
        return Redactor()
