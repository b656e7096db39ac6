"""`treadle doctor`: check a data directory for problems."""

import argparse

from treadle.cli.options import Commands, data_dir_of

MARKS = {"ok": "ok      ", "warning": "WARNING ", "problem": "PROBLEM "}


def add(commands: Commands) -> None:
    does = "check a data directory for problems"
    more = "Changes nothing. The exit status is 1 if a problem was found."
    command = commands.add("doctor", does, run, more=more, example="treadle doctor --quick")
    command.add_argument("--quick", action="store_true", help="skip the replay of the log")


def run(options: argparse.Namespace) -> int:
    from treadle.store.sqlite.doctor import examine

    worst = 0
    for finding in examine(data_dir_of(options), quick=options.quick):
        print(f"{MARKS[finding.verdict]} {finding.check}: {finding.text}", flush=True)
        worst = max(worst, finding.verdict == "problem")
    return worst
