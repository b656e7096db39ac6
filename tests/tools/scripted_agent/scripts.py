"""What happens in a turn, by the names of the scripts. The package's docstring lists them."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from scripted_agent import start
from scripted_agent.streams import Json, send, write
from scripted_agent.turn import Cancelled, Refused, Turn

ALLOW = {"optionId": "allow", "name": "Allow", "kind": "allow_once"}
REJECT = {"optionId": "reject", "name": "Reject", "kind": "reject_once"}
ALWAYS = [
    {"optionId": "always-project", "name": "Always in this project", "kind": "allow_always"},
    {"optionId": "always-user", "name": "Always", "kind": "allow_always"},
]
ODD_TEXT = "a\u2028b\u2029c\u0085d\x0be\0f"
HALF = "\ud83d"
MODES = [{"id": "ask", "name": "Ask"}, {"id": "code", "name": "Code"}]


def text(value: str) -> list[Json]:
    return [{"type": "content", "content": {"type": "text", "text": value}}]


def options(model: str) -> list[Json]:
    """The configuration options of a session."""
    values = [{"value": value, "name": value.title()} for value in ("small", "large")]
    about = {"id": "model", "name": "Model", "category": "model", "type": "select"}
    return [{**about, "currentValue": model, "options": values}]


# Plain updates


def plain(turn: Turn) -> None:
    for chunk in ("Hello, ", "world", "."):
        turn.say(chunk)


def ids(turn: Turn) -> None:
    turn_number = sum(u["sessionUpdate"] == "user_message_chunk" for u in turn.session.history)
    for number in (1, 2):
        for chunk in ("First half, ", "second half."):
            turn.say(chunk, f"message-{turn_number}-{number}")


def thought(turn: Turn) -> None:
    turn.say("I think ", kind="agent_thought_chunk")
    turn.say("about it.", kind="agent_thought_chunk")


def plan(turn: Turn) -> None:
    for status in ("pending", "completed"):
        turn.update("plan", entries=[{"content": "Do it", "priority": "high", "status": status}])


def unknown_update(turn: Turn) -> None:
    turn.update("compaction_update", state="running", tokens={"before": 90_000, "after": 9_000})


def empty_chunks(turn: Turn) -> None:
    turn.update("agent_message_chunk", content={"type": "text", "text": ""}, _meta={"usage": {"inputTokens": 1200}})


def tool(turn: Turn) -> None:
    call = turn.tool("make test", rawInput={"command": "make test"})
    turn.call(call, "in_progress")
    turn.call(call, "completed", content=text("3 passed\n"), rawOutput={"exitCode": 0})


def tool_left(turn: Turn) -> None:
    turn.call(turn.tool("make all"), "in_progress")


def edit(turn: Turn) -> None:
    path = Path(turn.session.cwd) / turn.word("file", "edited.txt")
    before = path.read_text() if path.exists() else None
    after = (before or "") + "a line of the agent\n"
    call = turn.tool(f"Edit {path.name}", "edit", locations=[{"path": str(path)}])
    path.write_text(after)
    turn.call(call, "completed", content=[{"type": "diff", "path": str(path), "oldText": before, "newText": after}])


def files(turn: Turn) -> None:
    folder = Path(turn.session.cwd)
    for name in filter(None, turn.word("write", "").split(",")):
        call = turn.tool(f"Write {name}", "edit", locations=[{"path": str(folder / name)}])
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("the agent wrote this\n")
        turn.call(call, "completed")
    for name in filter(None, turn.word("remove", "").split(",")):
        call = turn.tool(f"Remove {name}", "delete", locations=[{"path": str(folder / name)}])
        (folder / name).unlink()
        turn.call(call, "completed")


def usage(turn: Turn) -> None:
    session = turn.session
    session.cost, session.used = session.cost + 0.25, session.used + 1_000
    turn.update("usage_update", used=session.used, size=200_000, cost={"amount": session.cost, "currency": "USD"})
    usage_answer(turn)


def usage_answer(turn: Turn) -> None:
    turn.usage = {"usage": {"inputTokens": 900, "outputTokens": 100, "totalTokens": 1_000}}


def settings(turn: Turn) -> None:
    turn.session.mode, turn.session.model = "code", "large"
    turn.update("current_mode_update", currentModeId="code")
    turn.update("config_option_update", configOptions=options("large"))
    turn.update("available_commands_update", availableCommands=[{"name": "test", "description": "Run the tests"}])
    turn.update("session_info_update", title="A title of the agent")


def odd_text(turn: Turn) -> None:
    line = turn.line("agent_message_chunk", content={"type": "text", "text": ODD_TEXT})
    write(json.dumps(json.loads(line), ensure_ascii=False).encode())
    turn.say(HALF)
    turn.usage = {"_meta": {"said": HALF}}


def unstorable(turn: Turn) -> None:
    deep: list[Any] = []
    for _ in range(200):
        deep = [deep]
    turn.update("deep_update", deep=deep)
    about = {"toolCallId": turn.tool("rm -rf build"), "title": "rm -rf build", "rawInput": deep}
    _, answer = turn.request("session/request_permission", {"toolCall": about, "options": [ALLOW, REJECT]})
    turn.say(f"{turn.wait(answer)['error']['code']}")


def thousand(turn: Turn) -> None:
    chunks = ({"type": "text", "text": f"{number} "} for number in range(1_000))
    turn.lines += [turn.line("agent_message_chunk", content=chunk) for chunk in chunks]


def flood(turn: Turn) -> None:
    for number in range(5_000):
        turn.say(f"{number} ")
        turn.check()


def long_line(turn: Turn) -> None:
    turn.say("x" * 20_000_000)


# Questions


def ask(
    turn: Turn,
    *,
    command: str = "rm -rf build",
    kind: str = "execute",
    call: str | None = None,
    choices: list[Json] | None = None,
    **given: Any,
) -> str:
    """Ask for a permission; return what was chosen."""
    call = turn.tool(command) if call is None else call
    about = {"toolCallId": call, "title": command, "kind": kind, "rawInput": {"command": command}}
    params: Json = {"toolCall": about, "options": choices or [ALLOW, REJECT], **given.pop("params", {})}
    _, answer = turn.request("session/request_permission", params, **given)
    outcome = turn.wait(answer).get("result", {}).get("outcome", {})
    chosen = str(outcome.get("optionId", "cancelled"))
    turn.call(call, "failed" if chosen in ("reject", "cancelled") else "completed")
    turn.say("cancelled" if chosen == "cancelled" else f"chose {chosen}")
    return chosen


def ask_kind(turn: Turn) -> None:
    """About a path, too: a rule could be about that."""
    command, kind = "rm -rf build", turn.word("kind", "execute")
    about = {"rawInput": {"command": command}, "locations": [{"path": str(Path(turn.session.cwd) / "build")}]}
    ask(turn, command=command, kind=kind, call=turn.tool(command, turn.word("announced", kind), **about))


def ask_edit(turn: Turn) -> None:
    path = str(Path(turn.session.cwd) / turn.word("file", "edited.txt"))
    about = {"toolCallId": turn.tool(f"Edit {path}", "edit", locations=[{"path": path}]), "title": f"Edit {path}"}
    ask(turn, call=about["toolCallId"], params={"toolCall": {**about, "kind": "edit", "locations": [{"path": path}]}})


def ask_twice(turn: Turn) -> None:
    answers = []
    for path in ("a", "b"):
        about = {"toolCallId": turn.tool(f"rm {path}"), "title": f"rm {path}"}
        answers += [turn.request("session/request_permission", {"toolCall": about, "options": [ALLOW, REJECT]})[1]]
    for answer in answers:
        turn.say(f"chose {turn.wait(answer)['result']['outcome'].get('optionId')} ")


def ask_withdrawn(turn: Turn) -> None:
    about = {"toolCallId": turn.tool("rm -rf build"), "title": "rm -rf build"}
    id, answer = turn.request("session/request_permission", {"toolCall": about, "options": [ALLOW, REJECT]})
    turn.sleep(0.2)
    send(method="$/cancel_request", params={"requestId": id})
    turn.wait(answer)  # it still has to be answered
    turn.say("withdrawn")


def ask_withdrawn_at_once(turn: Turn) -> None:
    about = {"toolCallId": "only-asked-for", "title": "rm -rf build"}
    params = {"toolCall": about, "options": [ALLOW, REJECT]}
    turn.wait(turn.request("session/request_permission", params, withdrawn=True)[1])
    turn.say("withdrawn")


def late_ask_withdrawn(turn: Turn) -> None:
    turn.after = lambda: ask_withdrawn_at_once(turn)


def ask_hangs(turn: Turn) -> None:
    about = {"toolCallId": turn.tool("rm -rf build"), "title": "rm -rf build"}
    _, answer = turn.request("session/request_permission", {"toolCall": about, "options": [ALLOW, REJECT]})
    answer.get()
    turn.check()


def elicit(turn: Turn) -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    _, answer = turn.request("elicitation/create", {"mode": "form", "message": "Your name?", "requestedSchema": schema})
    message = turn.wait(answer)
    turn.say(f"elicitation: {message.get('result', {}).get('action', message.get('error'))}")


def ask_client(turn: Turn) -> None:
    for method in ("fs/write_text_file", "craft/drainMidTurnQueue"):
        answer = turn.wait(turn.request(method, {"path": "/x", "content": ""})[1])
        turn.say(f"{method}: {answer.get('error', {}).get('code')} ")


# How a turn ends


def echo(turn: Turn) -> None:
    for word in turn.text.split():
        if not word.startswith("script="):
            turn.say(f"{word} ")
            turn.sleep(0.02)


def stream(turn: Turn) -> None:
    number = 0
    while True:
        number += 1
        turn.say(f"{number} ")
        turn.sleep(0.02)


def timed(turn: Turn) -> None:
    count, every = int(turn.word("count", "100")), float(turn.word("every", "0.01"))
    due = time.perf_counter()
    for _ in range(count):
        turn.say(f"{time.perf_counter():.6f} ")
        due += every
        turn.sleep(max(0.0, due - time.perf_counter()))


def cancel_end_turn(turn: Turn) -> None:
    try:
        stream(turn)
    except Cancelled:
        turn.cancelled.clear()  # and answer end_turn


def cancel_ignored(turn: Turn) -> None:
    turn.say("nothing stops me")
    turn.never()


def cancel_late(turn: Turn) -> None:
    call = turn.tool("sleep 100")
    turn.call(call, "in_progress")
    turn.cancelled.wait()
    turn.call(call, "failed")
    turn.say("I was interrupted")
    threading.Event().wait(0.5)
    turn.check()


def repeat(turn: Turn) -> None:
    block = "".join(f"half of an answer, part {number:03}, " for number in range(15))
    while True:
        turn.say(block)
        turn.check()


def late(turn: Turn) -> None:
    turn.say("before the answer", "late")
    turn.after = lambda: turn.say(", after the answer", "late")


def late_settings(turn: Turn) -> None:
    turn.after = lambda: settings(turn)


def outside(turn: Turn) -> None:
    def work() -> None:
        turn.call(turn.tool("a task in the background"), "completed")
        turn.say("the task in the background has ended")

    timer = threading.Timer(0.5, work)
    timer.daemon = True
    turn.after = timer.start


def _die(status: int) -> NoReturn:
    sys.stderr.write("out of memory\n")
    sys.stderr.flush()
    os._exit(status)


def kill(turn: Turn) -> None:
    sys.stderr.write("out of memory\n")
    sys.stderr.flush()
    os.kill(os.getpid(), signal.SIGKILL)


def hold_stdout(turn: Turn) -> None:
    subprocess.Popen(["sleep", "600"], start_new_session=True, stdin=subprocess.DEVNULL)
    _die(3)


def _raise(*error: Any) -> NoReturn:
    raise Refused(*error)


SCRIPTS: dict[str, Callable[[Turn], object]] = {
    "plain": plain,
    "ids": ids,
    "thought": thought,
    "plan": plan,
    "unknown-update": unknown_update,
    "empty-chunks": empty_chunks,
    "tool": tool,
    "tool-left": tool_left,
    "edit": edit,
    "files": files,
    "ask": ask,
    "ask-diff": lambda turn: ask(turn, command="git diff"),
    "ask-kind": ask_kind,
    "ask-edit": ask_edit,
    "ask-twice": ask_twice,
    "ask-always-first": lambda turn: ask(
        turn, choices=[*ALWAYS, ALLOW, {"optionId": "cancel", "name": "No", "kind": "reject_once"}]
    ),
    "ask-unannounced": lambda turn: ask(turn, call="never-announced"),
    "ask-same-id": lambda turn: ask(turn, id=turn.prompt_id),
    "ask-text-id": lambda turn: ask(turn, id="permission-\u2028-1"),
    "ask-other-session": lambda turn: ask(turn, params={"sessionId": "of-a-subagent"}),
    "ask-withdrawn": ask_withdrawn,
    "ask-withdrawn-at-once": ask_withdrawn_at_once,
    "late-ask-withdrawn": late_ask_withdrawn,
    "ask-hangs": ask_hangs,
    "elicit": elicit,
    "ask-client": ask_client,
    "thousand": thousand,
    "flood": flood,
    "odd-text": odd_text,
    "unstorable": unstorable,
    "long-line": long_line,
    "over-limit": lambda turn: start.long_line(),
    "banner": lambda turn: write(b"Loading \x1b[1mplugins\x1b[0m", b"[]", b"\xff\xfe", b"7"),
    "usage": usage,
    "usage-answer": usage_answer,
    "settings": settings,
    "late": late,
    "late-settings": late_settings,
    "outside": outside,
    "echo": echo,
    "stream": stream,
    "timed": timed,
    "silent": lambda turn: turn.sleep(86_400),
    "cancel-end-turn": cancel_end_turn,
    "cancel-ignored": cancel_ignored,
    "cancel-late": cancel_late,
    "repeat": repeat,
    "children": lambda turn: start.children(),
    "exit": lambda turn: _die(3),
    "kill": kill,
    "hold-stdout": hold_stdout,
    "refuse": lambda turn: _raise(-32603, "Internal error", {"details": "the model does not answer"}),
    "refuse-auth": lambda turn: _raise(-32000, "Authentication required", {"authMethods": [{"id": "key"}]}),
}
