"""Installs the peers to compare with: python tests/benchmarks/peers.py [DIR]. Needs npm and the registries."""

import subprocess
import sys
from pathlib import Path

NPM = {
    "codex": ("@openai/codex@0.169.0",),
    "emmett": ("@event-driven-io/emmett-sqlite@0.38.5", "@event-driven-io/emmett@0.38.5", "sqlite3@5.1.7"),
}
EVENTSOURCING = "eventsourcing==9.5.6"


def install(peers: Path) -> None:
    for name, packages in NPM.items():
        (peers / name).mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "install", "--no-fund", "--no-audit", "--prefix", peers / name, *packages], check=True)
    subprocess.run([sys.executable, "-m", "venv", peers / "eventsourcing"], check=True)
    subprocess.run([python_of_eventsourcing(peers), "-m", "pip", "install", "--quiet", EVENTSOURCING], check=True)


def codex(peers: Path) -> Path | None:
    """The binary of codex, or None if it is not installed. The command of npm would start it through node."""
    return next(peers.glob("codex/node_modules/@openai/codex-*/vendor/*/bin/codex"), None)


def emmett(peers: Path) -> Path | None:
    """The folder with emmett's node_modules, or None if it is not installed."""
    folder = peers / "emmett"
    return folder if (folder / "node_modules" / "@event-driven-io").exists() else None


def python_of_eventsourcing(peers: Path) -> Path:
    return peers / "eventsourcing" / "bin" / "python"


if __name__ == "__main__":
    install(Path(sys.argv[1]) if sys.argv[1:] else Path(__file__).resolve().parents[2] / ".bench" / "peers")
