"""Runs the scripted agent."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # a file that is run finds its neighbours, not its package

from scripted_agent.sessions import main  # noqa: E402

main(sys.argv[1:])
