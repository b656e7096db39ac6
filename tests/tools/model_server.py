"""A model that plays scripts: `model_server.py LOG` prints its URL and serves until it is ended. Nothing is random.

It speaks OpenAI's chat completions and Responses and Anthropic's Messages, streamed, which is what OpenCode, Codex and
Claude Code speak. The prompt names the script: `script=tool`. How many tool results came since tells which step is
next, so the server keeps no state. Standard library only.
"""

import itertools
import json
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

Json = dict[str, Any]
Event = tuple[str, Json]

WRITTEN = "written.txt"
"""The file that `tool` writes in the workspace."""
STARTED = "started"
"""`sleep` writes its process id into this file of the workspace, which may be a FIFO."""
DONE = "All done."
"""What the model says when the tools of a script have run."""
MANY = "".join(f"chunk{n} " for n in range(200))
"""What it says in `many`, in as many chunks."""
TITLE = "A title"
"""What it answers to a request without tools: agents ask for titles and summaries."""

ids = itertools.count(1)


class Say(NamedTuple):
    """words: sent one at a time. pause: seconds after each."""

    words: list[str]
    pause: float = 0

    def spoken(self) -> Iterator[str]:
        for word in self.words:
            yield word
            time.sleep(self.pause)


class Call(NamedTuple):
    """A call of a tool that the agent offers."""

    tool: str
    arguments: Json


Step = Say | Call


class Asked(NamedTuple):
    """What a request asks for. prompt: the last one that names a script, or the last text of the user. step: how many
    results of tools came after it. tools: the names of those offered. earlier: the prompts before it that name one."""

    prompt: str
    step: int
    tools: list[str]
    earlier: list[str]


# Scripts


def shell(asked: Asked, command: str) -> Call:
    if "exec_command" in asked.tools:  # Codex, which asks its user only if told that the sandbox is not enough
        more = {"sandbox_permissions": "require_escalated", "justification": "May it run?"}
        return Call("exec_command", {"cmd": command, **more})
    return Call("Bash" if "Bash" in asked.tools else "bash", {"command": command, "description": "Run a command"})


def edit(asked: Asked) -> list[Step]:
    """Replace `hello` by `hello, world` in the file that the prompt names: `script=edit file=/a/path`."""
    file = re.findall(r"file=(\S+)", asked.prompt)[-1]
    if "exec_command" in asked.tools:  # Codex has no tool to edit files for a model that it does not know
        return [shell(asked, f"sed -i 's/hello/hello, world/' '{file}'")]
    if "Edit" in asked.tools:  # Claude Code
        change = {"file_path": file, "old_string": "hello", "new_string": "hello, world"}
        return [Call("Read", {"file_path": file}), Call("Edit", change)]
    change = {"filePath": file, "oldString": "hello", "newString": "hello, world"}
    return [Call("read", {"filePath": file}), Call("edit", change)]


SCRIPTS: dict[str, Callable[[Asked], list[Step]]] = {
    "hello": lambda asked: [Say(["Hello."])],
    "tool": lambda asked: [shell(asked, f"echo from the tool > {WRITTEN}")],
    "slow": lambda asked: [Say([f"word{n} " for n in range(1200)], pause=0.05)],
    "sleep": lambda asked: [shell(asked, f"echo $$ > {STARTED}; sleep 600")],
    "edit": edit,
    "many": lambda asked: [Say(re.findall(r"\S+ ", MANY))],
}


def next_step(asked: Asked) -> Step:
    named = re.findall(r"script=(\w+)", asked.prompt)
    if not asked.tools or not named:
        return Say([TITLE])
    steps = [*SCRIPTS[named[-1]](asked), Say([DONE])]
    return steps[min(asked.step, len(steps) - 1)]


def read(body: Json) -> Asked:
    """What a request in any of the dialects asks for."""
    prompt, step, scripted = "", 0, list[str]()
    for item in body.get("messages") or body.get("input") or []:
        content = item.get("content")
        blocks = [{"text": content}] if isinstance(content, str) else content or []
        step += item.get("role") == "tool" or str(item.get("type")).endswith("_call_output")
        for block in blocks:
            step += block.get("type") == "tool_result"
            text = block.get("text")
            if item.get("role") != "user" or not isinstance(text, str):
                continue
            if "script=" in text:
                scripted.append(text)
            if "script=" in text or not scripted:  # agents add texts of their own, as if by the user
                prompt, step = text, 0
    tools = [str((tool.get("function") or tool).get("name")) for tool in body.get("tools") or []]
    return Asked(prompt, step, tools, scripted[:-1])


# Dialects: the events of a streamed answer, by their names and data


def chat_completions(step: Step) -> Iterator[Event]:
    chunk = {"id": f"chatcmpl_{next(ids)}", "object": "chat.completion.chunk", "created": 1, "model": "mock"}

    def delta(members: Json, finish: str | None = None) -> Event:
        return "", {**chunk, "choices": [{"index": 0, "delta": members, "finish_reason": finish}]}

    if isinstance(step, Say):
        for word in step.spoken():
            yield delta({"role": "assistant", "content": word})
    else:
        function = {"name": step.tool, "arguments": json.dumps(step.arguments)}
        call = {"index": 0, "id": f"call_{next(ids)}", "type": "function", "function": function}
        yield delta({"role": "assistant", "tool_calls": [call]})
    yield delta({}, "stop" if isinstance(step, Say) else "tool_calls")
    yield "", {**chunk, "choices": [], "usage": {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}}


def responses(step: Step) -> Iterator[Event]:
    def event(kind: str, **members: Any) -> Event:
        return kind, {"type": kind, **members}

    response: Json = {"id": f"resp_{next(ids)}", "model": "mock", "status": "in_progress", "output": []}
    yield event("response.created", response=response)
    id = f"item_{next(ids)}"
    if isinstance(step, Say):
        item: Json = {"type": "message", "id": id, "role": "assistant", "content": []}
        yield event("response.output_item.added", output_index=0, item=item)
        for word in step.spoken():
            yield event("response.output_text.delta", item_id=id, output_index=0, content_index=0, delta=word)
        item["content"] = [{"type": "output_text", "text": "".join(step.words), "annotations": []}]
    else:
        item = {"type": "function_call", "id": id, "call_id": f"call_{next(ids)}", "name": step.tool}
        item["arguments"] = json.dumps(step.arguments)
    yield event("response.output_item.done", output_index=0, item=item)
    usage = {"input_tokens": 12, "output_tokens": 3, "total_tokens": 15}
    yield event("response.completed", response={**response, "status": "completed", "output": [item], "usage": usage})


def messages(step: Step) -> Iterator[Event]:
    def event(kind: str, **members: Any) -> Event:
        return kind, {"type": kind, **members}

    message = {"id": f"msg_{next(ids)}", "type": "message", "role": "assistant", "model": "mock", "content": []}
    end: Json = {"stop_reason": None, "stop_sequence": None}
    yield event("message_start", message={**message, **end, "usage": {"input_tokens": 12, "output_tokens": 1}})
    if isinstance(step, Say):
        yield event("content_block_start", index=0, content_block={"type": "text", "text": ""})
        for word in step.spoken():
            yield event("content_block_delta", index=0, delta={"type": "text_delta", "text": word})
    else:
        call = {"type": "tool_use", "id": f"toolu_{next(ids)}", "name": step.tool, "input": {}}
        yield event("content_block_start", index=0, content_block=call)
        arguments = json.dumps(step.arguments)
        yield event("content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": arguments})
    yield event("content_block_stop", index=0)
    end["stop_reason"] = "end_turn" if isinstance(step, Say) else "tool_use"
    yield event("message_delta", delta=end, usage={"output_tokens": 3})
    yield event("message_stop")


DIALECTS = {"/chat/completions": chat_completions, "/responses": responses, "/messages": messages}


# The server


class Handler(BaseHTTPRequestHandler):
    """Answers each request as HTTP/1.0: the end of the connection is the end of the answer."""

    log: Path

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        path = self.path.partition("?")[0]
        dialect = next((d for end, d in DIALECTS.items() if path.endswith(end)), None)
        if dialect is None:
            self.send_error(404)
            return
        asked = read(body)
        self.write_log(asked)
        try:
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            for name, data in dialect(next_step(asked)):
                self.wfile.write(f"event: {name}\n".encode() * bool(name) + f"data: {json.dumps(data)}\n\n".encode())
            self.wfile.write(b"data: [DONE]\n\n" * (dialect is chat_completions))
        except OSError:  # the agent has ended the connection
            pass

    def write_log(self, asked: Asked) -> None:
        with self.log.open("a") as log:
            log.write(json.dumps(asked._asdict()) + "\n")

    def log_message(self, format: str, *args: object) -> None:
        pass


def asked(log: Path) -> list[Asked]:
    """The prompts that have reached the model, in their order. Questions of the agent itself do not count."""
    requests = [Asked(**json.loads(line)) for line in log.read_text().splitlines()] if log.exists() else []
    return [request for request in requests if request.tools and request.step == 0]


@contextmanager
def serving(log: Path) -> Iterator[str]:
    """Serve within the block; yield the URL. log: a file that gets a line for each request."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"log": log}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


if __name__ == "__main__":
    with serving(Path(sys.argv[1])) as url:
        print(url, flush=True)
        threading.Event().wait()
