"""Which sessions of a tool are imported: where they are looked for, and which of them are wanted."""

from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from treadle.domain.paths import normalized, path_key
from treadle.transfer.sources.source import Discovery, Source, SourceReport, ToolSession


class Selection(Struct, frozen=True, kw_only=True):
    """What to import. paths: files and folders, instead of the tool's own folder. project: only what was done in this
    folder or below. since: only what was written since, in seconds since 1970. session: only the one with this id."""

    paths: tuple[Path, ...] = ()
    project: str | None = None
    since: float = 0.0
    session: str | None = None

    @property
    def has_all(self) -> bool:
        """Whether every session that is found is wanted."""
        return (self.project, self.since, self.session) == (None, 0.0, None)

    def has(self, session: ToolSession) -> bool:
        """Whether a session is wanted."""
        if session.modified < self.since or self.session not in (None, session.id, session.thread_id):
            return False
        if self.project is None:
            return True
        folder = path_key(normalized(session.folder)) if session.folder else ""
        return folder == self.project or folder.startswith(f"{self.project}/")


def sessions_in(source: Source, path: Path, report: SourceReport, known: Discovery) -> Iterator[ToolSession]:
    """The sessions in a folder, or those of one file with its subagents. Raises OSError."""
    if path.is_dir():
        yield from source.discover(path, report, known)
        return
    path.stat()
    seen = False
    homes = [parent.parent for parent in path.parents if parent.name in source.places]
    for folder in (*homes[:1], path.parent):
        if not seen:
            for session in source.discover(folder, report, known):
                if session.path == path or path.with_suffix("") in session.path.parents:
                    seen = True
                    yield session


def in_order(sessions: list[ToolSession]) -> list[ToolSession]:
    """The sessions, the oldest first; what is left of deleted ones last, because it stands back for them."""
    return sorted(sessions, key=lambda session: (session.is_remainder, session.oldest or "", session.modified))
