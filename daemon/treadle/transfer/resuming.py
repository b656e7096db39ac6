"""How a thread is continued in its agent's own tool."""

import re

import msgspec

from treadle.agents.known import KNOWN, known_name
from treadle.contract.results import ResumeCommand
from treadle.store.pages import LATEST
from treadle.store.ports import Reads

_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]*")
"""Ids come from files of other tools: one that looks like an option would be taken for one."""


def resume_command(reads: Reads, thread_id: str) -> ResumeCommand | None:
    """The command that continues a thread in its agent's own tool; None if treadle knows none. Raises NotFound."""
    thread = msgspec.json.decode(reads.header(thread_id))
    origin = thread["origin"] or {}
    sessions = reads.session_list(thread_id, 1, LATEST).items
    if sessions:
        session = msgspec.json.decode(sessions[0])
        project = reads.entities("project", None, [thread["projectId"]]).get(thread["projectId"])
        folder = None if project is None else msgspec.json.decode(project)["path"]
        tool, id = session["agent"], session["sessionId"]
    elif "parent" not in origin:  # no tool continues a subagent
        tool, id, folder = origin.get("tool"), origin.get("sessionId"), origin.get("cwd")
    else:
        return None
    known = KNOWN.get(known_name(tool or "") or "")
    if known is None or not known.resume or not _ID.fullmatch(id or ""):
        return None
    return ResumeCommand([*known.resume, id], folder)
