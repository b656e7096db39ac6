"""Pins the development environment: `python tests/tools/lock.py` writes constraints-dev.txt, `--check` compares it.

The file holds the version of every package that `pip install --editable '.[dev]'` installed, so that contributors and
CI get the same tools. pip applies it with `--constraint`, which ignores packages that are not needed.
"""

import sys
import tomllib
from importlib.metadata import distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "constraints-dev.txt"
NOT_OURS = {"pip", "setuptools", "wheel", "treadle", "atheris"}
"""What a virtual environment brings, the project itself, and what only `make soak` installs."""


def installed() -> dict[str, str]:
    """The version of each package of this environment, by its canonical name."""
    found = {canonicalize_name(one.metadata["Name"]): one.version for one in distributions()}
    return {name: found[name] for name in sorted(found) if name not in NOT_OURS}


def pinned() -> dict[str, str]:
    """The version of each package in the file."""
    lines = [line.partition("#")[0].strip() for line in LOCK.read_text("utf-8").splitlines()]
    return {name: version for name, _, version in (line.partition("==") for line in lines if line)}


def complaints() -> list[str]:
    """What is wrong with the file: packages that are not pinned or pinned otherwise, requirements that are not met."""
    pins, found = pinned(), installed()
    wrong = [f"{name} is installed but not pinned" for name in found.keys() - pins.keys()]
    wrong += [
        f"{name} is pinned to {pins[name]}, installed is {found[name]}"
        for name in found.keys() & pins.keys()
        if pins[name] != found[name]
    ]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for text in [*project["dependencies"], *project["optional-dependencies"]["dev"]]:
        wanted = Requirement(text)
        name = canonicalize_name(wanted.name)
        if wanted.marker is not None and not wanted.marker.evaluate():
            continue
        if name not in pins or not wanted.specifier.contains(pins[name]):
            wrong.append(f"pyproject.toml wants {wanted}, pinned is {pins.get(name, 'nothing')}")
    return sorted(wrong)


def main() -> int:
    """Write the file, or compare it. The exit status is 1 if it differs."""
    if "--check" not in sys.argv[1:]:
        lines = [f"{name}=={version}\n" for name, version in installed().items()]
        LOCK.write_text("# Made by: python tests/tools/lock.py\n" + "".join(lines), "utf-8")
        return 0
    wrong = complaints()
    for line in wrong:
        print(f"constraints-dev.txt: {line}. Run `make lock`", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
