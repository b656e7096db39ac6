"""The program: `python -m treadle`, and the console script."""

import os
import sys


def run() -> int:
    """Run the command line; its exit status. Nothing but Python's own start was imported before."""
    drop_foreign_paths()
    from treadle.cli import main

    return main()


def drop_foreign_paths() -> None:
    """Import nothing from PYTHONPATH or the current folder, which may be another Python's or anybody's.

    What Python itself has, and the folder that treadle was imported from, stay. Processes that are started inherit the
    variable. A `sitecustomize` in it has run before this.
    """
    import site  # which Python has imported, unless it was told not to

    foreign = {_absolute(entry) for entry in ("", *os.environ.get("PYTHONPATH", "").split(os.pathsep))}
    package = os.path.dirname(_absolute(__file__))  # noqa: PTH120  # pathlib is not imported yet
    own = {os.path.dirname(package), os.path.dirname(os.__file__)}  # noqa: PTH120
    own |= {*site.getsitepackages(), site.getusersitepackages()}
    sys.path[:] = [entry for entry in sys.path if _absolute(entry) not in foreign - own]


def _absolute(path: str) -> str:
    try:
        return os.path.abspath(path)  # noqa: PTH100
    except FileNotFoundError:  # the current folder was deleted: a relative path leads nowhere
        return path


if __name__ == "__main__":
    sys.exit(run())
