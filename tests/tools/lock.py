"""Pins the development dependencies: constraints-dev.txt, which `make` installs from.

`python tests/tools/lock.py` pins the versions that are installed. With --check it changes nothing, and fails if the
file, pyproject.toml and the environment disagree. A pin is not a requirement: the file may pin what only another
version of Python or another platform needs.
"""

import argparse
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
CONSTRAINTS = ROOT / "constraints-dev.txt"
HEAD = "# The versions that the tests passed with, for `pip install --constraint`. Written by `make lock`.\n"


def declared() -> list[Requirement]:
    """The requirements of pyproject.toml, including those for development."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return [Requirement(text) for text in (*project["dependencies"], *project["optional-dependencies"]["dev"])]


def needed(wanted: Iterable[Requirement]) -> dict[str, list[Requirement]]:
    """Every package that is needed here, directly or indirectly, with the requirements on it."""
    found: dict[str, list[Requirement]] = {}
    waiting = [(requirement, "") for requirement in wanted]
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        new = name not in found
        found.setdefault(name, []).append(requirement)
        try:
            below = [Requirement(text) for text in requires(name) or ()]
        except PackageNotFoundError:
            continue  # reported by problems()
        extras = {*requirement.extras, *([""] if new else [])}
        waiting += [(one, extra) for extra in extras for one in below]
    return found


def pinned(text: str) -> dict[str, str]:
    """The versions in a constraints file, by package."""
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    pairs = (line.split("==") for line in lines if line)
    return {canonicalize_name(name): number for name, number in pairs}


def installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def problems(wanted: Iterable[Requirement], pins: dict[str, str]) -> list[str]:
    """The problems found, one sentence each."""
    found = []
    for name, requirements in sorted(needed(wanted).items()):
        if name not in pins:
            found.append(f"{name} is not pinned: run `make lock`")
            continue
        if installed(name) != pins[name]:
            found.append(f"{name} is pinned to {pins[name]}, but {installed(name) or 'nothing'} is installed")
        found += [
            f"{name} is pinned to {pins[name]}, which does not satisfy {one}"
            for one in requirements
            if not one.specifier.contains(pins[name], prereleases=True)
        ]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; fail if something disagrees")
    options = parser.parse_args()
    pins = pinned(CONSTRAINTS.read_text("utf-8")) if CONSTRAINTS.exists() else {}
    if not options.check:
        # Pins that only another Python version needs are kept.
        pins |= {name: number for name in needed(declared()) if (number := installed(name))}
        CONSTRAINTS.write_text(HEAD + "".join(f"{name}=={pins[name]}\n" for name in sorted(pins)), "utf-8")
    wrong = problems(declared(), pins)
    for line in wrong:
        print(f"constraints-dev.txt: {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
