"""Scopes: what a command reads and what an event changes, as names, so that a shared log can compare them.

If no event since a sequence has a scope that a decision has read, the same command would be decided the same way now.
A scope has no spaces: `t:ID` is a thread with all that is in it, `m:ID` which threads a project has, `p:ID` the project
itself, `paths` which project has which folder, `s:KEY` a setting, `r:ID` a rule, and EVERYTHING any event.
"""

from collections.abc import Iterable

from treadle.domain.agent_events import RuleAdded, RuleRemoved
from treadle.domain.event import Event, ThreadEvent
from treadle.domain.events import ProjectCreated, ProjectDeleted, ProjectUpdated, SettingChanged, ThreadCreated
from treadle.domain.state import Key, State

EVERYTHING = "*"


def read_scopes(keys: Iterable[Key], state: State) -> set[str]:
    """The scopes of the keys, which are loaded."""
    scopes = set()
    for key in keys:
        match key:
            case ("project", id):
                scopes.add(f"p:{id}")
            case ("members", id):
                scopes.add(f"m:{id}")
                scopes.update(f"t:{thread_id}" for thread_id in state[key])
            case ("setting", name):
                scopes.add(_of_setting(name))
            case ("rule", id):
                scopes.add(f"r:{id}")
            case ("path" | "folder", _):
                scopes.add("paths")
            case (_, thread_id, *_):
                scopes.add(f"t:{thread_id}")
    return scopes


def changed_scopes(event: Event) -> list[str]:
    """The scopes that an event changes."""
    match event:
        case ThreadCreated(thread_id=thread_id, project_id=project_id):
            return [f"t:{thread_id}", f"m:{project_id}"]
        case ThreadEvent(thread_id=thread_id):
            return [f"t:{thread_id}"]
        case ProjectCreated(id=id) | ProjectUpdated(id=id) | ProjectDeleted(id=id):
            return [f"p:{id}", "paths"]
        case SettingChanged(key=name):
            return [_of_setting(name)]
        case RuleAdded(id=id) | RuleRemoved(id=id):
            return [f"r:{id}"]
    raise AssertionError(f"{type(event).__name__} has no scope")


def _of_setting(key: str) -> str:
    return "s:" + key.replace("%", "%25").replace(" ", "%20")
