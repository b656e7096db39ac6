"""Every kind of error: its code, what else `data` holds, and what to do. Clients switch on `data.kind`."""

from typing import Final

from msgspec import Struct

from treadle.contract import errors
from treadle.domain.ids import GivenId

CODES: Final[dict[int, str]] = {
    errors.PARSE_ERROR: "Parse error",
    errors.INVALID_REQUEST: "Invalid Request",
    errors.METHOD_NOT_FOUND: "Method not found",
    errors.INVALID_PARAMS: "Invalid params",
    errors.INTERNAL_ERROR: "Internal error",
    errors.OVERLOADED: "Overloaded",
    errors.NOT_INITIALIZED: "Server not initialized",
    errors.REJECTED: "The rules do not allow it",
    errors.NOT_FOUND: "Not found",
    errors.CONFLICT: "Conflict",
    errors.CANCELLED: "Request cancelled",
}

OF_ANY_REQUEST: Final = (
    errors.INVALID_REQUEST,
    errors.INVALID_PARAMS,
    errors.INTERNAL_ERROR,
    errors.OVERLOADED,
    errors.NOT_INITIALIZED,
    errors.CANCELLED,
)
"""What every method may answer. -32700 and -32601 are of no method."""


class Kind(Struct, frozen=True):
    """members: what `data` holds beside `kind`. advice: when it comes, and what to do."""

    code: int
    advice: str
    members: dict[str, object] = {}


KINDS: Final[dict[str, Kind]] = {
    "parseError": Kind(
        errors.PARSE_ERROR, "No JSON, or no frame could be made of it. `id` is null. Mend the client", {"reason": str}
    ),
    "invalidRequest": Kind(
        errors.INVALID_REQUEST,
        "JSON, but no JSON-RPC message; an id that is in flight; an empty batch or one over 1,000; a second "
        "`initialize`; a request after `shutdown`",
        {"reason": str},
    ),
    "messageTooLarge": Kind(
        errors.INVALID_REQUEST,
        "The message was thrown away unread. `id` is null. Send less, or raise `--max-message-bytes`",
        {"limitBytes": int},
    ),
    "methodNotFound": Kind(errors.METHOD_NOT_FOUND, "There is no such method", {"method": str}),
    "invalidParams": Kind(
        errors.INVALID_PARAMS,
        "`path` is the member that is wrong, missing or unknown: `$.params.title`",
        {"path": str, "reason": str},
    ),
    "internalError": Kind(errors.INTERNAL_ERROR, "A defect of the daemon. Its log says more"),
    "diskFull": Kind(errors.INTERNAL_ERROR, "Make room, and it goes on"),
    "ioError": Kind(errors.INTERNAL_ERROR, "The disk failed a read or a write"),
    "databaseCorrupt": Kind(
        errors.INTERNAL_ERROR,
        "The file is damaged: `treadle doctor` says how, `treadle restore` brings back a copy",
    ),
    "databaseReadOnly": Kind(errors.INTERNAL_ERROR, "The data directory cannot be written"),
    "databaseUnreachable": Kind(errors.INTERNAL_ERROR, "The data directory is gone, was replaced, or may not be read"),
    "databaseLocked": Kind(errors.INTERNAL_ERROR, "Another program holds the database locked"),
    "tooLong": Kind(errors.INTERNAL_ERROR, "A search that was given up after 10 seconds: ask for less"),
    "tooBig": Kind(errors.INTERNAL_ERROR, "More than SQLite takes in one value"),
    "storage": Kind(errors.INTERNAL_ERROR, "SQLite refused for another reason, which the message names"),
    "databaseRefused": Kind(
        errors.INTERNAL_ERROR,
        "The data directory is not for this treadle, or cannot be opened. The message says what to do",
    ),
    "databaseNewer": Kind(errors.INTERNAL_ERROR, "A newer treadle has taken the database over. Spawn that one"),
    "overloaded": Kind(
        errors.OVERLOADED,
        "A queue is full, or other processes keep the database busy. Nothing was done. Send it again after that many "
        "milliseconds",
        {"reason": str, "retryAfterMs": int},
    ),
    "notInitialized": Kind(errors.NOT_INITIALIZED, "`initialize` was not answered with a result"),
    "idTaken": Kind(
        errors.REJECTED,
        "The id is in use, or was: ids are never used twice. Choose another, or leave it out",
        {"entity": str, "id": GivenId},
    ),
    "pathNotAbsolute": Kind(errors.REJECTED, "A project's path begins with `/`"),
    "pathIsNoFolder": Kind(errors.REJECTED, "There is nothing at that path, or no folder"),
    "pathTaken": Kind(errors.REJECTED, "That project has this path. Use it", {"projectId": GivenId}),
    "projectHasThreads": Kind(errors.REJECTED, "Delete these first, or say `cascade`", {"threads": int}),
    "threadArchived": Kind(errors.REJECTED, "Unarchive it first"),
    "turnRunning": Kind(
        errors.REJECTED, "One turn a thread at a time. Complete or interrupt that one first", {"turnId": GivenId}
    ),
    "turnEnded": Kind(
        errors.REJECTED,
        "The turn was completed, has failed or was interrupted, perhaps by another process",
        {"turnId": GivenId},
    ),
    "messageComplete": Kind(errors.REJECTED, "No text can be appended any more"),
    "duplicateOption": Kind(errors.REJECTED, "Two options of an approval have the same id"),
    "approvalResolved": Kind(
        errors.REJECTED,
        "It was answered otherwise, or cancelled. `outcome` is what holds",
        {"outcome": str | None},
    ),
    "unknownOption": Kind(errors.REJECTED, "The outcome is none of these ids", {"options": list[str]}),
    "notFound": Kind(errors.NOT_FOUND, "There is none, or it was deleted", {"entity": str, "id": str}),
    "versionConflict": Kind(
        errors.CONFLICT,
        "Somebody else was first. Read the thread again and decide anew",
        {"expected": int, "actual": int},
    ),
    "commandIdConflict": Kind(
        errors.CONFLICT,
        "That `commandId` was given to another command. `expected` and `actual` are digests of the two",
        {"commandId": GivenId, "expected": str, "actual": str},
    ),
    "cancelled": Kind(errors.CANCELLED, "Taken back with `$/cancelRequest`. It had no effect"),
}
