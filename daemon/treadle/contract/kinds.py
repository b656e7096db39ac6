"""Every kind of error: its code, the other members of `data`, and what to do. Clients switch on `data.kind`."""

from typing import Final

from msgspec import Struct

from treadle.contract import errors
from treadle.domain.ids import GivenId, Timestamp

CODES: Final[dict[int, str]] = {
    errors.PARSE_ERROR: "Parse error",
    errors.INVALID_REQUEST: "Invalid Request",
    errors.METHOD_NOT_FOUND: "Method not found",
    errors.INVALID_PARAMS: "Invalid params",
    errors.INTERNAL_ERROR: "Internal error",
    errors.OVERLOADED: "Overloaded",
    errors.NOT_INITIALIZED: "Server not initialized",
    errors.REJECTED: "Rejected",
    errors.NOT_FOUND: "Not found",
    errors.CONFLICT: "Conflict",
    errors.CANCELLED: "Request cancelled",
    errors.REQUEST_FAILED: "Request failed",
}

OF_ANY_REQUEST: Final = (
    errors.INVALID_REQUEST,
    errors.INVALID_PARAMS,
    errors.INTERNAL_ERROR,
    errors.OVERLOADED,
    errors.NOT_INITIALIZED,
    errors.CANCELLED,
    errors.REQUEST_FAILED,
)
"""The codes that any method may answer. -32700 and -32601 do not belong to a method."""


class Kind(Struct, frozen=True):
    """One kind of error. members: the members of `data` besides `kind`. advice: when it occurs, and what to do."""

    code: int
    advice: str
    members: dict[str, object] = {}


KINDS: Final[dict[str, Kind]] = {
    "parseError": Kind(
        errors.PARSE_ERROR,
        "The message is not valid JSON, or could not be framed. `id` is null. Fix the client",
        {"reason": str},
    ),
    "invalidRequest": Kind(
        errors.INVALID_REQUEST,
        "The message is JSON but not a valid JSON-RPC message. Or: the id is in flight, the batch is empty or has more "
        "than 1,000 messages, `initialize` was sent twice, or `shutdown` was sent before",
        {"reason": str},
    ),
    "messageTooLarge": Kind(
        errors.INVALID_REQUEST,
        "The message was discarded unread. `id` is null. Send less, or raise `--max-message-bytes`",
        {"limitBytes": int},
    ),
    "methodNotFound": Kind(errors.METHOD_NOT_FOUND, "There is no such method", {"method": str}),
    "invalidParams": Kind(
        errors.INVALID_PARAMS,
        "`path` is the member that is wrong, missing or unknown: `$.params.title`",
        {"path": str, "reason": str},
    ),
    "internalError": Kind(errors.INTERNAL_ERROR, "A defect of the daemon. Its log has the details. Please report it"),
    "diskFull": Kind(errors.REQUEST_FAILED, "The disk is full. Make room, then send it again"),
    "ioError": Kind(errors.REQUEST_FAILED, "The disk failed to read or write. Check its free space and its health"),
    "databaseCorrupt": Kind(
        errors.REQUEST_FAILED,
        "The database file is damaged. `treadle doctor` shows the damage, `treadle restore` restores a copy",
    ),
    "databaseReadOnly": Kind(errors.REQUEST_FAILED, "The data directory is not writable"),
    "databaseUnreachable": Kind(
        errors.REQUEST_FAILED, "The data directory does not exist any more, was replaced, or is not readable"
    ),
    "databaseLocked": Kind(errors.REQUEST_FAILED, "Another program has locked the database. Close it and try again"),
    "logUnreachable": Kind(
        errors.REQUEST_FAILED,
        "The server of the shared log is not reached. Reads still work. Send it again later; with a `commandId` it is "
        "never carried out twice, even if the answer was lost",
    ),
    "logForbidden": Kind(
        errors.REQUEST_FAILED, "This login may not write to the shared log. Ask its owner for `treadle log grant`"
    ),
    "logFull": Kind(errors.REQUEST_FAILED, "The disk of the server is full. Tell the one who runs it"),
    "logRewound": Kind(
        errors.REQUEST_FAILED,
        "The shared log lacks events that this machine has: its server was restored from a backup, or a standby took "
        "over without them. Start all treadle processes of the data directory again: the replica is kept as "
        "`rewound-DATE.db`, and a new one is built",
    ),
    "logMissing": Kind(
        errors.REQUEST_FAILED,
        "The database has no shared log, or its schema is of an older treadle. Its owner runs `treadle log init` or "
        "`treadle log upgrade`",
    ),
    "logInsecure": Kind(
        errors.REQUEST_FAILED,
        "The connection to the shared log could be read by others, or a crash of its server would lose events. The "
        "message says what to change",
    ),
    "searchTimedOut": Kind(errors.REQUEST_FAILED, "The search timed out after 10 seconds. Narrow the query"),
    "tooBig": Kind(errors.REQUEST_FAILED, "A value is larger than SQLite can store"),
    "storage": Kind(errors.REQUEST_FAILED, "SQLite failed for another reason. The message has it"),
    "databaseRefused": Kind(
        errors.REQUEST_FAILED,
        "This version of treadle cannot use or open the data directory. The message says what to do",
    ),
    "databaseNewer": Kind(
        errors.REQUEST_FAILED, "A newer version of treadle has upgraded the database. Start that version"
    ),
    "badConfig": Kind(
        errors.REQUEST_FAILED,
        "A file in which agents are configured is invalid or cannot be read. The message names the file and the line",
    ),
    "gitMissing": Kind(errors.REQUEST_FAILED, "git is not installed, or cannot be run. Install it"),
    "gitFailed": Kind(errors.REQUEST_FAILED, "git failed. The message has what it said"),
    "tooSlow": Kind(errors.REQUEST_FAILED, "git took too long and was ended. Nothing was changed"),
    "tooMuch": Kind(errors.REQUEST_FAILED, "git printed more than 64 MiB. Name fewer `paths`"),
    "noRepository": Kind(
        errors.REQUEST_FAILED, "The folder of the project does not exist, or is in no git repository: `git init`"
    ),
    "onlyInMemory": Kind(
        errors.REQUEST_FAILED,
        "The daemon runs with `--memory`, and this would leave something in the user's repository: a checkpoint, or a "
        "worktree",
    ),
    "bareRepository": Kind(errors.REQUEST_FAILED, "The folder of the project is in a repository without a work tree"),
    "folderTooWide": Kind(
        errors.REQUEST_FAILED,
        "The repository holds the home directory, or the data directory. Make one for the project: `git init`",
    ),
    "noCommit": Kind(
        errors.REQUEST_FAILED,
        "The commit of the checkpoint is not in the repository. Or: the repository has no commit yet, at which a "
        "worktree would begin",
    ),
    "noSuchFile": Kind(errors.REQUEST_FAILED, "The file does not exist, or git ignores it"),
    "noSuchLine": Kind(errors.REQUEST_FAILED, "The file has fewer lines"),
    "fileTooBig": Kind(errors.REQUEST_FAILED, "The file has more than 1 MiB"),
    "checkpointPruned": Kind(
        errors.REJECTED,
        "The checkpoint was pruned at `prunedAt`, because it was too old or there were too many",
        {"prunedAt": Timestamp},
    ),
    "hasSubmodules": Kind(
        errors.REQUEST_FAILED, "The repository has submodules, whose files a worktree would not have: work without one"
    ),
    "worktreeNotClean": Kind(
        errors.REQUEST_FAILED,
        "The worktree has changes that the folder of the project does not have. Apply them first, or set `force`",
    ),
    "foreignWorktree": Kind(
        errors.REQUEST_FAILED, "The project has another folder than when the worktree was made. Change it back"
    ),
    "worktreeLost": Kind(
        errors.REQUEST_FAILED,
        "The worktree was deleted or moved, or is in another data directory. The message says what to do",
    ),
    "conflict": Kind(
        errors.REQUEST_FAILED,
        "The worktree and the folder of the project changed the same lines. Nothing was applied. The message names the "
        "files",
    ),
    "changedMeanwhile": Kind(
        errors.REQUEST_FAILED, "A file was changed while it was to be restored. Nothing was restored. Try again"
    ),
    "overloaded": Kind(
        errors.OVERLOADED,
        "A queue is full, or other processes keep the database busy. Nothing was done. Retry after `retryAfterMs` "
        "milliseconds",
        {"reason": str, "retryAfterMs": int},
    ),
    "notInitialized": Kind(errors.NOT_INITIALIZED, "`initialize` has not succeeded yet"),
    "idTaken": Kind(
        errors.REJECTED,
        "The id is or was in use. Ids are never reused. Choose another one, or leave it out",
        {"entity": str, "id": GivenId},
    ),
    "atInFuture": Kind(
        errors.REJECTED,
        "`at` is more than a minute after the daemon's clock, which says `now`. Leave it out, or set the clock",
        {"now": Timestamp},
    ),
    "contentBlock": Kind(
        errors.REJECTED,
        "The content block at `index` has no `type`, or it is a text without `text`. Or: the message has text in its "
        "content and also beside it",
        {"index": int},
    ),
    "detailNotObject": Kind(
        errors.REJECTED, "The detail of the activity is not an object, so it has no members. Use RecordActivity"
    ),
    "badRedaction": Kind(
        errors.REJECTED,
        "The setting `redaction` has another form, or a pattern that cannot be used. The message says why",
    ),
    "notOnlyTexts": Kind(
        errors.REJECTED,
        "The event at `sequence` would be another one: a redaction changes only texts, and each event once",
        {"sequence": int},
    ),
    "pathNotAbsolute": Kind(errors.REJECTED, "The path of a project or a worktree must begin with `/`"),
    "pathIsNoFolder": Kind(errors.REJECTED, "The path does not exist, or is not a folder"),
    "pathTaken": Kind(
        errors.REJECTED, "The project `projectId` has this path. Use that project", {"projectId": GivenId}
    ),
    "noRemote": Kind(
        errors.REJECTED,
        "A project of a shared log is known by its git remote, and the folder has none. Add one: "
        "`git remote add origin URL`",
    ),
    "remoteTaken": Kind(
        errors.REJECTED,
        "The project `projectId` of the shared log has this remote. Use that project: `project/open` finds it",
        {"projectId": GivenId},
    ),
    "folderTaken": Kind(
        errors.REJECTED,
        "The project `projectId` of the shared log has another folder on this machine. Use that, or give the project "
        "this one: UpdateProject with `path`",
        {"projectId": GivenId},
    ),
    "folderMissing": Kind(
        errors.REJECTED,
        "The project `projectId` of the shared log has no folder on this machine. Clone its repository, and give the "
        "folder to `project/open`",
        {"projectId": GivenId},
    ),
    "checkpointElsewhere": Kind(
        errors.REJECTED,
        "The checkpoint is in a repository on another machine: on that of `by`, if that is known",
        {"machine": GivenId, "by": str | None},
    ),
    "projectHasThreads": Kind(
        errors.REJECTED, "The project has threads. Delete them first, or set `cascade`", {"threads": int}
    ),
    "threadArchived": Kind(errors.REJECTED, "The thread is archived. Unarchive it first"),
    "turnRunning": Kind(
        errors.REJECTED,
        "A thread can run one turn at a time. Complete or interrupt `turnId` first",
        {"turnId": GivenId},
    ),
    "turnEnded": Kind(
        errors.REJECTED,
        "The turn was completed, failed or was interrupted, perhaps by another process",
        {"turnId": GivenId},
    ),
    "messageComplete": Kind(errors.REJECTED, "The message is complete. No text can be appended to it"),
    "noWorktree": Kind(
        errors.REJECTED,
        "The thread was created without a worktree, or its worktree is not there: the next prompt makes it",
    ),
    "worktreeMade": Kind(errors.REJECTED, "The thread has its worktree already"),
    "duplicateOption": Kind(errors.REJECTED, "Two options of the approval have the same id"),
    "approvalResolved": Kind(
        errors.REJECTED,
        "The approval was already resolved or cancelled. `outcome` is its outcome",
        {"outcome": str | None},
    ),
    "unknownOption": Kind(errors.REJECTED, "The outcome must be one of the ids in `options`", {"options": list[str]}),
    "noAgent": Kind(errors.REJECTED, "The thread has no agent. Assign one first: AssignAgent"),
    "emptyPrompt": Kind(errors.REJECTED, "The prompt has neither text nor other content"),
    "promptSent": Kind(
        errors.REJECTED, "The prompt is not queued any more: it was sent or removed", {"promptId": GivenId}
    ),
    "sessionOpen": Kind(
        errors.REJECTED, "A thread can have one open session. End `sessionId` first", {"sessionId": GivenId}
    ),
    "sessionEnded": Kind(errors.REJECTED, "The session has ended", {"sessionId": GivenId}),
    "ruleScope": Kind(errors.REJECTED, "A rule holds in one thread or in one project, not in both"),
    "emptyRule": Kind(errors.REJECTED, "The rule matches everything. Give `match` a kind, a command or a path"),
    "ruleTooBroad": Kind(
        errors.REJECTED,
        "A rule that allows must say more than the kind: a `command` for `execute`, a `path` for other kinds. `fetch`, "
        "`other` and `switch_mode` cannot be allowed",
    ),
    "ruleExpired": Kind(
        errors.REJECTED, "`until` has passed by the daemon's clock, which says `now`", {"now": Timestamp}
    ),
    "notFound": Kind(errors.NOT_FOUND, "The entity does not exist, or was deleted", {"entity": str, "id": str}),
    "versionConflict": Kind(
        errors.CONFLICT,
        "The thread has changed. Read it again, then decide again",
        {"expected": int, "actual": int},
    ),
    "commandIdConflict": Kind(
        errors.CONFLICT,
        "The `commandId` belongs to another command. `expected` and `actual` are the digests of the two",
        {"commandId": GivenId, "expected": str, "actual": str},
    ),
    "commandErased": Kind(
        errors.CONFLICT,
        "What the command with this `commandId` led to was erased or redacted since then, and with it the answer",
        {"commandId": GivenId},
    ),
    "cancelled": Kind(errors.CANCELLED, "The request was cancelled with `$/cancelRequest`. It had no effect"),
}
