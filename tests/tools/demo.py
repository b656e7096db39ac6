"""`make demo`: plays a recorded agent session through a real daemon, which is killed in the middle of an answer.

Plays tests/recordings/opencode-retry-helper.jsonl, shows what a subscriber is sent, kills the daemon with SIGKILL while
text streams, starts it again, checks that every acknowledged event is there and that the turn is interrupted, repeats
the prompt, verifies, and prints the counts. The exit status is 0 only if all checks passed.
"""

import asyncio
import contextlib
import signal
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec

from treadle.agents.recording import SessionMapper, read_frames
from treadle.client import AppendChange, Change, Client, Disconnected, Following, ThreadSnapshot, Upsert, connect
from treadle.domain.commands import AppendMessage, Command, CreateProject, StartTurn
from treadle.domain.entities import Activity, Approval, Message, Turn
from treadle.domain.events import AnyEvent

RECORDING = Path(__file__).parents[1] / "recordings" / "opencode-retry-helper.jsonl"
PACE = 0.012  # seconds between commands: about the speed at which an agent streams

COLOUR = sys.stdout.isatty()


def paint(code: str, text: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if COLOUR else text


class Screen:
    """Shows the changes of one thread in readable form. told: the number of changes."""

    def __init__(self) -> None:
        self.in_text = False
        self.statuses: dict[str, str] = {}
        self.told = 0
        self.more = asyncio.Event()

    async def shown(self, following: Following, sequence: int) -> None:
        """Wait until the replica is at the sequence."""
        while following.replica.sequence < sequence:
            self.more.clear()
            await self.more.wait()

    def line(self, text: str) -> None:
        if self.in_text:
            print()
            self.in_text = False
        print(text, flush=True)

    def show(self, change: ThreadSnapshot | Change) -> None:
        self.told += 1
        self.more.set()
        match change:
            case AppendChange(text=text):
                self.text(text)
            case Upsert(value=Turn() as turn):
                self.turn(turn)
            case Upsert(value=Message() as message):
                self.message(message)
            case Upsert(value=Activity() as activity):
                self.activity(activity)
            case Upsert(value=Approval() as approval):
                self.approval(approval)

    def text(self, text: str) -> None:
        print(text, end="", flush=True)
        self.in_text = True

    def changed(self, value: Turn | Message | Activity | Approval) -> bool:
        key = f"{getattr(value, 'turn_id', '')} {value.id}"
        before, self.statuses[key] = self.statuses.get(key), value.status
        return before != value.status

    def turn(self, turn: Turn) -> None:
        if self.changed(turn) and turn.status != "running":
            self.line(
                paint("2", f"── turn {turn.status} ({turn.stop_reason or turn.reason or turn.error}) " + "─" * 30)
            )

    def message(self, message: Message) -> None:
        if message.role == "user":
            self.line(paint("1;36", f"▌ {message.text}"))
        elif self.changed(message) and message.status == "streaming":
            self.line("")
            self.text(message.text)

    def activity(self, activity: Activity) -> None:
        if self.changed(activity) and activity.kind == "tool_call":
            self.line(paint("33", f"  ⚙ {activity.title}") + paint("2", f"  {activity.status}"))

    def approval(self, approval: Approval) -> None:
        if not self.changed(approval):
            return
        if approval.status == "pending":
            names = " / ".join(option.name for option in approval.options)
            self.line(paint("35", f"  ? approval  {approval.title}  [{names}]"))
        else:
            self.line(paint("32", f"  ✓ {approval.outcome or 'cancelled'}"))


class Player:
    """Sends commands as a live session does, without waiting for answers, and remembers what was acknowledged."""

    def __init__(self) -> None:
        self.acknowledged: dict[int, AnyEvent] = {}
        self.commands = 0
        self.answered = 0

    async def send(self, client: Client, command: Command) -> None:
        self.commands += 1
        answer = await client.dispatch(command)
        self.answered += 1
        self.acknowledged.update((stored.sequence, stored.event) for stored in answer.events)


async def follow(following: Following, screen: Screen) -> None:
    with contextlib.suppress(Disconnected):
        async for change in following:
            screen.show(change)


async def play(client: Client, player: Player, commands: Iterable[Command]) -> list["asyncio.Task[None]"]:
    """Send the commands at the pace of an agent; return a task per answer, some of which may not be done."""
    answers = []
    for command in commands:
        answers.append(asyncio.create_task(player.send(client, command)))
        await asyncio.sleep(PACE)
    return answers


async def everything(client: Client) -> dict[int, AnyEvent]:
    """Read the whole log, page by page."""
    page = await client.event_list()
    events = {stored.sequence: stored.event for stored in page.items}
    while page.next_cursor is not None:
        page = await client.event_list(cursor=page.next_cursor)
        events.update((stored.sequence, stored.event) for stored in page.items)
    return events


def again(command: Command) -> Command:
    """The same command with other ids: a repeated prompt gets a new turn, new messages and new tool calls."""
    ids = {
        field: f"{value}-again"
        for field in ("id", "turn_id", "message_id")
        if (value := getattr(command, field, None)) is not None
    }
    return msgspec.structs.replace(command, **ids)


def session() -> tuple[Command, list[Command], list[Command]]:
    """The recorded session: the command that creates the thread, the first exchange, the second exchange."""
    mapper = SessionMapper("demo")
    commands = [command for frame in read_frames(RECORDING) for command in mapper.feed(frame)] + mapper.end()
    starts = [i for i, command in enumerate(commands) if isinstance(command, StartTurn)]
    assert (len(starts), starts[0]) == (2, 1), "the recording has a thread and two prompts"
    return commands[0], commands[1 : starts[1]], commands[starts[1] :]


async def demo(data_dir: Path) -> bool:
    began = time.monotonic()
    create_thread, first, second = session()
    thread_id = str(create_thread.thread_id)  # type: ignore[attr-defined]
    deltas = [i for i, command in enumerate(second) if isinstance(command, AppendMessage)]
    kill_at = deltas[len(deltas) // 2]
    player, screen = Player(), Screen()

    async with connect(data_dir) as client:
        await client.dispatch(CreateProject(id="demo", name="demo", path="/workspace/demo"))
        await player.send(client, create_thread)
        watching = asyncio.create_task(follow(client.follow(thread_id), screen))
        await asyncio.gather(*await play(client, player, first))
        answers = await play(client, player, second[:kill_at])
        client.process.send_signal(signal.SIGKILL)
        await asyncio.gather(*answers, return_exceptions=True)
        await client.process.wait()
        await watching
    acknowledged = dict(player.acknowledged)
    before = (player.commands, player.answered, max(acknowledged))
    screen.line(paint("1;31", f"✗ killed in the middle of an answer, after {player.commands} commands"))

    async with connect(data_dir) as client:
        found = await everything(client)
        lost = [sequence for sequence, event in acknowledged.items() if found.get(sequence) != event]
        turn = (await client.thread_read(thread_id=thread_id)).turns[-1]
        interrupted = turn.status == "interrupted"
        screen.line(paint("1;32", f"✓ started again: {len(found)} events, the turn is {turn.status}"))
        following = client.follow(thread_id)
        watching = asyncio.create_task(follow(following, screen))
        await asyncio.gather(*await play(client, player, map(again, second)))
        total = await everything(client)
        finished = await client.thread_read(thread_id=thread_id)
        await screen.shown(following, finished.threads[0].version)
        same = all(
            following.replica.all(kind) == {value.id: value for value in values}
            for kind, values in ((Turn, finished.turns), (Message, finished.messages), (Activity, finished.activities))
        )
        status = await client.end()
        await watching
    verify = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "treadle", "verify", "--data-dir", str(data_dir)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    verdict = (await verify.communicate())[0].decode().strip()
    gapless = sorted(total) == list(range(1, len(total) + 1))
    statuses = [turn.status for turn in finished.turns]

    screen.line("")
    rows = [
        ("commands sent, answered before the kill", f"{before[0]}, {before[1]}"),
        ("events acknowledged before the kill", f"{len(acknowledged)}, up to sequence {before[2]}"),
        ("of these there after it", f"{len(acknowledged) - len(lost)}"),
        ("lost", f"{len(lost)}"),
        ("events at the end", f"{len(total)}, sequences 1 to {max(total)}, {'no gap' if gapless else 'GAPS'}"),
        ("turns", ", ".join(statuses)),
        ("changes that the subscriber was told", f"{screen.told}"),
        ("its replica is what a fresh read gives", "yes" if same else "NO"),
        ("verify", verdict),
        ("exit status of the daemon", f"{status}"),
        ("time", f"{time.monotonic() - began:.1f} s"),
    ]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"  {name:<{width}}  {paint('1', value)}")
    held = (
        not lost
        and interrupted
        and gapless
        and same
        and statuses == ["completed", "interrupted", "completed"]
        and verify.returncode == 0
        and status == 0
    )
    print(paint("1;32", "all of it held") if held else paint("1;31", "NOT all of it held"))
    return held


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="treadle-demo-") as folder:
        return 0 if asyncio.run(demo(Path(folder) / "data")) else 1


if __name__ == "__main__":
    sys.exit(main())
