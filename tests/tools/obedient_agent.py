"""An agent of the Agent Client Protocol that does what the prompt says. Standard library only.

`ask`: ask for permission. `wait PATH`: until the file exists, or the turn is cancelled. `work SECONDS`: be busy for so
long. Anything else is answered at once. Each prompt and each answer to a permission is a line of the file $HEARD.
"""

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

write_lock = threading.Lock()
cancelled = threading.Event()
asked: list[int] = []


def send(**message: Any) -> None:
    with write_lock:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        sys.stdout.flush()


def hear(text: str) -> None:
    with open(os.environ["HEARD"], "a") as file:
        file.write(f"{text}\n")


def end(id: int) -> None:
    send(id=id, result={"stopReason": "cancelled" if cancelled.is_set() else "end_turn"})


def prompt(id: int, text: str) -> None:
    cancelled.clear()
    hear(text)
    update = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": f"heard {text}"}}
    send(method="session/update", params={"sessionId": "s", "update": update})
    word, _, argument = text.partition(" ")
    if word == "ask":
        asked.append(id)
        options = [{"optionId": "yes", "name": "Yes", "kind": "allow_once"}]
        call = {"toolCallId": "c", "title": "rm -r /", "kind": "execute"}
        params = {"sessionId": "s", "toolCall": call, "options": options}
        send(id=100, method="session/request_permission", params=params)
        return
    if word == "wait":
        while not Path(argument).exists() and not cancelled.wait(0.02):
            pass
    elif word == "work":
        cancelled.wait(float(argument))
    end(id)


def main() -> None:
    for line in sys.stdin:
        message = json.loads(line)
        match message.get("method"):
            case "initialize":
                send(id=message["id"], result={"protocolVersion": 1, "agentInfo": {"name": "obedient", "version": "1"}})
            case "session/new":
                send(id=message["id"], result={"sessionId": "s"})
            case "session/prompt":
                text = message["params"]["prompt"][0]["text"]
                threading.Thread(target=prompt, args=(message["id"], text), daemon=True).start()
            case "session/cancel":
                cancelled.set()
            case None if message["id"] == 100:
                hear(f"answered {message['result']['outcome'].get('optionId')}")
                end(asked.pop())
            case _:
                pass


if __name__ == "__main__":
    main()
