"""`treadle doctor`: check a data directory for problems."""

import argparse
from itertools import chain

from treadle.cli.options import Commands, agents_files_of, data_dir_of

MARKS = {"ok": "ok      ", "warning": "WARNING ", "problem": "PROBLEM "}


def add(commands: Commands) -> None:
    does = "check a data directory for problems"
    more = "Changes nothing. The exit status is 1 if a problem was found."
    command = commands.add("doctor", does, run, more=more, example="treadle doctor --quick")
    command.add_argument("--quick", action="store_true", help="skip the replay of the log")


def run(options: argparse.Namespace) -> int:
    from treadle.server.agent_checks import examine_agents
    from treadle.server.checkpoint_checks import examine_checkpoints
    from treadle.store.sqlite.doctor import examine

    data_dir, files = data_dir_of(options), agents_files_of(options)
    checks = examine(data_dir, quick=options.quick), examine_agents(data_dir, files), examine_checkpoints(data_dir)
    for finding in chain(*checks):
        print(f"{MARKS[finding.verdict]} {finding.check}: {finding.text}", flush=True)
        if finding.verdict == "problem":
            return 1
    return 0
