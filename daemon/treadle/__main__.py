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

    foreign = {os.path.abspath(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep)}  # noqa: PTH100
    foreign.add(os.path.abspath(""))  # noqa: PTH100  # `python -m` puts it first
    package = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120  # pathlib is not imported yet
    own = {os.path.dirname(package), os.path.dirname(os.__file__)}  # noqa: PTH120
    own |= {*site.getsitepackages(), site.getusersitepackages()}
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) not in foreign - own]  # noqa: PTH100


if __name__ == "__main__":
    sys.exit(run())
