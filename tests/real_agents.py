"""Real agents, in the versions that tests/agents_lock pins, each in a home of its own and with a scripted model."""

import json
import os
from pathlib import Path
from typing import NamedTuple

import pytest

from treadle.agents.config import AgentConfig

LOCK = Path(__file__).parent / "agents_lock"
PACKAGES = {
    "opencode": "opencode-ai",
    "codex": "@agentclientprotocol/codex-acp",
    "claude": "@agentclientprotocol/claude-agent-acp",
}
VERSIONS: dict[str, str] = json.loads((LOCK / "package.json").read_text())["dependencies"]

_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
MODULES = Path(os.environ.get("TREADLE_TEST_AGENTS") or _CACHE / "treadle-test-agents") / "node_modules"
NODE = MODULES / "node" / "bin" / "node"

needs_real_agents = pytest.mark.skipif(
    not (MODULES / ".package-lock.json").exists() and "CI" not in os.environ,
    reason="the agents are not installed: tests/install does that",
)

FOREIGN = ("ANTHROPIC_", "CLAUDE", "CODEX_", "OPENAI_", "OPENCODE_", "XDG_")
"""Variables with these beginnings would lead an agent to another configuration than that of its test."""


class RealAgent(NamedTuple):
    """name: as `treadle agents add` knows it. version: what it says of itself. config: how it is started."""

    name: str
    version: str
    config: AgentConfig


def real_agent(name: str, home: Path, model: str, env: dict[str, str]) -> RealAgent:
    """Write what the agent needs into its home. model: the URL of its model. env: more variables.

    The agent is given a proxy that does not exist: what heeds it reaches nothing else.
    """
    environment = {
        "HOME": str(home),
        "TMPDIR": str(home / "tmp"),
        "PATH": f"{NODE.parent}:{os.environ['PATH']}",
        "NO_BROWSER": "1",
        "NO_PROXY": "127.0.0.1",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "HTTPS_PROXY": "http://127.0.0.1:9",
    }
    (home / "tmp").mkdir(parents=True)
    start = {"opencode": _opencode, "codex": _codex, "claude": _claude}[name]
    command, args, more = start(home, model)
    return RealAgent(name, VERSIONS[PACKAGES[name]], AgentConfig(str(command), args, {**environment, **more, **env}))


Start = tuple[Path, list[str], dict[str, str]]


def _opencode(home: Path, model: str) -> Start:
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "Mock",
        "options": {"baseURL": f"{model}/v1", "apiKey": "none"},
        "models": {"mock": {"name": "Mock"}},
    }
    config = {
        **{"model": "mock/mock", "small_model": "mock/mock", "provider": {"mock": provider}},
        **{"autoupdate": False, "share": "disabled", "permission": {"bash": "ask", "edit": "ask"}},
    }
    _write(home / ".config" / "opencode" / "opencode.json", json.dumps(config))
    env = {f"OPENCODE_DISABLE_{what}": "1" for what in ("AUTOUPDATE", "MODELS_FETCH", "LSP_DOWNLOAD")}
    return MODULES / "opencode-ai" / "bin" / "opencode.exe", ["acp"], env


def _codex(home: Path, model: str) -> Start:
    # A model that Codex knows would be asked without a list of tools.
    config = f"""
        model = "mock"
        model_provider = "mock"
        [model_providers.mock]
        name = "Mock"
        base_url = "{model}/v1"
        wire_api = "responses"
        requires_openai_auth = false
    """
    _write(home / ".codex" / "config.toml", config)
    env = {"CODEX_HOME": str(home / ".codex"), "INITIAL_AGENT_MODE": "read-only"}
    return NODE, [_main("codex")], env


def _claude(home: Path, model: str) -> Start:
    env = {
        "IS_SANDBOX": "",  # with a value that is not 1, a session of root is refused
        "ANTHROPIC_BASE_URL": model,
        "ANTHROPIC_API_KEY": "none",
        "ANTHROPIC_MODEL": "claude-sonnet-4-5",
        "CLAUDE_CONFIG_DIR": str(home / ".claude"),
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CODE_ENABLE_PROMPT_SUGGESTION": "false",  # a request that looks like the prompt before it
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_TELEMETRY": "1",
    }
    return NODE, [_main("claude")], env


def _main(name: str) -> str:
    return str(MODULES / PACKAGES[name] / "dist" / "index.js")


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True)
    file.write_text(text)
