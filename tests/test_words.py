"""Retired words do not come back in what users read: the README, the docs, help and messages of the command line.

treadle's texts once read as if translated, and errors used words that nobody searches for. Each retired word is
listed with the usual one. The glossary in docs/architecture.md says which term means what.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RETIRED = {
    r"anew": "again, from scratch",
    r"mend(s|ed|ing)?": "fix",
    r"(is|are|was|were) (?-i:none)": "does not exist, is not, is invalid",
    r"(is|are) no (JSON|FTS5|id|object|option|folder)": "is not, is invalid",
    r"(give|gives|given|giving|gave) up": "time out, abort",
    r"of here": "local",
    r"whoever": "anyone who, for authors of",
    r"(carry|carries|carried) (it )?on": "continue",
    r"go(es)? on": "continue, keep running",
    r"who (is|are|was) gone": "has exited",
    r"to begin with": "to start from",
    r"in vain": "without effect",
    r"for company": "to be merged with",
    r"pass(es|ed)? over": "ignore",
    r"asked for wrongly": "usage error",
    r"say (which|more of|where it is)": "specify",
    r"so many": "N",
    r"the last changed": "most recently changed",
    r"(line|event|token|second|text|frame|hit) a (line|event|token|second)": "per",
}
"""A pattern of whole words, and what to write instead."""

WORDS = re.compile("|".join(rf"(?P<_{n}>\b(?:{pattern})\b)" for n, pattern in enumerate(RETIRED)), re.IGNORECASE)
ADVICE = list(RETIRED.values())

PAGES = ["README.md", *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").glob("*.md")))]
SOURCES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "daemon" / "treadle").rglob("*.py"))


def retired(text: str) -> list[str]:
    """Each retired word in the text, with what to write instead."""
    return [
        f"«{found[0]}»: {ADVICE[int(str(found.lastgroup)[1:])]}" for found in WORDS.finditer(" ".join(text.split()))
    ]


def said(page: str) -> str:
    """The text of a page, without what the daemon answered, generated tables, names of tests, and links."""
    text = re.sub(r"^```(?!text help).*?^```$", "", page, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"<!-- made: .*?<!-- /made -->", "", text, flags=re.DOTALL)
    return re.sub(r"`test_\w+`|\]\([^)]*\)|<!-- .*? -->", "", text)


def strings(source: str) -> Iterator[str]:
    """The string literals of a module other than docstrings."""
    tree = ast.parse(source)
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.value


@pytest.mark.parametrize("page", PAGES)
def test_pages_contain_no_retired_words(page: str) -> None:
    assert retired(said((ROOT / page).read_text("utf-8"))) == []


@pytest.mark.parametrize("source", SOURCES)
def test_messages_contain_no_retired_words(source: str) -> None:
    assert [word for text in strings((ROOT / source).read_text("utf-8")) for word in retired(text)] == []


@pytest.mark.parametrize(
    "text", ["Fill the projections anew.", "the cursor is none", "It is given up after 10 s", "MEND it"]
)
def test_retired_words_are_found(text: str) -> None:
    assert len(retired(text)) == 1


def test_words_that_only_contain_a_retired_word_are_not_found() -> None:
    assert retired("an amendment to a belief: recommend, cannot, otherwise") == []


def test_docstrings_are_not_checked_as_messages() -> None:
    assert list(strings('"""Anew."""\nx = "mend"\n')) == ["mend"]
