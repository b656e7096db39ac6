"""An agent that repeats itself without end is noticed; text that repeats for a reason is not."""

import itertools
import random
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.agents.runaway import LIMIT, WINDOW, Runaway

SAID = "agent_message_chunk"


def cut(text: str, size: int) -> Iterator[str]:
    return (text[start : start + size] for start in range(0, len(text), size))


def heard(chunks: Iterable[str]) -> int | None:
    """How many characters an agent has said when it is noticed; None if it never is."""
    guard, length = Runaway(), 0
    for chunk in chunks:
        length += len(chunk)
        if guard.hear(SAID, chunk):
            return length
    return None


@settings(max_examples=30, deadline=None)
@given(st.text(min_size=1, max_size=3_000), st.integers(5, 5_000))
def test_text_that_is_repeated_without_end_is_noticed_however_it_is_cut(block: str, size: int) -> None:
    repeated = block * (2 * LIMIT // len(block))
    noticed = heard(cut(repeated, size))
    assert noticed is not None
    assert LIMIT <= noticed <= LIMIT + 2 * len(block) + 2 * size + 1_000


@pytest.mark.parametrize("length", [100, 5_000, WINDOW - 1_000])
def test_a_thought_and_an_answer_that_are_repeated_in_turn_are_noticed(length: int) -> None:
    noise = random.Random(length)
    thought, answer = ("".join(noise.choices("abcdefgh ", k=length // 2)) for _ in range(2))
    guard = Runaway()
    retries = 0
    while not (guard.hear("agent_thought_chunk", thought) or guard.hear(SAID, answer)):
        guard.hear("usage_update")
        retries += 1
    assert retries <= LIMIT / length + 5


@settings(max_examples=30, deadline=None)
@given(st.integers(0))
def test_an_answer_that_breaks_off_at_another_place_each_time_is_noticed(seed: int) -> None:
    noise = random.Random(seed)
    answer = "".join(noise.choices("abcdefghijklmnop \n", k=4_000))
    retries = (answer[: noise.randint(1_000, 4_000)] for _ in range(1_000))
    assert heard(chunk for retry in retries for chunk in cut(retry, 20)) is not None


LEGITIMATE = {
    "dots": ".\n" * 10_000,
    "a line of dashes": "-" * 50_000,
    "equal lines of a log": "WARN deprecated: this module is not supported\n" * 2_000,
    "a numbered log": "".join(f"12:00:00 INFO worker: request {n} was served from the cache\n" for n in range(20_000)),
    "a table": "".join(
        f"| {n:6} | src/components/button-{n % 97}.tsx | {n * 7919 % 1000:4} | ok |\n" for n in range(20_000)
    ),
    "a hexadecimal dump of zeros": "".join(f"{n * 16:08x}  {'00 ' * 16} |{'.' * 16}|\n" for n in range(10_000)),
    "a song": "".join(
        f"{hash((n, 1))} bottles of {hash((n, 2))} on the wall, {hash((n, 3))}\n" + "and so we sing, all day long, " * 8
        for n in range(1_000)
    ),
}


@pytest.mark.parametrize("text", LEGITIMATE.values(), ids=LEGITIMATE.keys())
@pytest.mark.parametrize("size", [7, 100_000])
def test_text_that_repeats_for_a_reason_is_not_a_runaway(text: str, size: int) -> None:
    assert heard(cut(text, size)) is None


@settings(max_examples=8, deadline=None)
@given(st.integers(0), st.integers(5, 3_000))
def test_new_text_is_never_a_runaway(seed: int, size: int) -> None:
    text = "".join(random.Random(seed).choices("abc \n", k=3 * LIMIT))
    assert heard(cut(text, size)) is None


def test_an_agent_that_works_may_say_the_same_each_time() -> None:
    guard = Runaway()
    for _ in range(5_000):
        assert not guard.hear(SAID, "The tests fail. I run them again, with one change more.\n")
        assert not guard.hear("tool_call")


def test_a_runaway_that_comes_to_its_senses_is_none_after_some_new_text() -> None:
    guard = Runaway()
    assert next(n for n in itertools.count() if guard.hear(SAID, "Let me try this again, from the start. "))
    assert not guard.hear(SAID, "".join(map(str, range(10_000))))
