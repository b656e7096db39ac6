"""`treadle show`: print a thread in readable form."""

import argparse
from typing import Any

from treadle.cli.options import THREAD, Commands, data_dir_of, positive

MORE = """\
By default the output is text for a terminal: coloured unless NO_COLOR is set, with long tool output truncated. --html
writes one page that needs no network and no scripts. In every format, what people and agents wrote is shown as text and
cannot inject HTML or terminal escape sequences. --json prints the whole thread as `thread/read` returns it.
"""
EXAMPLE = """\
treadle show last | less
treadle show last --html > thread.html
treadle show 019c1412 --markdown --turns 3
"""


def add(commands: Commands) -> None:
    command = commands.add("show", "print a thread in readable form", run, more=MORE, example=EXAMPLE)
    command.add_argument("thread", metavar="THREAD", help=THREAD)
    form = command.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true", help="as Markdown")
    form.add_argument("--html", action="store_true", help="as an HTML page")
    form.add_argument("--json", action="store_true", help="as one JSON text, for programs")
    command.add_argument("--turns", type=positive, metavar="N", help="only the last N turns (default: all)")
    command.add_argument("--full", action="store_true", help="show tool input and output, and diffs, in full")
    command.add_argument("--no-diff", action="store_true", help="without what each turn changed in the files")


def run(options: argparse.Namespace) -> int:
    import sys

    import treadle.cli.output as output
    from treadle.cli.names import thread_named
    from treadle.cli.transcript import Transcript, as_read
    from treadle.store.sqlite.reader import reading

    with reading(data_dir_of(options)) as reader:
        thread_id = reader.read(lambda reads: thread_named(reads, options.thread))
        if options.json:
            output.print_json(as_read(reader, thread_id, options.turns))
            return 0
        changes: dict[str, Any] = {}
        if not options.no_diff:
            from treadle.cli.turn_changes import ChangesReader

            changes["changes_of"] = ChangesReader(reader, thread_id, data_dir_of(options)).of
        transcript = Transcript(reader, thread_id, options.turns, **changes)
        if options.html:
            from treadle.cli.transcript_html import render as as_html

            lines = as_html(transcript)
        elif options.markdown:
            from treadle.cli.transcript_markdown import render as as_markdown

            lines = as_markdown(transcript)
        else:
            from treadle.cli.transcript_text import render as as_text

            lines = as_text(transcript, output.Paint(), full=options.full)
        sys.stdout.writelines(f"{line}\n" for line in lines)
    return 0
