"""Well-known agents: the command that runs each, how to install it, and how to continue its sessions in its own tool.

treadle downloads nothing.
"""

from msgspec import Struct


class KnownAgent(Struct, frozen=True):
    """command: its name on PATH. install: what to do if it is not there. resume: the command that continues a session
    in the agent's own tool, without the id of the session."""

    command: str
    args: tuple[str, ...]
    install: str
    resume: tuple[str, ...] = ()


def _npm(package: str) -> str:
    return f"`npm install -g {package}` installs it"


KNOWN = {
    "auggie": KnownAgent("auggie", ("--acp",), _npm("@augmentcode/auggie")),
    "claude": KnownAgent("claude-agent-acp", (), _npm("@agentclientprotocol/claude-agent-acp"), ("claude", "--resume")),
    "codex": KnownAgent("codex-acp", (), _npm("@agentclientprotocol/codex-acp"), ("codex", "resume")),
    "copilot": KnownAgent("copilot", ("--acp",), _npm("@github/copilot"), ("copilot", "--resume")),
    "gemini": KnownAgent("gemini", ("--acp",), _npm("@google/gemini-cli"), ("gemini", "--resume")),
    "goose": KnownAgent("goose", ("acp",), "https://block.github.io/goose says how to install it"),
    "kimi": KnownAgent("kimi", ("acp",), "`uv tool install kimi-cli` installs it"),
    "opencode": KnownAgent("opencode", ("acp",), _npm("opencode-ai"), ("opencode", "--session")),
    "qwen": KnownAgent("qwen", ("--acp",), _npm("@qwen-code/qwen-code"), ("qwen", "--resume")),
    "vibe": KnownAgent("vibe-acp", (), "`uv tool install mistral-vibe` installs it"),
}
"""By the name under which `treadle agents add` knows it."""


def known_name(name: str) -> str | None:
    """The well-known agent of this name: of a program, of a package or in `initialize`. None if there is none."""
    word = name.rsplit("/", 1)[-1].lower()
    return next((known for known, agent in KNOWN.items() if word in (known, agent.command)), None)
