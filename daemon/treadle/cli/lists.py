"""Lists of entities: all pages of a list, the one that a prefix of an id names, and a table."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import msgspec
from msgspec import Raw

import treadle.cli.output as output
from treadle.cli.names import SHOWN, Unclear
from treadle.contract.results import Page
from treadle.domain.entities import Approval, Checkpoint, Prompt, Rule
from treadle.store.pages import LATEST
from treadle.store.sqlite.reader import Reader

PAGE = 500  # entities read at once
WIDEST = 60  # columns of a cell if stdout is not a terminal

E = TypeVar("E", Approval, Checkpoint, Prompt, Rule)


def all_of(kind: type[E], page: Callable[[int, int], Page[Raw]]) -> list[E]:
    """The entities of all pages, oldest first. page: reads one, given its size and the sequence that it ends before."""
    found: list[E] = []
    before = LATEST
    while items := page(PAGE, before).items:
        found += [msgspec.json.decode(item, type=kind) for item in items]
        before = found[-1].sequence
    return found[::-1]


def checkpoints_of(reader: Reader, thread_id: str) -> list[Checkpoint]:
    """The checkpoints of a thread, oldest first."""
    return reader.read(
        lambda reads: all_of(Checkpoint, lambda limit, before: reads.checkpoint_list(thread_id, limit, before))
    )


def one_named(entities: Sequence[E], name: str, what: str, command: str) -> E:
    """The entity with this id or unique prefix. what: of its kind; command: that lists them. Raises Unclear."""
    found = [one for one in entities if one.id == name] or [one for one in entities if one.id.startswith(name)]
    if not found:
        raise Unclear(f"{what} {name!r} not found: `{command}` lists what there is")
    if len(found) > 1:
        more = ", …" if len(found) > SHOWN else ""
        raise Unclear(f"{name!r} is ambiguous: it matches {', '.join(one.id for one in found[:SHOWN])}{more}")
    return found[0]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The lines of a table. The last column is cut to fit the terminal; the others are as wide as they need."""
    rows = [[output.one_line(cell) for cell in row] for row in rows]
    widths = [max(output.width(row[n]) for row in [head, *rows]) for n in range(len(head) - 1)]
    screen = output.columns()
    last = WIDEST if screen is None else max(screen - sum(widths) - 2 * len(widths), 12)
    paint = output.Paint()

    def line(cells: Sequence[str]) -> str:
        *firsts, final = cells
        padded = [output.pad(cell, wide) for cell, wide in zip(firsts, widths, strict=True)]
        return "  ".join([*padded, output.fit(final, last)])

    yield paint("bold", line(head))
    yield from map(line, rows)
