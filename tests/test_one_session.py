"""A session of a tool is one thread, whether treadle records it first or imports it first."""

import os
from pathlib import Path
from typing import Any

import pytest

from acp_editor import Editor, behind, said, scripted_agent, wait_for_end
from histories import Claude, Json, write
from test_import_histories import HOMES, User
from wire import serving


class Session:
    """A session of the scripted agent, which its tool keeps in a file as Claude Code does."""

    def __init__(self, user: User, folder: Path) -> None:
        self.user, self.folder = user, folder
        self.env = {**os.environ, "SCRIPTED_SESSIONS": str(folder / "sessions")}
        self.id = ""
        self.records: list[Json] = []

    def talk(self, program: list[str], *prompts: str) -> None:
        """Open the session, or load it, and send prompts."""
        editor = Editor(program, env=self.env)
        if self.id:
            editor.initialize()
            editor.call("session/load", sessionId=self.id, cwd=str(self.folder), mcpServers=[])
        else:
            self.id = editor.start(self.folder)
            self.claude = Claude(self.id)
        for prompt in prompts:
            editor.prompt(self.id, prompt)
        editor.leave()

    def talk_behind_treadle(self, *prompts: str) -> None:
        self.talk(behind(self.user.data_dir, scripted_agent(), "--agent", "claude"), *prompts)
        wait_for_end(self.user.data_dir)

    def writes(self, prompt: str, **members: Any) -> None:
        """The tool writes a turn into its file."""
        id = f"u{len(self.records)}"
        self.records += [self.claude.user(id, prompt, **members)]
        self.records += [self.claude.assistant(f"a-{id}", {"type": "text", "text": "Done."}, **members)]
        write(self.user.home / f".claude/projects/-work-shop/{self.id}.jsonl", self.records)

    def threads(self) -> list[Json]:
        with serving(self.user.data_dir) as daemon:
            items: list[Json] = daemon.result("thread/list")["items"]
            return [daemon.result("thread/read", {"threadId": item["id"], "turnLimit": 200}) for item in items]

    def prompts(self) -> list[str]:
        """The prompts of the only thread."""
        [thread] = self.threads()
        return [text for role, text in said(thread) if role == "user"]


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    for name in HOMES:
        monkeypatch.delenv(name, raising=False)
    return Session(User(tmp_path), tmp_path)


def test_a_session_that_was_recorded_is_not_imported(session: Session) -> None:
    session.talk_behind_treadle("script=plain")
    session.writes("script=plain")
    report = session.user.take("claude")
    assert report["skipped"]["a session that treadle ran or recorded itself"] == 1
    assert session.prompts() == ["script=plain"]


def test_a_session_that_was_imported_is_recorded_in_its_thread_and_imported_again_with_nothing_twice(
    session: Session,
) -> None:
    session.talk(scripted_agent(), "script=plain")
    session.writes("script=plain")
    session.user.take("claude")
    session.talk_behind_treadle("script=tool")
    assert session.prompts() == ["script=plain", "script=tool"]

    # The tool itself has the turn, too.
    [thread] = session.threads()
    assert thread["threads"][0]["id"] == f"claude:{session.id}"
    turn = thread["turns"][-1]
    session.writes("script=tool", timestamp=turn["startedAt"])
    assert session.user.take("claude")["events"] == 0

    # What it does afterwards is new.
    session.writes("script=plan", timestamp="2099-01-01T00:00:00.000Z")
    session.user.take("claude")
    assert session.prompts() == ["script=plain", "script=tool", "script=plan"]
    session.talk_behind_treadle("script=usage")
    assert session.prompts() == ["script=plain", "script=tool", "script=plan", "script=usage"]
