"""Two people with an editor each, on two machines that share a log."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import wire
from postgres import Database, create_log, make_replica, needs_postgres
from scripted import scripted
from support import PATIENCE, needs
from test_editors import running

pytestmark = [needs_postgres, needs("nvim"), needs("emacs")]


def machine(folder: Path, login: str, log_id: Any) -> list[str]:
    """A data directory with an agent; the command that an editor starts for it."""
    data_dir = make_replica(folder / login, login, log_id)
    agent = scripted("steering", SCRIPTED_SESSIONS=str(data_dir / "sessions"), SCRIPTED_LOG=str(data_dir / "heard"))
    (data_dir / "agents.json").write_text(json.dumps({"agents": {"scripted": agent}}))
    return [sys.executable, "-m", "treadle", "serve", "--data-dir", str(data_dir)]


async def test_two_editors_on_two_machines_talk_to_the_agent_of_one_of_them(database: Database, tmp_path: Path) -> None:
    log_id = create_log()
    commands = [machine(tmp_path, login, log_id) for login in ("ada", "bob")]
    with wire.serving(tmp_path / "ada") as daemon:
        work = {"id": "p", "name": "Demo", "path": str(tmp_path), "remote": "example.org/team/demo"}
        daemon.dispatch("CreateProject", **work)
        daemon.dispatch("CreateThread", threadId="t", projectId="p", title="Retry")
    async with running("neovim", commands[0], tmp_path) as neovim, running("emacs", commands[1], tmp_path) as emacs:
        neovim.choose("pick", "Retry [idle]")
        await neovim.until("# Retry [idle]")
        neovim.choose("agent", "scripted")
        await neovim.until("# Retry (scripted) [idle]")
        neovim.tell("send", "From ada")
        await neovim.until("You said: From ada\n-- completed (end_turn)")
        async with asyncio.timeout(PATIENCE):
            while [one["status"] for one in (await emacs.request("thread/list"))["items"]] != ["idle"]:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        emacs.choose("pick", "Retry [idle]")
        await emacs.until("You said: From ada\n-- completed (end_turn)")
        emacs.tell("send", "From bob")
        for editor in (emacs, neovim):
            await editor.until("You said: From bob\n-- completed (end_turn)")
        assert [await editor.quit() for editor in (neovim, emacs)] == [0, 0]
    assert (tmp_path / "ada" / "heard").exists()
    assert not (tmp_path / "bob" / "heard").exists()
