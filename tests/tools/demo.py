"""`make demo`: two windows on one data directory, an agent, and a daemon that is killed in the middle of a turn.

The first window's daemon runs the agent and gets three prompts. The second window shows what happens and answers the
approval. Then SIGKILL ends the first daemon while the agent works on the second prompt. A new daemon must find no
process of the agent left, resume the agent's session, and send the third prompt once the queue is resumed. The exit
status is 0 only if all of it held.

The agent is tests/tools/scripted_agent, which needs no model. TREADLE_DEMO_AGENT=NAME runs one of your agents.json
instead. What such an agent cannot do is said and not asked for: some continue no session, or ask for no permission.
"""

import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from platformdirs import user_config_path

from treadle.agents.check import check_agent
from treadle.agents.config import read_agents
from treadle.agents.session import ways_of
from treadle.cli.options import users_folder
from treadle.client import AppendChange, Change, Client, Disconnected, Following, ThreadSnapshot, Upsert, connect
from treadle.domain.agent_commands import AssignAgent, QueuePrompt, ResumeQueue
from treadle.domain.commands import CreateThread, ResolveApproval
from treadle.domain.entities import Activity, Approval, Message, Prompt, Session, Thread, Turn
from treadle.domain.events import AnyEvent
from treadle.server.services import RECORDS

SCRIPTED = Path(__file__).parent / "scripted_agent" / "__main__.py"
TOLD = ("script=echo script=tool script=ask", "script=stream", "script=plain")
ASKED = (
    "Run `rm -rf build` in a shell, even if there is no such folder.",
    "Count from 1 to 300 in words.",
    "Say in one sentence what you have done.",
)
PATIENCE = 20.0  # seconds until a step of the scripted agent has failed
PATIENCE_WITH_A_MODEL = 180.0
ENOUGH = 5  # pieces of text of the second turn, before the kill
THREAD = "demo"
COLOUR = sys.stdout.isatty()


def paint(code: str, text: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if COLOUR else text


class NotPossible(Exception):
    """The demo cannot be run with this agent. The text says why."""


class DemoAgent(NamedTuple):
    """The agent of the demo. patience: seconds for a step. is_real: it may ask for no permission. resumes: whether it
    continues a session in another process."""

    name: str
    prompts: tuple[str, ...]
    patience: float = PATIENCE
    is_real: bool = False
    resumes: bool = True


class Window:
    """Shows the changes of the thread, and answers what the agent asks."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.following: Following = client.follow(THREAD)
        self.pieces = 0  # of text, since the last turn began
        self.answered: list[str] = []
        self._in_text = False
        self._said: dict[object, str | None] = {}
        self._lengths: dict[str, int] = {}
        self._more = asyncio.Event()

    async def follow(self) -> None:
        with suppress(Disconnected):
            async for change in self.following:
                await self._show(change)
                self._more.set()

    async def reach(self, sequence: int) -> None:
        """Wait until the window is as far as the log was."""
        while self.following.replica.sequence < sequence:
            await self._change()

    async def turns(self, *statuses: str, pieces: int = 0) -> list[Turn]:
        """Wait until the turns have these statuses and the last one has so much text; return them."""
        while True:
            turns = list(self.following.replica.all(Turn).values())
            if [turn.status for turn in turns] == list(statuses) and self.pieces >= pieces:
                return turns
            await self._change()

    async def paused(self) -> str:
        """Wait until the queue is paused; return why."""
        while (reason := self.following.replica.all(Thread)[THREAD].queue_paused) is None:
            await self._change()
        return reason

    async def _change(self) -> None:
        thread = self.following.replica.all(Thread).get(THREAD)
        if thread is not None and thread.auth_required is not None:
            raise NotPossible(thread.queue_paused or thread.auth_required.reason)
        self._more.clear()
        await self._more.wait()

    def line(self, text: str) -> None:
        print(f"\n{text}" if self._in_text else text, flush=True)
        self._in_text = False

    def _text(self, message: str, text: str) -> None:
        self._lengths[message] = self._lengths.get(message, 0) + len(text)
        if text:
            print(text, end="", flush=True)
            self._in_text = True
            self.pieces += 1

    def _is_new(self, key: object, status: str | None) -> bool:
        if key in self._said and self._said[key] == status:
            return False
        self._said[key] = status
        return True

    async def _show(self, change: ThreadSnapshot | Change) -> None:
        match change:
            case AppendChange(id=id, text=text):
                self._text(id, text)
            case Upsert(value=Session() as session) if self._is_new(session.id, session.reason):
                self.line(paint("2", f"── the agent's session: {session.reason or f'open ({session.how})'}"))
            case Upsert(value=Prompt() as prompt) if self._is_new(prompt.id, prompt.text):
                self.line(paint("36", f"… queued: {prompt.text}"))
            case Upsert(value=Turn() as turn) if self._is_new(turn.id, turn.status):
                self.pieces = 0
                if turn.status != "running":
                    self.line(paint("2", f"── turn {turn.status}: {turn.stop_reason or turn.reason or turn.error}"))
            case Upsert(value=Message(role="user") as message):
                self.line(paint("1;36", f"▌ {message.text}"))
            case Upsert(value=Message() as message):
                self._text(message.id, message.text[self._lengths.get(message.id, 0) :])
            case Upsert(value=Activity(kind="tool_call") as call) if self._is_new((call.turn_id, call.id), call.status):
                self.line(paint("33", f"  ⚙ {call.title}") + paint("2", f"  {call.status}"))
            case Upsert(value=Approval() as approval) if self._is_new(approval.id, approval.status):
                await self._answer(approval)

    async def _answer(self, approval: Approval) -> None:
        if approval.status != "pending":
            self.line(paint("32", f"  ✓ {approval.outcome or approval.status}, answered by {approval.by}"))
            return
        names = " / ".join(option.name for option in approval.options)
        self.line(paint("35", f"  ? may it: {approval.title}  [{names}]"))
        option = next((one for one in approval.options if one.kind == "allow_once"), approval.options[0])
        command = ResolveApproval(thread_id=THREAD, id=approval.id, outcome=option.id, by="the-other-window")
        await self.client.dispatch(command)
        self.answered.append(approval.id)


def remains(data_dir: Path, agents: list[int]) -> list[object]:
    """What is left of agents: processes, and records of them."""
    return [*filter(lives, agents), *(data_dir / RECORDS).iterdir()]


def lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


async def everything(client: Client) -> dict[int, AnyEvent]:
    """Read the whole log, page by page."""
    page = await client.event_list()
    events = {stored.sequence: stored.event for stored in page.items}
    while page.next_cursor is not None:
        page = await client.event_list(cursor=page.next_cursor)
        events |= {stored.sequence: stored.event for stored in page.items}
    return events


async def verify(data_dir: Path) -> tuple[int | None, str]:
    """The exit status and the output of `treadle verify`."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "treadle", "verify", "--data-dir", str(data_dir)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode().strip()


def scripted_agent(data_dir: Path) -> DemoAgent:
    """Configure the scripted agent in the data directory."""
    sessions = {"SCRIPTED_SESSIONS": str(data_dir.parent / "sessions")}
    agent = {"command": sys.executable, "args": [str(SCRIPTED)], "env": sessions}
    data_dir.mkdir()
    (data_dir / "agents.json").write_text(json.dumps({"agents": {"scripted": agent}}))
    texts = ("Add a retry helper", "Now the long one", "And a last word")
    return DemoAgent("scripted", tuple(f"{text} {words}" for text, words in zip(texts, TOLD, strict=True)))


async def real_agent(name: str) -> DemoAgent:
    """An agent that the user has configured, and what it can do. Raises NotPossible."""
    file = users_folder(user_config_path) / "agents.json"
    configs = {agent.name: agent.config for agent in read_agents(file)}
    if name not in configs:
        raise NotPossible(f"it is not in {file}: `treadle agents add {name}`")
    checked = await check_agent(configs[name], PATIENCE)
    if checked.agent is None:
        raise NotPossible(f"{checked.error}")
    resumes = ways_of(checked.agent, had_session=True, is_fork=False) != ("new",)
    if not resumes:
        print(f"not possible with {name}: it continues no session, so it begins a new one after the kill")
    return DemoAgent(name, ASKED, PATIENCE_WITH_A_MODEL, is_real=True, resumes=resumes)


async def demo(folder: Path) -> bool:
    began = time.monotonic()
    data_dir = folder / "data"
    name = os.environ.get("TREADLE_DEMO_AGENT", "")
    agent = await real_agent(name) if name else scripted_agent(data_dir)
    async with connect(data_dir) as second:
        async with connect(data_dir) as first:
            project = (await first.project_open(path=str(folder))).project
            await first.dispatch(CreateThread(thread_id=THREAD, project_id=project.id, title="The demo"))
            await first.dispatch(AssignAgent(thread_id=THREAD, agent=agent.name))
            window = Window(second)
            watching = asyncio.create_task(window.follow())
            for text in agent.prompts:
                await first.dispatch(QueuePrompt(thread_id=THREAD, text=text))
            async with asyncio.timeout(agent.patience):
                await window.turns("completed", "running", pieces=ENOUGH)
            before, agents = await everything(second), (await first.daemon_status()).agents
            first.process.send_signal(signal.SIGKILL)
            await first.process.wait()
            window.line(paint("1;31", "✗ SIGKILL: the daemon that ran the agent is dead"))
        async with asyncio.timeout(agent.patience):
            await window.turns("completed", "interrupted")
            window.line(paint("2", f"── the queue is paused: {await window.paused()}"))

        async with connect(data_dir) as third:
            async with asyncio.timeout(agent.patience):
                while left := remains(data_dir, [one.pid for one in agents if one.pid is not None]):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)  # nobody tells of the end of another process's child
            window.line(paint("1;32", "✓ a new daemon: no process of the agent is left. The queue is resumed"))
            await third.dispatch(ResumeQueue(thread_id=THREAD))
            async with asyncio.timeout(agent.patience):
                turns = await window.turns("completed", "interrupted", "completed")
            [session] = (await third.session_list(thread_id=THREAD, limit=1)).items
            fresh, total = await third.thread_read(thread_id=THREAD), await everything(third)
            async with asyncio.timeout(agent.patience):
                await window.reach(max(total))
            status = await third.end()
        watching.cancel()
    verified, verdict = await verify(data_dir)

    lost = [sequence for sequence, event in before.items() if total.get(sequence) != event]
    replica = window.following.replica
    same = all(
        replica.all(kind) == {value.id: value for value in values}
        for kind, values in ((Turn, fresh.turns), (Message, fresh.messages), (Activity, fresh.activities))
    )
    seconds = time.monotonic() - began
    rows = [
        ("turns", ", ".join(turn.status for turn in turns), True),
        (
            "approvals answered by the other window",
            f"{len(window.answered)}" if window.answered else f"none: {agent.name} asked for no permission",
            bool(window.answered) or agent.is_real,
        ),
        ("agents that ran when the daemon was killed", f"{len(agents)}", len(agents) == 1),
        ("of these left afterwards", f"{len(left)}", not left),
        ("events before the kill, lost", f"{len(before)}, {len(lost)}", not lost),
        ("how the session was opened again", session.how, session.how != "new" or not agent.resumes),
        ("prompts left in the queue", f"{len(fresh.prompts)}", not fresh.prompts),
        ("the window shows what a fresh read gives", "yes" if same else "NO", same),
        ("verify", verdict, verified == 0),
        ("exit status of the daemon", f"{status}", status == 0),
        ("time", f"{seconds:.1f} s", True),
    ]
    window.line("")
    width = max(len(name) for name, _, _ in rows)
    for name, value, _ in rows:
        print(f"  {name:<{width}}  {paint('1', value)}")
    held = all(holds for _, _, holds in rows)
    print(paint("1;32", "all of it held") if held else paint("1;31", "NOT all of it held"))
    return held


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="treadle-demo-") as folder:
        try:
            return 0 if asyncio.run(demo(Path(folder))) else 1
        except TimeoutError:
            print(paint("1;31", "\nNOT all of it held: a step took too long"))
        except NotPossible as error:
            print(paint("1;31", f"the demo is not possible with {os.environ['TREADLE_DEMO_AGENT']}: {error}"))
        return 1


if __name__ == "__main__":
    sys.exit(main())
