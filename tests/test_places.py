"""Places for agents: at most so many run, the one that was idle longest leaves first, and no place is lost or made."""

import asyncio

import pytest

from treadle.runner.places import Places


class Holders:
    """What holds places. left: who was asked to leave and did, in this order."""

    def __init__(self, number: int) -> None:
        self.places, self.number = Places(), number
        self.idle: set[str] = set()
        self.left: list[str] = []

    def take(self, name: str) -> "asyncio.Task[None]":
        return asyncio.create_task(self.places.take(name, self.number, lambda: self._leave(name)))

    def becomes_idle(self, name: str) -> None:
        self.idle.add(name)
        self.places.now_idle(name)

    def _leave(self, name: str) -> bool:
        if name in self.idle:
            self.idle.remove(name)
            self.left.append(name)
            self.places.release(name)
            return True
        return False


async def turns() -> None:
    """Let all tasks do what they can."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_the_holder_that_was_idle_longest_leaves_first() -> None:
    holders = Holders(3)
    for name in ("a", "b", "c"):
        await holders.take(name)
    for name in ("a", "b", "c"):
        holders.becomes_idle(name)
    holders.becomes_idle("a")  # it has worked again meanwhile
    await holders.take("d")
    await holders.take("e")
    await holders.take("f")
    assert holders.left == ["b", "c", "a"]


async def test_those_that_wait_get_places_in_their_order_when_a_holder_becomes_idle_or_has_gone() -> None:
    holders = Holders(1)
    await holders.take("a")
    b, c = holders.take("b"), holders.take("c")
    await turns()
    assert [holders.places.is_waiting(name) for name in ("a", "b", "c")] == [False, True, True]
    holders.becomes_idle("a")
    await turns()
    assert (b.done(), c.done()) == (True, False)
    holders.places.release("b")
    await turns()
    assert (c.done(), holders.places.is_waiting("c")) == (True, False)


@pytest.mark.parametrize("given", [False, True])
async def test_one_that_waits_no_more_neither_takes_a_place_nor_makes_one(given: bool) -> None:
    """given: it got the place just before."""
    holders = Holders(1)
    await holders.take("a")
    b = holders.take("b")
    await turns()
    if given:
        holders.places.release("a")
    b.cancel()
    await turns()
    if not given:
        holders.places.release("a")
    assert not holders.places.is_waiting("b")
    c, d = holders.take("c"), holders.take("d")
    await turns()
    assert (c.done(), d.done()) == (True, False)
    holders.places.release("c")
    await d


async def test_a_place_is_given_back_once() -> None:
    holders = Holders(1)
    await holders.take("a")
    holders.places.release("a")
    holders.places.release("a")
    await holders.take("b")
    c = holders.take("c")
    await turns()
    assert not c.done()
    c.cancel()
