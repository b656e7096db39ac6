"""What a decision can answer instead of events."""


class Rejected(Exception):
    """A command that the rules do not allow; it leaves no trace.

    `kind` is a stable name that clients may switch on, `details` is more JSON for them, `str(error)` a sentence
    for people.
    """

    def __init__(self, kind: str, message: str, **details: object) -> None:
        super().__init__(message)
        self.kind = kind
        self.details = details


class NotFound(Rejected):
    """A command names something that does not exist, or does not any more."""

    def __init__(self, entity: str, id: str) -> None:
        super().__init__("notFound", f"{entity} {id!r} not found", entity=entity, id=id)


class Conflict(Rejected):
    """Somebody else was first: another version of the thread, or another command under the same commandId."""
