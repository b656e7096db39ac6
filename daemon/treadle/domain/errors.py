"""Exceptions that the decider raises when it rejects a command."""


class Rejected(Exception):
    """The rules do not allow the command. It changes nothing.

    kind: a stable name that clients may switch on. details: further JSON for clients. str(error): a sentence for
    people.
    """

    def __init__(self, kind: str, message: str, **details: object) -> None:
        super().__init__(message)
        self.kind = kind
        self.details = details


class NotFound(Rejected):
    """A command or read refers to something that does not exist or was deleted."""

    def __init__(self, entity: str, id: str) -> None:
        super().__init__("notFound", f"{entity} {id!r} not found", entity=entity, id=id)


class Conflict(Rejected):
    """The thread is not at the expected version, or the commandId was already used for a different command."""
