"""What can be wrong with a database, each with a sentence that says what to do."""


class StorageError(Exception):
    """The database cannot be used, or refused a write. `kind` is stable."""

    kind = "storage"


class Refused(StorageError):
    """The data directory is not ours to touch: a foreign file, an edited migration, a newer or older treadle."""

    kind = "databaseRefused"


class NewerDatabase(Refused):
    """A newer treadle wrote it."""

    kind = "databaseNewer"
