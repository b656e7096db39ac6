"""Well-known agents: the command that runs each, and how to install it. treadle downloads nothing."""

from msgspec import Struct


class KnownAgent(Struct, frozen=True):
    """command: its name on PATH. install: what to do if it is not there."""

    command: str
    args: tuple[str, ...]
    install: str


def _npm(package: str) -> str:
    return f"`npm install -g {package}` installs it"


KNOWN = {
    "auggie": KnownAgent("auggie", ("--acp",), _npm("@augmentcode/auggie")),
    "claude": KnownAgent("claude-agent-acp", (), _npm("@agentclientprotocol/claude-agent-acp")),
    "codex": KnownAgent("codex-acp", (), _npm("@agentclientprotocol/codex-acp")),
    "copilot": KnownAgent("copilot", ("--acp",), _npm("@github/copilot")),
    "gemini": KnownAgent("gemini", ("--acp",), _npm("@google/gemini-cli")),
    "goose": KnownAgent("goose", ("acp",), "https://block.github.io/goose says how to install it"),
    "kimi": KnownAgent("kimi", ("acp",), "`uv tool install kimi-cli` installs it"),
    "opencode": KnownAgent("opencode", ("acp",), _npm("opencode-ai")),
    "qwen": KnownAgent("qwen", ("--acp",), _npm("@qwen-code/qwen-code")),
    "vibe": KnownAgent("vibe-acp", (), "`uv tool install mistral-vibe` installs it"),
}
"""By the name under which `treadle agents add` knows it."""
