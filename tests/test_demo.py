"""`make demo` holds, and prints what the README shows."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripted import Json, scripted
from support import CHECKOUT, output_of
from wire import PATIENCE

DEMO = str(CHECKOUT / "tests" / "tools" / "demo.py")


def shape(line: str) -> str:
    """A line without its numbers."""
    return re.sub(r"\d+", "N", line).rstrip()


def test_the_demo_holds_and_prints_what_the_readme_shows() -> None:
    said = iter(map(shape, output_of(sys.executable, DEMO).splitlines()))
    [shown] = re.findall(r"^```text demo\n(.*?)^```$", (CHECKOUT / "README.md").read_text("utf-8"), re.M | re.S)
    for line in shown.splitlines():
        assert any(one.startswith(shape(line)) for one in said), line  # in this order


def with_agents(folder: Path, name: str, **agents: Json) -> "subprocess.CompletedProcess[str]":
    """Run the demo with an agent that the user has configured."""
    (folder / "treadle").mkdir()
    (folder / "treadle" / "agents.json").write_text(json.dumps({"agents": agents}))
    env = {**os.environ, "XDG_CONFIG_HOME": str(folder), "TREADLE_DEMO_AGENT": name}
    return subprocess.run(
        [sys.executable, DEMO], env=env, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def test_the_demo_runs_a_configured_agent_and_says_what_that_cannot_do(tmp_path: Path) -> None:
    done = with_agents(tmp_path, "mine", mine=scripted("demo", "no-load", "no-resume"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("not possible with mine: it continues no session")
    assert re.search(r"^  how the session was opened again +new$", done.stdout, re.MULTILINE)
    assert re.search(r"^  approvals answered by the other window +1$", done.stdout, re.MULTILINE)
    assert done.stdout.endswith("all of it held\n")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "it is not in "),
        (["die"], "the agent exited with status 3"),
        (["auth-on-new"], "the agent needs a login: `treadle agents login mine`"),
    ],
)
def test_the_demo_says_why_it_is_not_possible_with_an_agent(tmp_path: Path, words: list[str], says: str) -> None:
    done = with_agents(tmp_path, "mine", **({"mine": scripted(*words)} if words else {}))
    assert done.returncode == 1
    assert f"the demo is not possible with mine: {says}" in done.stdout
