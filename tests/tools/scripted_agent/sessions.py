"""The sessions of the scripted agent, and its main loop."""

import copy
import json
import os
import secrets
import signal
import sys
import threading
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from scripted_agent import ANSWER, login
from scripted_agent.scripts import MODES, SCRIPTS, options, settings
from scripted_agent.start import ANSWERS, BEHAVIOURS
from scripted_agent.streams import Json, answered, encode, receive, send, write
from scripted_agent.turn import Cancelled, Refused, Session, Turn

NEWS = {"type": "text", "text": "the task in the background has ended"}


class Agent:
    def __init__(self, words: list[str]) -> None:
        self.words = words
        self.sessions: dict[str, Session] = {}
        self.turns: dict[str, Turn] = {}
        self.is_logged_in = False

    def handle(self, message: Json) -> None:
        method, params, id = message.get("method"), message.get("params", {}), message.get("id")
        if method is None:
            answered(message)
        elif method == "session/cancel":
            if turn := self.turns.get(params["sessionId"]):
                turn.cancelled.set()
        elif id is not None:
            try:
                handler = HANDLERS.get(str(method))
                if handler is None:
                    raise Refused(-32601, "Method not found")
                handler(self, id, params)
            except Refused as refused:
                send(id=id, error=dict(zip(("code", "message", "data"), refused.args, strict=False)))

    # Sessions

    def new(self, id: Any, params: Json) -> None:
        self._check_login("new")
        if "new-hangs" in self.words:
            return
        if not isinstance(params.get("mcpServers"), list) or not os.path.isabs(params.get("cwd", "")):  # noqa: PTH117
            raise Refused(-32602, "Invalid params")
        session = Session(secrets.token_hex(8), params["cwd"])
        self._opened(id, session, {"sessionId": session.id})

    def load(self, id: Any, params: Json) -> None:
        self._again(id, params, replay=True)

    def resume(self, id: Any, params: Json) -> None:
        self._again(id, params, replay="resume-replays" in self.words)

    def fork(self, id: Any, params: Json) -> None:
        session = replace(copy.deepcopy(self._find(params["sessionId"])), id=secrets.token_hex(8))
        if "fork-costs-nothing" in self.words:
            session.cost = 0.0
        self._opened(id, session, {"sessionId": session.id})

    def close(self, id: Any, params: Json) -> None:
        if turn := self.turns.get(params["sessionId"]):
            turn.cancelled.set()
        self.sessions.pop(params["sessionId"], None)
        send(id=id, result={})

    def _again(self, id: Any, params: Json, replay: bool) -> None:
        self._check_login("new")
        if "load-fails" in self.words:
            raise Refused(-32603, "Internal error", {"details": "session not found"})
        session = self._find(params["sessionId"])
        for update in session.history if replay else ():
            send(method="session/update", params={"sessionId": session.id, "update": update})
        if "no-settings-again" in self.words:
            session.mode = "ask"
            self.sessions[session.id] = session
            send(id=id, result={})
            return
        news = Turn(session, None, "")
        lines = [news.line("agent_message_chunk", content=NEWS)] if "speaks-again" in self.words else []
        self._opened(id, session, {}, *lines)

    def _opened(self, id: Any, session: Session, result: Json, *lines: bytes) -> None:
        self.sessions[session.id] = session
        if "early-updates" in self.words:
            send(method="_auth/status_update", params={"status": "ok"})
            settings(Turn(replace(session, history=[]), None, ""))
        if "no-settings" not in self.words:
            modes = {"currentModeId": session.mode, "availableModes": MODES}
            result |= {"modes": modes, "configOptions": options(session.model)}
        self._keep(session)
        write(encode(id=id, result=result), *lines)
        if "late-updates" in self.words:
            settings(Turn(replace(session, history=[]), None, ""))

    def _check_login(self, when: str) -> None:
        if f"auth-on-{when}" in self.words and not (self.is_logged_in or login.is_known()):
            raise Refused(-32000, "Authentication required", {"authMethods": ANSWER["authMethods"]})

    def _find(self, id: str) -> Session:
        if id not in self.sessions:
            file = Path(os.environ.get("SCRIPTED_SESSIONS", os.devnull)) / f"{id}.json"
            if not file.is_file():
                raise Refused(-32002, "Resource not found", {"sessionId": id})
            self.sessions[id] = Session(**json.loads(file.read_text()))
        return self.sessions[id]

    def _keep(self, session: Session) -> None:
        if "SCRIPTED_SESSIONS" in os.environ:
            folder = Path(os.environ["SCRIPTED_SESSIONS"])
            folder.mkdir(exist_ok=True)
            part = folder / secrets.token_hex(8)  # a kill would leave half of a file
            part.write_text(json.dumps(asdict(session)))
            part.replace(folder / f"{session.id}.json")

    # Settings

    def authenticate(self, id: Any, params: Json) -> None:
        if params["methodId"] != "key":
            raise Refused(-32602, "Invalid params")
        login.by_itself(self.words)
        self.is_logged_in = "login-in-vain" not in self.words
        send(id=id, result={})

    def set_mode(self, id: Any, params: Json) -> None:
        session = self._find(params["sessionId"])
        if params["modeId"] not in {mode["id"] for mode in MODES}:
            raise Refused(-32602, "Invalid params")
        session.mode = params["modeId"]
        self._keep(session)
        send(id=id, result={})

    def set_option(self, id: Any, params: Json) -> None:
        session = self._find(params["sessionId"])
        if params["configId"] != "model" or params["value"] not in ("small", "large"):
            raise Refused(-32602, "Invalid params")
        session.model = params["value"]
        self._keep(session)
        send(id=id, result={"configOptions": options(session.model)})

    # Turns

    def prompt(self, id: Any, params: Json) -> None:
        self._check_login("prompt")
        session = self._find(params["sessionId"])
        if session.id in self.turns:
            raise Refused(-32600, "a prompt is running")
        text = " ".join(block.get("text", "") for block in params["prompt"])
        turn = self.turns[session.id] = Turn(session, id, text)
        session.history += [{"sessionUpdate": "user_message_chunk", "content": block} for block in params["prompt"]]
        threading.Thread(target=self._run, args=(turn,), daemon=True).start()

    def _run(self, turn: Turn) -> None:
        answer: Json
        try:
            names = [word.partition("=")[2] for word in turn.text.split() if word.startswith("script=")]
            if "demo" in self.words:
                names = DEMO.get(turn.text.partition(" ")[0], names)
            for name in names:
                SCRIPTS[name](turn)
            if not names:
                turn.say(f"You said: {turn.text}")
            answer = {"result": {"stopReason": turn.stop, **turn.usage}}
        except Cancelled:
            answer = {"result": {"stopReason": "cancelled"}}
        except Refused as refused:
            answer = {"error": dict(zip(("code", "message", "data"), refused.args, strict=False))}
        self._keep(turn.session)
        del self.turns[turn.session.id]
        write(*turn.lines, encode(id=turn.prompt_id, **answer))
        turn.after()
        self._keep(turn.session)

    def steer(self, id: Any, params: Json) -> None:
        turn = self.turns.get(params["sessionId"])
        text = " ".join(block.get("text", "") for block in params["prompt"])
        if "steering-lost" in self.words:
            os._exit(3)
        if "steering-late" in self.words and turn is not None:
            turn.after = lambda: send(id=id, result={"outcome": "injected"})
            return
        if "steering-hangs" in self.words:
            return
        if "steering-turn" in self.words:
            send(id=id, result={"outcome": "startedNewTurn"})
            Turn(self._find(params["sessionId"]), None, "").say(f"a turn of its own: {text}")
        elif turn is None or "steering-refused" in self.words:
            send(id=id, result={"outcome": "promptRequired"})
        else:
            turn.say(f"steered: {text}")
            send(id=id, result={"outcome": "injected"})


HANDLERS = {
    "authenticate": Agent.authenticate,
    "session/new": Agent.new,
    "session/load": Agent.load,
    "session/resume": Agent.resume,
    "session/fork": Agent.fork,
    "session/close": Agent.close,
    "session/set_mode": Agent.set_mode,
    "session/set_config_option": Agent.set_option,
    "session/prompt": Agent.prompt,
    "_session/steering": Agent.steer,
}
DEMO = {"Run": ["echo", "tool", "ask"], "Count": ["stream"], "Say": ["plain"]}
"""The scripts of the demo's prompts, by their first word."""
OPTIONS = {
    *("no-load", "no-resume", "no-close", "fork", "auth-on-new", "auth-on-prompt", "load-fails", "resume-replays"),
    *("steering", "steering-refused", "steering-turn", "steering-lost", "steering-late", "steering-hangs"),
    *("login-terminal", "login-older", "login-form", "login-waits", "login-refused", "login-in-vain"),
    *("no-login", "log-in", "demo"),
    *("early-updates", "late-updates", "no-settings", "no-settings-again", "new-hangs"),
    *("speaks-again", "fork-costs-nothing"),
}
"""Words that say something of what follows `initialize`."""


def introduction(words: list[str], asked: Json) -> Json:
    """The answer to `initialize`. asked: its params."""
    answer: Json = copy.deepcopy(ANSWER)
    capabilities = answer["agentCapabilities"]
    capabilities["loadSession"] = "no-load" not in words
    for name in ("resume", "close"):
        if f"no-{name}" in words:
            del capabilities["sessionCapabilities"][name]
    if "fork" in words:
        capabilities["sessionCapabilities"]["fork"] = {}
    if any(word.startswith("steering") for word in words):
        answer["_meta"] = {"steering": {"supported": True}}
    answer["authMethods"] = login.methods(words, asked.get("clientCapabilities", {}))
    return answer


def main(words: list[str]) -> None:
    if "log-in" in words:
        login.on_terminal()
    agent = Agent(words)
    while (message := receive()) is not None:
        if message.get("method") != "initialize":
            agent.handle(message)
            continue
        if not message["params"]["clientInfo"]["name"]:
            sys.exit(f"who is this? {message}")
        answer: Json = {"result": introduction(words, message["params"])}
        for word in words:
            if word in ANSWERS:
                answer = ANSWERS[word]
            elif word not in OPTIONS:
                BEHAVIOURS[word]()
        send(id=message["id"], **answer)
    while "stay" in words:
        signal.pause()
