"""An editor's day: open a folder, ask, watch the answer stream in, approve a command, close, find it again."""

from pathlib import Path

from treadle.client import connect
from treadle.domain import commands as c
from treadle.domain.commands import ApprovalOption


async def test_an_editor_shows_a_thread_while_an_agent_works_on_it(tmp_path: Path) -> None:
    workspace = tmp_path / "shop"
    workspace.mkdir()

    # In the morning the editor starts a daemon and opens the folder.
    async with connect(tmp_path / "data") as editor:
        project = (await editor.project_open(path=str(workspace))).project
        await editor.dispatch(c.CreateThread(thread_id="t", project_id=project.id, title="Slow checkout"))

        # It follows the thread. The user asks an agent, which answers in tokens and wants to run the tests.
        shown = await editor.subscribe("thread", thread_id="t")
        await editor.dispatch(c.StartTurn(thread_id="t", id="turn", prompt="Why is the checkout slow?"))
        await editor.dispatch(
            c.AddMessage(thread_id="t", turn_id="turn", id="answer", role="assistant", text="", streaming=True)
        )
        for token in ("One query", " per item", "."):
            last = await editor.dispatch(c.AppendMessage(thread_id="t", id="answer", text=token))
        while shown.replica.sequence < last.events[-1].sequence:
            await shown.next()
        assert shown.replica.entities["message"]["answer"]["text"] == "One query per item."

        await editor.dispatch(
            c.RequestApproval(
                thread_id="t",
                turn_id="turn",
                id="run",
                title="Run pytest?",
                options=[ApprovalOption(id="yes", name="Yes", kind="allow_once")],
            )
        )
        [waiting] = (await editor.thread_list()).items
        assert waiting.status == "waiting"
        await editor.dispatch(c.ResolveApproval(thread_id="t", id="run", outcome="yes"))
        await editor.dispatch(c.CompleteTurn(thread_id="t", id="turn", stop_reason="end_turn"))

        # In the evening the editor is closed, and the daemon exits.
        assert await editor.end() == 0

    # The next morning everything is there.
    async with connect(tmp_path / "data") as editor:
        assert (await editor.project_open(path=str(workspace))).project.id == project.id
        [thread] = (await editor.thread_list(project_id=project.id)).items
        assert (thread.title, thread.status) == ("Slow checkout", "idle")
        read = await editor.thread_read(thread_id="t")
        assert [message.text for message in read.messages] == ["Why is the checkout slow?", "One query per item."]
        assert [approval.outcome for approval in read.approvals] == ["yes"]
