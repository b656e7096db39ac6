"""`treadle completion`: print a shell completion script."""

import argparse

from treadle.cli.options import Commands

MORE = """\
bash:  treadle completion bash > ~/.local/share/bash-completion/completions/treadle
zsh:   treadle completion zsh > ~/.zfunc/_treadle     (a directory in $fpath)
fish:  treadle completion fish > ~/.config/fish/completions/treadle.fish
"""
EXAMPLE = 'eval "$(treadle completion bash)"'


def add(commands: Commands) -> None:
    does = "print a script that lets a shell complete commands and options"
    command = commands.add("completion", does, run, more=MORE, example=EXAMPLE)
    command.add_argument("shell", choices=["bash", "zsh", "fish"], metavar="SHELL", help="bash, zsh or fish")


def run(options: argparse.Namespace) -> int:
    import shtab

    top = options.parser()
    _complete_files(top)
    print(shtab.complete(top, options.shell))
    return 0


def _complete_files(parser: argparse.ArgumentParser) -> None:
    """Tell shtab which arguments are files or directories, judging by their metavar."""
    import shtab

    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                _complete_files(below)
        elif action.metavar in ("FILE", "DIR"):
            action.complete = shtab.FILE if action.metavar == "FILE" else shtab.DIRECTORY  # type: ignore[attr-defined]
