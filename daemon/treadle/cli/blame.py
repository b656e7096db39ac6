"""`treadle blame`: which turn of an agent wrote each line of a file."""

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from treadle.cli.options import Commands, add_json, data_dir_of

if TYPE_CHECKING:
    from treadle.contract.results import LineOrigin, Provenance, TurnOrigin

MORE = """\
The checkpoints before and after each turn tell it, whether you have committed since or not. With LINE, it shows the
turn of that line with its prompt. A line that no recorded turn wrote is yours, or older than the checkpoints. One with
`?` may be of that turn: several ran at the same time, or its end has no checkpoint.
"""
EXAMPLE = """\
treadle blame src/parser.py
treadle blame src/parser.py:120
"""
TITLE = 24
"""Columns of the title of a thread."""
NOT_A_TURN = {
    "between": "it was changed between two checkpoints, outside of a turn",
    "since": "it was changed after the last checkpoint",
    "earlier": "it was there in the first checkpoint",
}


def add(commands: Commands) -> None:
    command = commands.add("blame", "show which turn wrote each line of a file", run, more=MORE, example=EXAMPLE)
    command.add_argument("file", metavar="FILE[:LINE]", help="a file of a project, and the number of a line")
    add_json(command, "the result of `provenance/find`")


def run(options: argparse.Namespace) -> int:
    import os

    import msgspec

    import treadle.cli.output as output
    from treadle.cli.own_daemon import result_of
    from treadle.contract.results import Provenance
    from treadle.store.sqlite.reader import require_database

    data_dir = data_dir_of(options)
    require_database(data_dir)
    name, line = _split(options.file)
    params = {"path": os.path.abspath(name), "line": line}  # noqa: PTH100  # as project_named does
    result = result_of(data_dir, "provenance/find", params)
    if options.json:
        output.print_json(result)
        return 0
    found = msgspec.json.decode(result, type=Provenance)
    for text in _table(found, name) if line is None else _details(found, line):
        print(text)
    return 0


def _split(file: str) -> tuple[str, int | None]:
    """The file and the line. A file that is called so is meant whole."""
    import os

    name, colon, number = file.rpartition(":")
    if colon and number.isascii() and number.isdecimal() and not os.path.lexists(file):
        return name, int(number)
    return file, None


def _table(found: "Provenance", name: str) -> Iterator[str]:
    from pathlib import Path

    import treadle.cli.output as output

    texts = [output.clean(text.decode(errors="replace")) for text in Path(name).read_bytes().split(b"\n")]
    paint, digits = output.Paint(), len(str(len(texts)))
    for lines in found.lines:
        head = output.pad(_head(lines, found.turns), 8 + 1 + TITLE + 2 + 16)
        for number in range(lines.start, min(lines.start + lines.count, len(texts) + 1)):
            yield f"{paint('cyan' if lines.turns else 'dim', head)} {number:>{digits}}) {texts[number - 1]}"
    if found.cut:
        yield "(only the newest checkpoints were looked at)"


def _head(lines: "LineOrigin", turns: "list[TurnOrigin]") -> str:
    """The start of the id of a turn's thread, its title, and the time of the turn; or that it was no turn."""
    import treadle.cli.output as output

    if not lines.turns:
        return f"{'-' * 8} not by a recorded turn"
    turn = turns[lines.turns[-1]]
    mark = " " if lines.by == "turn" else "?"
    title = output.pad(output.fit(output.one_line(turn.title), TITLE), TITLE)
    return f"{turn.thread_id[:8]:8} {title}{mark} {output.to_the_minute(turn.started_at)}"


def _details(found: "Provenance", number: int) -> Iterator[str]:
    import treadle.cli.output as output

    lines = found.lines[0]
    if not lines.turns:
        yield f"line {number} was not written by a recorded turn: {NOT_A_TURN[lines.by]}"
        if found.cut:
            yield "only the newest checkpoints were looked at"
        return
    if lines.by == "turn":
        yield f"line {number} was written in this turn, as line {lines.line} of {output.one_line(lines.path)}:"
    else:
        yield f"line {number} was perhaps written in one of these turns, or by someone else meanwhile:"
    for turn in (found.turns[position] for position in lines.turns):
        yield f"  thread  {turn.thread_id}  {output.one_line(turn.title)}"
        yield f"  turn    {turn.turn_id}  {output.to_the_minute(turn.started_at)}"
        yield f"  agent   {output.one_line(turn.agent) if turn.agent else 'not known'}"
        yield f"  prompt  {output.one_line(turn.prompt) if turn.prompt else 'none'}"
