"""acpx, a client of the Agent Client Protocol that knows nothing of treadle, works through `treadle acp` as without."""

import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

import model_server
from acp_editor import behind, ends, said, scripted_agent, thread_of, wait_for_end
from real_agents import FOREIGN, MODULES, NODE, needs_real_agents, real_agent
from wire import PATIENCE, serving

pytestmark = [
    needs_real_agents,
    pytest.mark.skipif(
        not (MODULES / "acpx").exists() and "CI" not in os.environ,
        reason="acpx is not installed: tests/install does that",
    ),
]

Json = dict[str, Any]


def acpx(folder: Path, agent: list[str], prompt: str) -> tuple[int, str]:
    """One prompt to an agent; the exit status, and what editor and agent said, as acpx prints it."""
    home = folder / "acpx-home"
    home.mkdir(exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    environment |= {"HOME": str(home), "PATH": f"{NODE.parent}:{os.environ['PATH']}"}
    workspace = folder / "workspace"
    workspace.mkdir(exist_ok=True)
    command = [str(MODULES / ".bin" / "acpx"), "--agent", shlex.join(agent), "--cwd", str(workspace)]
    command += ["--approve-all", "--format", "json", "exec", prompt]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=3 * PATIENCE, check=False)
    return done.returncode, done.stdout


def session_of(told: str) -> str:
    found = [json.loads(line).get("result", {}) for line in told.splitlines()]
    return str(next(result["sessionId"] for result in found if isinstance(result, dict) and "sessionId" in result))


def test_acpx_and_the_scripted_agent_say_the_same_byte_for_byte(data_dir: Path, tmp_path: Path) -> None:
    prompt = "script=ask script=plan script=tool script=plain"
    status, direct = acpx(tmp_path, scripted_agent(), prompt)
    assert status == 0
    status, through = acpx(tmp_path, behind(data_dir, scripted_agent()), prompt)
    assert status == 0
    session = session_of(through)
    assert through.replace(session, session_of(direct)) == direct
    wait_for_end(data_dir)
    with serving(data_dir) as daemon:
        thread = thread_of(daemon, session)
        assert ends(thread) == ["completed"]
        assert ("user", prompt) in said(thread)
        assert [approval["outcome"] for approval in thread["approvals"]] == ["allow"]


def kinds(told: str) -> list[str]:
    """What was said, without what differs from run to run."""
    found = []
    for message in map(json.loads, told.splitlines()):
        update = message.get("params", {}).get("update", {}) if isinstance(message.get("params"), dict) else {}
        kind = update.get("sessionUpdate", message.get("method", "answer"))
        if kind not in ("available_commands_update", "usage_update", "session_info_update"):  # whenever they like
            found.append(f"{kind} {update.get('content') if kind == 'agent_message_chunk' else ''}")
    return found


def test_acpx_and_a_real_agent_say_the_same(data_dir: Path, tmp_path: Path) -> None:
    with model_server.serving(tmp_path / "asked") as model:
        agent = real_agent("claude", tmp_path / "home", model, {}).config
        wrapper = tmp_path / "agent"
        words = ["exec", "env", *(f"{name}={value}" for name, value in agent.env.items()), agent.command, *agent.args]
        wrapper.write_text(f"#!/bin/sh\n{shlex.join(words)}\n")
        wrapper.chmod(0o755)
        status, direct = acpx(tmp_path, [str(wrapper)], "Hello")
        assert status == 0, direct
        status, through = acpx(tmp_path, behind(data_dir, [str(wrapper)]), "Hello")
        assert status == 0, through
    assert re.sub(r"\s+", " ", "\n".join(kinds(through))) == re.sub(r"\s+", " ", "\n".join(kinds(direct)))
    wait_for_end(data_dir)
    with serving(data_dir) as daemon:
        thread = thread_of(daemon, session_of(through))
        assert ends(thread) == ["completed"]
        texts = [text for role, text in said(thread) if role == "assistant"]
        chunks = [json.loads(line).get("params", {}).get("update", {}) for line in through.splitlines()]
        told = "".join(c["content"]["text"] for c in chunks if c.get("sessionUpdate") == "agent_message_chunk")
        assert "".join(texts) == told != ""
