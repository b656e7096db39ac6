"""What all commands have in common: the bases of their structs, and the ids that the engine assigns."""

from typing import Annotated, ClassVar

import msgspec
from msgspec import Struct

from treadle.domain.ids import Id, Time, Version, note


class Command(Struct, frozen=True, kw_only=True, tag=True, rename="camel", forbid_unknown_fields=True):
    NEW_IDS: ClassVar[tuple[str, ...]] = ()

    command_id: Annotated[
        Id | None, note("Identifies this command forever. If it is sent again, the stored answer is returned")
    ] = None
    at: Annotated[
        Time | None,
        note(
            "When it happened, for imports: at most a minute after the daemon's clock. If missing, when the daemon "
            "received it"
        ),
    ] = None


class ThreadCommand(Command, frozen=True, kw_only=True):
    thread_id: Id
    expected_version: Annotated[
        Version | None,
        note("Reject the command with a conflict unless the thread's `version` is this (0: the thread does not exist)"),
    ] = None


def missing_ids(command: Command) -> list[str]:
    """The names of the id fields that the engine has to assign."""
    return [name for name in command.NEW_IDS if getattr(command, name) is None]


def with_ids(command: Command, ids: dict[str, str]) -> Command:
    """A copy of the command with these ids."""
    return msgspec.structs.replace(command, **ids)
