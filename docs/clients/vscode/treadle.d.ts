/* Made from docs/schema.json by `make schema`: what a client of treadle and its daemon say to each other. */

export type Command =
  | CreateProject
  | UpdateProject
  | DeleteProject
  | CreateThread
  | RenameThread
  | ArchiveThread
  | UnarchiveThread
  | DeleteThread
  | StartTurn
  | CompleteTurn
  | FailTurn
  | InterruptTurn
  | AddMessage
  | AppendMessage
  | CompleteMessage
  | RecordActivity
  | RequestApproval
  | ResolveApproval
  | CreateCheckpoint
  | RestoreCheckpoint
  | ChangeSetting;
export type Event =
  | ProjectCreated
  | ProjectUpdated
  | ProjectDeleted
  | ThreadCreated
  | ThreadRenamed
  | ThreadArchived
  | ThreadUnarchived
  | ThreadDeleted
  | TurnStarted
  | TurnCompleted
  | TurnFailed
  | TurnInterrupted
  | MessageAdded
  | MessageAppended
  | MessageCompleted
  | ActivityRecorded
  | ApprovalRequested
  | ApprovalResolved
  | CheckpointCreated
  | CheckpointRestored
  | SettingChanged;
export type Snapshot = IndexSnapshot | ThreadSnapshot | SettingsSnapshot;
export type Change = UpsertChange | AppendChange | RemoveChange;
/**
 * The entity is new, or has changed: here it is, whole.
 */
export type UpsertChange =
  | {
      type: "upsert";
      entity: "project";
      value: Project;
    }
  | {
      type: "upsert";
      entity: "thread";
      value: Thread;
    }
  | {
      type: "upsert";
      entity: "turn";
      value: Turn;
    }
  | {
      type: "upsert";
      entity: "message";
      value: Message;
    }
  | {
      type: "upsert";
      entity: "activity";
      value: Activity;
    }
  | {
      type: "upsert";
      entity: "approval";
      value: Approval;
    }
  | {
      type: "upsert";
      entity: "checkpoint";
      value: Checkpoint;
    }
  | {
      type: "upsert";
      entity: "setting";
      value: Setting;
    };
export type ErrorData =
  | ParseErrorData
  | InvalidRequestData
  | MessageTooLargeData
  | MethodNotFoundData
  | InvalidParamsData
  | InternalErrorData
  | DiskFullData
  | IoErrorData
  | DatabaseCorruptData
  | DatabaseReadOnlyData
  | DatabaseUnreachableData
  | DatabaseLockedData
  | TooLongData
  | TooBigData
  | StorageData
  | DatabaseRefusedData
  | DatabaseNewerData
  | OverloadedData
  | NotInitializedData
  | IdTakenData
  | PathNotAbsoluteData
  | PathIsNoFolderData
  | PathTakenData
  | ProjectHasThreadsData
  | ThreadArchivedData
  | TurnRunningData
  | TurnEndedData
  | MessageCompleteData
  | DuplicateOptionData
  | ApprovalResolvedData
  | UnknownOptionData
  | NotFoundData
  | VersionConflictData
  | CommandIdConflictData
  | CancelledData;

/**
 * What a client of treadle and its daemon say to each other, by name. Made by `treadle schema`.
 */
export interface Protocol {
  methods: Methods;
  toClient: ToClient;
  fromClient: FromClient;
  error: ErrorObject;
}
/**
 * What each method takes and gives.
 */
export interface Methods {
  initialize: {
    params: InitializeParams;
    result: Initialized;
  };
  shutdown: {
    params: NoParams;
    result: null;
  };
  "command/dispatch": {
    params: Command;
    result: Dispatched;
  };
  "command/dispatchBatch": {
    params: DispatchBatchParams;
    result: BatchDispatched;
  };
  "project/open": {
    params: OpenProjectParams;
    result: ProjectOpened;
  };
  "project/list": {
    params: ListParams;
    result: ProjectPage;
  };
  "thread/list": {
    params: ThreadListParams;
    result: ThreadPage;
  };
  "thread/read": {
    params: ThreadReadParams;
    result: ThreadSnapshot;
  };
  "message/read": {
    params: ReadParams;
    result: Message;
  };
  "activity/read": {
    params: ReadParams;
    result: Activity;
  };
  "turn/list": {
    params: OfThreadParams;
    result: TurnPage;
  };
  "checkpoint/list": {
    params: OfThreadParams;
    result: CheckpointPage;
  };
  "setting/list": {
    params: ListParams;
    result: SettingPage;
  };
  "event/list": {
    params: EventListParams;
    result: StoredEventPage;
  };
  "search/query": {
    params: SearchParams;
    result: HitPage;
  };
  "subscription/open": {
    params: OpenParams;
    result: SubscriptionOpened;
  };
  "subscription/close": {
    params: CloseParams;
    result: null;
  };
  "daemon/status": {
    params: NoParams;
    result: Status;
  };
  "rpc.discover": {
    params: NoParams;
    result: {};
  };
}
/**
 * As in LSP; what treadle does not know of it is ignored.
 */
export interface InitializeParams {
  /**
   * the client's process; the daemon ends when this process does
   */
  processId?: number | null;
  /**
   * where a rebuild at start tells its `$/progress`
   */
  workDoneToken?: string | number | null;
  [k: string]: unknown;
}
export interface Initialized {
  /**
   * empty, and there for LSP clients
   */
  capabilities: {};
  serverInfo: ServerInfo;
  /**
   * goes up when a client has to change
   */
  protocolVersion: number;
  /**
   * tells this log from any other; kept beside a replica that is to be resumed
   */
  logId: string;
}
export interface ServerInfo {
  name: string;
  version: string;
}
/**
 * None: missing, null and `{}` are the same.
 */
export interface NoParams {}
/**
 * A project is a folder.
 */
export interface CreateProject {
  type: "CreateProject";
  /**
   * names this command for ever; sent again, the stored answer comes back
   */
  commandId?: string | null;
  id?: string | null;
  name: string;
  /**
   * absolute, and no other live project's
   */
  path: string;
}
/**
 * Give it another name, or follow a folder that moved; its threads stay.
 */
export interface UpdateProject {
  type: "UpdateProject";
  /**
   * names this command for ever; sent again, the stored answer comes back
   */
  commandId?: string | null;
  id: string;
  name?: string | null;
  /**
   * an absolute path
   */
  path?: string | null;
}
/**
 * Rejected while it has threads, unless `cascade` says to delete these too.
 */
export interface DeleteProject {
  type: "DeleteProject";
  /**
   * names this command for ever; sent again, the stored answer comes back
   */
  commandId?: string | null;
  id: string;
  /**
   * delete its threads as well, the archived ones too
   */
  cascade?: boolean;
}
/**
 * A conversation in a live project.
 */
export interface CreateThread {
  type: "CreateThread";
  /**
   * names this command for ever; sent again, the stored answer comes back
   */
  commandId?: string | null;
  threadId?: string | null;
  /**
   * 0 says that there is none yet
   */
  expectedVersion?: number | null;
  projectId: string;
  title: string;
}
/**
 * Give it another title.
 */
export interface RenameThread {
  type: "RenameThread";
  /**
   * names this command for ever; sent again, the stored answer comes back
   */
  commandId?: string | null;
  threadId: string;
  /**
   * reject with a conflict unless the thread's `version` is this (0: there is none yet)
   */
  expectedVersion?: number | null;
  title: string;
}
/**
 * Put it away; a running turn is interrupted first.
 */
export interface ArchiveThread {
  type: "ArchiveThread";
  /**
   * names this command for ever; sent again, the stored answer comes back
   */
  commandId?: string | null;
  threadId: string;
  /**
   * reject with a conflict unless the thread's `version` is this (0: there is none yet)
   */
  expectedVersion?: number | null;
}
/**
 * Take it out again.
 */
export interface UnarchiveThread {
  type: "UnarchiveThread";
  /**
   * names this command for ever; sent again, the stored answer comes back
   */
  commandId?: string | null;
  threadId: string;
  /**
   * reject with a conflict unless the thread's `version` is this (0: there is none yet)
   */
  expectedVersion?: number | null;
}
/**
 * Remove it from every read; a running turn is interrupted first. The log keeps what was.
 */
export interface DeleteThread {
  type: "DeleteThread";
  /**
   * names this command for ever; sent again, the stored answer comes back
   */
  commandId?: string | null;
  threadId: string;
  /**
   * reject with a conflict unless the thread's `version` is this (0: there is none yet)
   */
  expectedVersion?: number | null;
}
/**
 * Begin one exchange with the user's prompt, which becomes a complete message.
 */
export interface StartTurn {
  type: "StartTurn";
  /**
   * names this command for ever; sent again, the stored answer comes back
   */
  commandId?: string | null;
  threadId: string;
  /**
   * reject with a conflict unless the thread's `version` is this (0: there is none yet)
   */
  expectedVersion?: number | null;
  /**
   * the turn's
   */
  id?: string | null;
  /**
   * may be empty
   */
  prompt: string;
  /**
   * the prompt's
   */
  messageId?: string | null;
}
/**
 * The agent is done.
 */
export interface CompleteTurn {
  type: "CompleteTurn";
  /**
   * names this command for ever; sent again, the stored answer comes back
   */
  commandId?: string | null;
  threadId: string;
  /**
   * reject with a conflict unless the thread's `version` is this (0: there is none yet)
   */
  expectedVersion?: number | null;
  /**
   * the turn's
   */
  id: string;
  /**
   * the agent's own word: in the Agent Client Protocol `end_turn`, `max_tokens`, `refusal`, …
   */
  stopReason: string;
  /**
   * what the turn has cost, in the agent's own form
   */
  usage?: unknown;
}
/**
 * The turn ended in an error.
 */
export interface FailTurn {
  type: "FailTurn";
  /**
   * names this command for ever; sent again, the stored answer comes back
   */
  commandId?: string | null;
  threadId: string;
  /**
   * reject with a conflict unless the thread's `version` is this (0: there is none yet)
   */
  expectedVersion?: number | null;
  /**
   * the turn's
   */
  id: string;
  /**
   * a sentence
   */
  error: string;
}
/**
 * Stop a turn; with none running nothing changes.
 */
export interface InterruptTurn {
  type: "InterruptTurn";
  /**
   * names this command for ever; sent again, the stored answer comes back
   */
  commandId?: string | null;
  threadId: string;
  /**
   * reject with a conflict unless the thread's `version` is this (0: there is none yet)
   */
  expectedVersion?: number | null;
  /**
   * the turn's; without it whichever runs, if one does
   */
  id?: string | null;
  /**
   * without it `interrupted by the client`
   */
  reason?: string | null;
}
/**
 * Text in a running turn.
 */
export interface AddMessage {
  type: "AddMessage";
  /**
   * names this command for ever; sent again, the stored answer comes back
   */
  commandId?: string | null;
  threadId: string;
  /**
   * reject with a conflict unless the thread's `version` is this (0: there is none yet)
   */
  expectedVersion?: number | null;
  id?: string | null;
  turnId: string;
  role: "user" | "assistant" | "system";
  /**
   * may be empty
   */
  text: string;
  /**
   * more may be appended, until the message or its turn is completed
   */
  streaming?: boolean;
}
/**
 * More text at the end of an open message.
 */
export interface AppendMessage {
  type: "AppendMessage";
  /**
   * names this command for ever; sent again, the stored answer comes back
   */
  commandId?: string | null;
  threadId: string;
  /**
   * reject with a conflict unless the thread's `version` is this (0: there is none yet)
   */
  expectedVersion?: number | null;
  /**
   * the message's
   */
  id: string;
  text: string;
}
/**
 * No more text will come.
 */
export interface CompleteMessage {
  type: "CompleteMessage";
  /**
   * names this command for ever; sent again, the stored answer comes back
   */
  commandId?: string | null;
  threadId: string;
  /**
   * reject with a conflict unless the thread's `version` is this (0: there is none yet)
   */
  expectedVersion?: number | null;
  /**
   * the message's
   */
  id: string;
}
/**
 * What else the agent shows. The same id again, in the same turn, writes it anew, whole.
 */
export interface RecordActivity {
  type: "RecordActivity";
  /**
   * names this command for ever; sent again, the stored answer comes back
   */
  commandId?: string | null;
  threadId: string;
  /**
   * reject with a conflict unless the thread's `version` is this (0: there is none yet)
   */
  expectedVersion?: number | null;
  id?: string | null;
  turnId: string;
  /**
   * your word: `tool_call`, `plan`, `thought`, …
   */
  kind: string;
  title: string;
  status: "pending" | "running" | "completed" | "failed";
  detail?: unknown;
}
/**
 * A question that the agent waits on.
 */
export interface RequestApproval {
  type: "RequestApproval";
  /**
   * names this command for ever; sent again, the stored answer comes back
   */
  commandId?: string | null;
  threadId: string;
  /**
   * reject with a conflict unless the thread's `version` is this (0: there is none yet)
   */
  expectedVersion?: number | null;
  id?: string | null;
  turnId: string;
  title: string;
  /**
   * what to choose from; an `id` here has 1 to 128 characters of any sort
   */
  options: ApprovalOption[];
  detail?: unknown;
}
/**
 * One answer to choose from.
 */
export interface ApprovalOption {
  /**
   * 1 to 128 characters of any sort
   */
  id: string;
  /**
   * what to show
   */
  name: string;
  /**
   * what it does: in the Agent Client Protocol `allow_once`, `reject_always`, …
   */
  kind: string;
}
/**
 * Answer a question.
 */
export interface ResolveApproval {
  type: "ResolveApproval";
  /**
   * names this command for ever; sent again, the stored answer comes back
   */
  commandId?: string | null;
  threadId: string;
  /**
   * reject with a conflict unless the thread's `version` is this (0: there is none yet)
   */
  expectedVersion?: number | null;
  /**
   * the approval's
   */
  id: string;
  /**
   * the id of an option; null cancels the question
   */
  outcome: string | null;
}
/**
 * A git ref that holds the workspace at this moment. treadle records it and does not run git.
 */
export interface CreateCheckpoint {
  type: "CreateCheckpoint";
  /**
   * names this command for ever; sent again, the stored answer comes back
   */
  commandId?: string | null;
  threadId: string;
  /**
   * reject with a conflict unless the thread's `version` is this (0: there is none yet)
   */
  expectedVersion?: number | null;
  id?: string | null;
  /**
   * the turn that it belongs to, ended or not
   */
  turnId?: string | null;
  gitRef: string;
  message: string;
}
/**
 * The workspace was put back to this checkpoint.
 */
export interface RestoreCheckpoint {
  type: "RestoreCheckpoint";
  /**
   * names this command for ever; sent again, the stored answer comes back
   */
  commandId?: string | null;
  threadId: string;
  /**
   * reject with a conflict unless the thread's `version` is this (0: there is none yet)
   */
  expectedVersion?: number | null;
  /**
   * the checkpoint's
   */
  id: string;
}
/**
 * Set a setting, or remove it.
 */
export interface ChangeSetting {
  type: "ChangeSetting";
  /**
   * names this command for ever; sent again, the stored answer comes back
   */
  commandId?: string | null;
  key: string;
  /**
   * null removes the setting
   */
  value: unknown;
}
export interface Dispatched {
  /**
   * of the last event; of the log where the command changed nothing
   */
  sequence: number;
  events: StoredEvent[];
}
/**
 * An event and its place in the log: sequences start at 1 and have no gaps.
 */
export interface StoredEvent {
  sequence: number;
  event: Event;
}
export interface ProjectCreated {
  type: "ProjectCreated";
  /**
   * when it was decided
   */
  at: string;
  id: string;
  name: string;
  path: string;
}
/**
 * What changed, and only that.
 */
export interface ProjectUpdated {
  type: "ProjectUpdated";
  /**
   * when it was decided
   */
  at: string;
  id: string;
  name?: string | null;
  path?: string | null;
}
export interface ProjectDeleted {
  type: "ProjectDeleted";
  /**
   * when it was decided
   */
  at: string;
  id: string;
}
export interface ThreadCreated {
  type: "ThreadCreated";
  /**
   * when it was decided
   */
  at: string;
  threadId: string;
  projectId: string;
  title: string;
}
export interface ThreadRenamed {
  type: "ThreadRenamed";
  /**
   * when it was decided
   */
  at: string;
  threadId: string;
  title: string;
}
export interface ThreadArchived {
  type: "ThreadArchived";
  /**
   * when it was decided
   */
  at: string;
  threadId: string;
}
export interface ThreadUnarchived {
  type: "ThreadUnarchived";
  /**
   * when it was decided
   */
  at: string;
  threadId: string;
}
export interface ThreadDeleted {
  type: "ThreadDeleted";
  /**
   * when it was decided
   */
  at: string;
  threadId: string;
}
export interface TurnStarted {
  type: "TurnStarted";
  /**
   * when it was decided
   */
  at: string;
  threadId: string;
  id: string;
  /**
   * the daemon that runs it, named as its lock file is
   */
  runner: string;
}
export interface TurnCompleted {
  type: "TurnCompleted";
  /**
   * when it was decided
   */
  at: string;
  threadId: string;
  id: string;
  stopReason: string;
  usage?: unknown;
}
export interface TurnFailed {
  type: "TurnFailed";
  /**
   * when it was decided
   */
  at: string;
  threadId: string;
  id: string;
  error: string;
}
export interface TurnInterrupted {
  type: "TurnInterrupted";
  /**
   * when it was decided
   */
  at: string;
  threadId: string;
  id: string;
  reason: string;
}
export interface MessageAdded {
  type: "MessageAdded";
  /**
   * when it was decided
   */
  at: string;
  threadId: string;
  id: string;
  turnId: string;
  role: "user" | "assistant" | "system";
  text: string;
  streaming: boolean;
}
export interface MessageAppended {
  type: "MessageAppended";
  /**
   * when it was decided
   */
  at: string;
  threadId: string;
  id: string;
  text: string;
}
export interface MessageCompleted {
  type: "MessageCompleted";
  /**
   * when it was decided
   */
  at: string;
  threadId: string;
  id: string;
}
export interface ActivityRecorded {
  type: "ActivityRecorded";
  /**
   * when it was decided
   */
  at: string;
  threadId: string;
  id: string;
  turnId: string;
  kind: string;
  title: string;
  status: "pending" | "running" | "completed" | "failed";
  detail?: unknown;
}
export interface ApprovalRequested {
  type: "ApprovalRequested";
  /**
   * when it was decided
   */
  at: string;
  threadId: string;
  id: string;
  turnId: string;
  title: string;
  options: OfferedOption[];
  detail?: unknown;
}
/**
 * An option of an approval, as commands.ApprovalOption; a newer release may say more about it.
 */
export interface OfferedOption {
  id: string;
  name: string;
  kind: string;
}
export interface ApprovalResolved {
  type: "ApprovalResolved";
  /**
   * when it was decided
   */
  at: string;
  threadId: string;
  id: string;
  /**
   * the id of the option that was chosen, or null: cancelled
   */
  outcome: string | null;
}
export interface CheckpointCreated {
  type: "CheckpointCreated";
  /**
   * when it was decided
   */
  at: string;
  threadId: string;
  id: string;
  turnId?: string | null;
  gitRef: string;
  message: string;
}
export interface CheckpointRestored {
  type: "CheckpointRestored";
  /**
   * when it was decided
   */
  at: string;
  threadId: string;
  id: string;
}
export interface SettingChanged {
  type: "SettingChanged";
  /**
   * when it was decided
   */
  at: string;
  key: string;
  /**
   * null when the setting was removed
   */
  value: unknown;
}
export interface DispatchBatchParams {
  /**
   * of the whole batch, which it makes idempotent
   */
  commandId?: string | null;
  /**
   * none of them has a `commandId`
   *
   * @maxItems 1000
   */
  commands: Command[];
}
export interface BatchDispatched {
  /**
   * of the last event; of the log where nothing changed
   */
  sequence: number;
  /**
   * one a command, in their order
   */
  results: Dispatched[];
}
export interface OpenProjectParams {
  /**
   * of a folder, absolute
   */
  path: string;
}
export interface ProjectOpened {
  project: Project;
  /**
   * it is new
   */
  created: boolean;
  /**
   * its folder was elsewhere before, and `path` is where it is now
   */
  moved: boolean;
}
/**
 * A workspace folder.
 */
export interface Project {
  id: string;
  name: string;
  /**
   * as it was normalised
   */
  path: string;
  createdAt: string;
  updatedAt: string;
}
export interface ListParams {
  /**
   * rows of a page, which may end earlier at 1 MiB
   */
  limit?: number;
  /**
   * `nextCursor` of the page before
   */
  cursor?: string | null;
}
export interface ProjectPage {
  items: Project[];
  /**
   * where the next page begins, null at the end
   */
  nextCursor: string | null;
}
export interface ThreadListParams {
  /**
   * rows of a page, which may end earlier at 1 MiB
   */
  limit?: number;
  /**
   * `nextCursor` of the page before
   */
  cursor?: string | null;
  /**
   * only those of this project
   */
  projectId?: string | null;
  /**
   * true: only those that are; false: only those that are not
   */
  archived?: boolean | null;
}
export interface ThreadPage {
  items: Thread[];
  /**
   * where the next page begins, null at the end
   */
  nextCursor: string | null;
}
/**
 * A conversation in a project.
 */
export interface Thread {
  id: string;
  projectId: string;
  title: string;
  /**
   * `waiting` while the running turn has a pending approval
   */
  status: "idle" | "running" | "waiting";
  archivedAt: string | null;
  /**
   * the sequence of the thread's last event that is not a MessageAppended; give it back as `expectedVersion`
   */
  version: number;
  createdAt: string;
  /**
   * of the event that `version` names: streamed text does not move it
   */
  updatedAt: string;
}
export interface ThreadReadParams {
  threadId: string;
  /**
   * how many turns; fewer where they are over 1 MiB
   */
  turnLimit?: number;
  /**
   * a `beforeCursor`: for the turns before those
   */
  before?: string | null;
}
/**
 * Each list oldest first.
 */
export interface ThreadSnapshot {
  /**
   * of the log that it was read from
   */
  sequence: number;
  /**
   * the one header
   */
  threads: Thread[];
  turns: Turn[];
  messages: Message[];
  activities: Activity[];
  approvals: Approval[];
  checkpoints: Checkpoint[];
  /**
   * where older turns are, null where there are none
   */
  beforeCursor: string | null;
}
/**
 * One exchange in a thread: a prompt, the work, an end.
 */
export interface Turn {
  id: string;
  threadId: string;
  status: "running" | "completed" | "failed" | "interrupted";
  /**
   * of a completed turn what the agent said; of an interrupted one the reason
   */
  stopReason: string | null;
  /**
   * of a failed one
   */
  error: string | null;
  /**
   * what CompleteTurn gave
   */
  usage: unknown;
  startedAt: string;
  endedAt: string | null;
}
/**
 * Text by the user, the assistant or the system in a turn. It may stream.
 */
export interface Message {
  id: string;
  threadId: string;
  turnId: string;
  role: "user" | "assistant" | "system";
  /**
   * all of it so far; of a complete message the first 65,536 code points
   */
  text: string;
  /**
   * the size of the whole text where `text` is only its beginning (`message/read` has all of it), else null
   */
  textBytes: number | null;
  status: "streaming" | "complete";
  createdAt: string;
  completedAt: string | null;
}
/**
 * What else an agent shows: a tool call, a plan, a thought, usage.
 */
export interface Activity {
  id: string;
  threadId: string;
  turnId: string;
  /**
   * the client's word: `tool_call`, `plan`, `thought`, …
   */
  kind: string;
  title: string;
  status: "pending" | "running" | "completed" | "failed";
  /**
   * null where it has more than 65,536 characters: `activity/read` has it
   */
  detail: unknown;
  /**
   * the size of a detail that was left out for that, else null
   */
  detailBytes: number | null;
  createdAt: string;
  updatedAt: string;
}
/**
 * A question that the agent waits on, and the answer.
 */
export interface Approval {
  id: string;
  threadId: string;
  turnId: string;
  title: string;
  /**
   * what to choose from
   */
  options: OfferedOption[];
  detail: unknown;
  status: "pending" | "resolved" | "cancelled";
  /**
   * the id of the option that was chosen; null while pending and when cancelled
   */
  outcome: string | null;
  createdAt: string;
  resolvedAt: string | null;
}
/**
 * A git ref that holds the workspace at a moment.
 */
export interface Checkpoint {
  id: string;
  threadId: string;
  turnId: string | null;
  gitRef: string;
  message: string;
  createdAt: string;
  /**
   * the last time
   */
  restoredAt: string | null;
}
export interface ReadParams {
  threadId: string;
  /**
   * of the message or activity, which is in the thread
   */
  id: string;
}
export interface OfThreadParams {
  /**
   * rows of a page, which may end earlier at 1 MiB
   */
  limit?: number;
  /**
   * `nextCursor` of the page before
   */
  cursor?: string | null;
  threadId: string;
}
export interface TurnPage {
  items: Turn[];
  /**
   * where the next page begins, null at the end
   */
  nextCursor: string | null;
}
export interface CheckpointPage {
  items: Checkpoint[];
  /**
   * where the next page begins, null at the end
   */
  nextCursor: string | null;
}
export interface SettingPage {
  items: Setting[];
  /**
   * where the next page begins, null at the end
   */
  nextCursor: string | null;
}
/**
 * A key and a JSON value.
 */
export interface Setting {
  key: string;
  /**
   * not null: that would remove it
   */
  value: unknown;
  updatedAt: string;
}
export interface EventListParams {
  /**
   * rows of a page, which may end earlier at 1 MiB
   */
  limit?: number;
  /**
   * `nextCursor` of the page before
   */
  cursor?: string | null;
  /**
   * where to begin, without a cursor
   */
  afterSequence?: number;
  /**
   * only this thread's
   */
  threadId?: string | null;
}
export interface StoredEventPage {
  items: StoredEvent[];
  /**
   * where the next page begins, null at the end
   */
  nextCursor: string | null;
}
export interface SearchParams {
  limit?: number;
  /**
   * `nextCursor` of the page before
   */
  cursor?: string | null;
  /**
   * words, all of which are there; the last may be the beginning of one
   */
  query: string;
  /**
   * only there
   */
  projectId?: string | null;
  /**
   * only there
   */
  threadId?: string | null;
  /**
   * `plain`, or `fts5` for a query in the syntax of SQLite's FTS5
   */
  syntax?: "plain" | "fts5";
}
export interface HitPage {
  items: Hit[];
  /**
   * where the next page begins, null at the end
   */
  nextCursor: string | null;
}
export interface Hit {
  /**
   * what was found
   */
  entity: "thread" | "message" | "activity";
  id: string;
  threadId: string;
  /**
   * null for a thread
   */
  turnId: string | null;
  projectId: string;
  threadTitle: string;
  /**
   * a piece of its text around the words
   */
  snippet: string;
  /**
   * where the words are in the snippet
   */
  matches: Match[];
  /**
   * BM25, the less the better
   */
  rank: number;
}
export interface Match {
  /**
   * where a word is, from and to before, in code points
   */
  start: number;
  /**
   * where a word is, from and to before, in code points
   */
  end: number;
}
export interface OpenParams {
  topic: "index" | "thread" | "settings" | "events";
  /**
   * needed for `thread`; for `events`: only this thread's; not for the others
   */
  threadId?: string | null;
  /**
   * for `thread`: how many turns the snapshot has
   */
  turnLimit?: number;
  /**
   * to resume; for `events` where to begin
   */
  afterSequence?: number | null;
  /**
   * to resume: the log that `afterSequence` is of
   */
  logId?: string | null;
}
export interface SubscriptionOpened {
  subscriptionId: string;
  /**
   * the log that `sequence` is of
   */
  logId: string;
  /**
   * what the replica is at once this was taken
   */
  sequence: number;
  /**
   * what the topic shows at `sequence`; null for `events`, and where `changes` say what is new instead
   */
  snapshot: Snapshot | null;
  /**
   * where `afterSequence` was given: what changed since; null where a snapshot comes
   */
  changes: Change[] | null;
}
/**
 * Newest first; the 500 threads that changed last.
 */
export interface IndexSnapshot {
  sequence: number;
  projects: Project[];
  threads: Thread[];
}
export interface SettingsSnapshot {
  sequence: number;
  settings: Setting[];
}
/**
 * More text of an open message.
 */
export interface AppendChange {
  type: "append";
  entity: "message";
  id: string;
  text: string;
  /**
   * where it begins, in code points
   */
  offset: number;
}
/**
 * The entity is gone, and with a thread all that is in it.
 */
export interface RemoveChange {
  type: "remove";
  entity: "project" | "thread" | "turn" | "message" | "activity" | "approval" | "checkpoint" | "setting";
  /**
   * a setting's key
   */
  id: string;
}
export interface CloseParams {
  subscriptionId: string;
}
export interface Status {
  version: string;
  protocolVersion: number;
  /**
   * of what the database's tables were filled by
   */
  projectionVersion: number;
  pythonVersion: string;
  sqliteVersion: string;
  /**
   * the daemon's
   */
  pid: number;
  dataDir: string;
  durability: "full" | "normal";
  logId: string;
  /**
   * of the last event in the log
   */
  sequence: number;
  sizes: Sizes;
  queues: Queues;
}
/**
 * In bytes, on disk.
 */
export interface Sizes {
  databaseBytes: number;
  walBytes: number;
}
export interface Queues {
  /**
   * that wait for the engine
   */
  commands: number;
  /**
   * not yet answered, this one included
   */
  requests: number;
  /**
   * not yet read
   */
  outputBytes: number;
  subscriptions: number;
}
/**
 * The params of each notification that the daemon sends.
 */
export interface ToClient {
  "projection/changed": ProjectionChanged;
  "event/appended": EventAppended;
  "$/progress": Progress;
  "window/logMessage": LogMessage;
}
/**
 * What changed.
 */
export interface ProjectionChanged {
  subscriptionId: string;
  /**
   * what a replica is at that has applied all changes, in order
   */
  sequence: number;
  changes: Change[];
}
/**
 * What came after what was told before.
 */
export interface EventAppended {
  subscriptionId: string;
  /**
   * up to where that is all
   */
  sequence: number;
  events: StoredEvent[];
}
/**
 * As in LSP.
 */
export interface Progress {
  /**
   * the `workDoneToken` of `initialize`
   */
  token: string | number;
  value: ProgressValue;
}
export interface ProgressValue {
  kind: "begin" | "report" | "end";
  message: string;
  /**
   * with `begin`
   */
  title?: string;
  /**
   * with `begin` and `report`
   */
  percentage?: number;
}
/**
 * As in LSP.
 */
export interface LogMessage {
  /**
   * 1 for an error, 2 for a warning
   */
  type: 1 | 2;
  message: string;
}
/**
 * The params of each notification that the daemon listens to.
 */
export interface FromClient {
  initialized: IgnoredParams;
  "$/setTrace": IgnoredParams;
  "$/cancelRequest": CancelParams;
  exit: IgnoredParams;
}
/**
 * Nothing is looked at.
 */
export interface IgnoredParams {
  [k: string]: unknown;
}
export interface CancelParams {
  /**
   * of the request
   */
  id: string | number;
  [k: string]: unknown;
}
/**
 * What is answered instead of a result. Switch on `data.kind`; the message may be reworded.
 */
export interface ErrorObject {
  code: -32800 | -32700 | -32603 | -32602 | -32601 | -32600 | -32012 | -32011 | -32010 | -32002 | -32001;
  message: string;
  data: ErrorData;
}
/**
 * -32700: No JSON, or no frame could be made of it. `id` is null. Mend the client.
 */
export interface ParseErrorData {
  kind: "parseError";
  reason: string;
}
/**
 * -32600: JSON, but no JSON-RPC message; an id that is in flight; an empty batch or one over 1,000; a second `initialize`; a request after `shutdown`.
 */
export interface InvalidRequestData {
  kind: "invalidRequest";
  reason: string;
}
/**
 * -32600: The message was thrown away unread. `id` is null. Send less, or raise `--max-message-bytes`.
 */
export interface MessageTooLargeData {
  kind: "messageTooLarge";
  limitBytes: number;
}
/**
 * -32601: There is no such method.
 */
export interface MethodNotFoundData {
  kind: "methodNotFound";
  method: string;
}
/**
 * -32602: `path` is the member that is wrong, missing or unknown: `$.params.title`.
 */
export interface InvalidParamsData {
  kind: "invalidParams";
  path: string;
  reason: string;
}
/**
 * -32603: A defect of the daemon. Its log says more.
 */
export interface InternalErrorData {
  kind: "internalError";
}
/**
 * -32603: Make room, and it goes on.
 */
export interface DiskFullData {
  kind: "diskFull";
}
/**
 * -32603: The disk failed a read or a write.
 */
export interface IoErrorData {
  kind: "ioError";
}
/**
 * -32603: The file is damaged: `treadle doctor` says how, `treadle restore` brings back a copy.
 */
export interface DatabaseCorruptData {
  kind: "databaseCorrupt";
}
/**
 * -32603: The data directory cannot be written.
 */
export interface DatabaseReadOnlyData {
  kind: "databaseReadOnly";
}
/**
 * -32603: The data directory is gone, was replaced, or may not be read.
 */
export interface DatabaseUnreachableData {
  kind: "databaseUnreachable";
}
/**
 * -32603: Another program holds the database locked.
 */
export interface DatabaseLockedData {
  kind: "databaseLocked";
}
/**
 * -32603: A search that was given up after 10 seconds: ask for less.
 */
export interface TooLongData {
  kind: "tooLong";
}
/**
 * -32603: More than SQLite takes in one value.
 */
export interface TooBigData {
  kind: "tooBig";
}
/**
 * -32603: SQLite refused for another reason, which the message names.
 */
export interface StorageData {
  kind: "storage";
}
/**
 * -32603: The data directory is not for this treadle, or cannot be opened. The message says what to do.
 */
export interface DatabaseRefusedData {
  kind: "databaseRefused";
}
/**
 * -32603: A newer treadle has taken the database over. Spawn that one.
 */
export interface DatabaseNewerData {
  kind: "databaseNewer";
}
/**
 * -32001: A queue is full, or other processes keep the database busy. Nothing was done. Send it again after that many milliseconds.
 */
export interface OverloadedData {
  kind: "overloaded";
  reason: string;
  retryAfterMs: number;
}
/**
 * -32002: `initialize` was not answered with a result.
 */
export interface NotInitializedData {
  kind: "notInitialized";
}
/**
 * -32010: The id is in use, or was: ids are never used twice. Choose another, or leave it out.
 */
export interface IdTakenData {
  kind: "idTaken";
  entity: string;
  id: string;
}
/**
 * -32010: A project's path begins with `/`.
 */
export interface PathNotAbsoluteData {
  kind: "pathNotAbsolute";
}
/**
 * -32010: There is nothing at that path, or no folder.
 */
export interface PathIsNoFolderData {
  kind: "pathIsNoFolder";
}
/**
 * -32010: That project has this path. Use it.
 */
export interface PathTakenData {
  kind: "pathTaken";
  projectId: string;
}
/**
 * -32010: Delete these first, or say `cascade`.
 */
export interface ProjectHasThreadsData {
  kind: "projectHasThreads";
  threads: number;
}
/**
 * -32010: Unarchive it first.
 */
export interface ThreadArchivedData {
  kind: "threadArchived";
}
/**
 * -32010: One turn a thread at a time. Complete or interrupt that one first.
 */
export interface TurnRunningData {
  kind: "turnRunning";
  turnId: string;
}
/**
 * -32010: The turn was completed, has failed or was interrupted, perhaps by another process.
 */
export interface TurnEndedData {
  kind: "turnEnded";
  turnId: string;
}
/**
 * -32010: No text can be appended any more.
 */
export interface MessageCompleteData {
  kind: "messageComplete";
}
/**
 * -32010: Two options of an approval have the same id.
 */
export interface DuplicateOptionData {
  kind: "duplicateOption";
}
/**
 * -32010: It was answered otherwise, or cancelled. `outcome` is what holds.
 */
export interface ApprovalResolvedData {
  kind: "approvalResolved";
  outcome: string | null;
}
/**
 * -32010: The outcome is none of these ids.
 */
export interface UnknownOptionData {
  kind: "unknownOption";
  options: string[];
}
/**
 * -32011: There is none, or it was deleted.
 */
export interface NotFoundData {
  kind: "notFound";
  entity: string;
  id: string;
}
/**
 * -32012: Somebody else was first. Read the thread again and decide anew.
 */
export interface VersionConflictData {
  kind: "versionConflict";
  expected: number;
  actual: number;
}
/**
 * -32012: That `commandId` was given to another command. `expected` and `actual` are digests of the two.
 */
export interface CommandIdConflictData {
  kind: "commandIdConflict";
  commandId: string;
  expected: string;
  actual: string;
}
/**
 * -32800: Taken back with `$/cancelRequest`. It had no effect.
 */
export interface CancelledData {
  kind: "cancelled";
}
