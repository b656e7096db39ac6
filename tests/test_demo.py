"""`make demo` holds, and prints what the README shows."""

import re
import sys

from support import CHECKOUT, output_of


def shape(line: str) -> str:
    """A line without its numbers."""
    return re.sub(r"\d+", "N", line).rstrip()


def test_the_demo_holds_and_prints_what_the_readme_shows() -> None:
    said = iter(map(shape, output_of(sys.executable, str(CHECKOUT / "tests" / "tools" / "demo.py")).splitlines()))
    [shown] = re.findall(r"^```text demo\n(.*?)^```$", (CHECKOUT / "README.md").read_text("utf-8"), re.M | re.S)
    for line in shown.splitlines():
        assert any(one.startswith(shape(line)) for one in said), line  # in this order
