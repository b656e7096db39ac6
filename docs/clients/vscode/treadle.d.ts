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
 * The entity is new or has changed. `value` is the whole entity.
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
  | SearchTimedOutData
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
 * The messages between a client and the treadle daemon, by name. Made by `treadle schema`.
 */
export interface Protocol {
  methods: Methods;
  toClient: ToClient;
  fromClient: FromClient;
  error: ErrorObject;
}
/**
 * The params and the result of each method.
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
 * As in LSP. Members that treadle does not use are ignored.
 */
export interface InitializeParams {
  /**
   * The client's process id. The daemon exits when that process does
   */
  processId?: number | null;
  /**
   * The token for the `$/progress` notifications of a rebuild at start
   */
  workDoneToken?: string | number | null;
  [k: string]: unknown;
}
export interface Initialized {
  /**
   * Empty. LSP clients expect it
   */
  capabilities: {};
  serverInfo: ServerInfo;
  /**
   * Increases when clients have to change
   */
  protocolVersion: number;
  /**
   * Identifies the log. Keep it with a replica that you want to resume
   */
  logId: string;
}
export interface ServerInfo {
  name: string;
  version: string;
}
/**
 * No params: missing, null and `{}` are the same.
 */
export interface NoParams {}
/**
 * Create a project for a folder.
 */
export interface CreateProject {
  type: "CreateProject";
  /**
   * Identifies this command forever. If it is sent again, the stored answer is returned
   */
  commandId?: string | null;
  /**
   * The project's id. Assigned if missing
   */
  id?: string | null;
  name: string;
  /**
   * An absolute path that no other live project has
   */
  path: string;
}
/**
 * Rename a project, or change the path of a folder that was moved. Its threads stay.
 */
export interface UpdateProject {
  type: "UpdateProject";
  /**
   * Identifies this command forever. If it is sent again, the stored answer is returned
   */
  commandId?: string | null;
  /**
   * The project's id
   */
  id: string;
  /**
   * The new name
   */
  name?: string | null;
  /**
   * The new absolute path
   */
  path?: string | null;
}
/**
 * Delete a project. Rejected while it has threads, unless `cascade` is true.
 */
export interface DeleteProject {
  type: "DeleteProject";
  /**
   * Identifies this command forever. If it is sent again, the stored answer is returned
   */
  commandId?: string | null;
  /**
   * The project's id
   */
  id: string;
  /**
   * Delete its threads as well, including archived ones
   */
  cascade?: boolean | null;
}
/**
 * Create a conversation in a live project.
 */
export interface CreateThread {
  type: "CreateThread";
  /**
   * Identifies this command forever. If it is sent again, the stored answer is returned
   */
  commandId?: string | null;
  /**
   * The thread's id. Assigned if missing
   */
  threadId?: string | null;
  /**
   * 0: the thread must not exist yet
   */
  expectedVersion?: number | null;
  projectId: string;
  title: string;
}
/**
 * Change a thread's title.
 */
export interface RenameThread {
  type: "RenameThread";
  /**
   * Identifies this command forever. If it is sent again, the stored answer is returned
   */
  commandId?: string | null;
  threadId: string;
  /**
   * Reject the command with a conflict unless the thread's `version` is this (0: the thread does not exist)
   */
  expectedVersion?: number | null;
  title: string;
}
/**
 * Archive a thread. A running turn is interrupted first.
 */
export interface ArchiveThread {
  type: "ArchiveThread";
  /**
   * Identifies this command forever. If it is sent again, the stored answer is returned
   */
  commandId?: string | null;
  threadId: string;
  /**
   * Reject the command with a conflict unless the thread's `version` is this (0: the thread does not exist)
   */
  expectedVersion?: number | null;
}
/**
 * Take a thread out of the archive.
 */
export interface UnarchiveThread {
  type: "UnarchiveThread";
  /**
   * Identifies this command forever. If it is sent again, the stored answer is returned
   */
  commandId?: string | null;
  threadId: string;
  /**
   * Reject the command with a conflict unless the thread's `version` is this (0: the thread does not exist)
   */
  expectedVersion?: number | null;
}
/**
 * Remove a thread from every read. A running turn is interrupted first. The log keeps its events.
 */
export interface DeleteThread {
  type: "DeleteThread";
  /**
   * Identifies this command forever. If it is sent again, the stored answer is returned
   */
  commandId?: string | null;
  threadId: string;
  /**
   * Reject the command with a conflict unless the thread's `version` is this (0: the thread does not exist)
   */
  expectedVersion?: number | null;
}
/**
 * Start a turn with the user's prompt, which is stored as a complete message.
 */
export interface StartTurn {
  type: "StartTurn";
  /**
   * Identifies this command forever. If it is sent again, the stored answer is returned
   */
  commandId?: string | null;
  threadId: string;
  /**
   * Reject the command with a conflict unless the thread's `version` is this (0: the thread does not exist)
   */
  expectedVersion?: number | null;
  /**
   * The turn's id. Assigned if missing
   */
  id?: string | null;
  /**
   * The user's text. May be empty
   */
  prompt: string;
  /**
   * The id of the prompt's message. Assigned if missing
   */
  messageId?: string | null;
}
/**
 * End a turn normally.
 */
export interface CompleteTurn {
  type: "CompleteTurn";
  /**
   * Identifies this command forever. If it is sent again, the stored answer is returned
   */
  commandId?: string | null;
  threadId: string;
  /**
   * Reject the command with a conflict unless the thread's `version` is this (0: the thread does not exist)
   */
  expectedVersion?: number | null;
  /**
   * The turn's id
   */
  id: string;
  /**
   * Why the agent stopped, in its own words: in the Agent Client Protocol `end_turn`, `max_tokens`, …
   */
  stopReason: string;
  /**
   * What the turn cost, in the agent's own form
   */
  usage?: unknown;
}
/**
 * End a turn with an error.
 */
export interface FailTurn {
  type: "FailTurn";
  /**
   * Identifies this command forever. If it is sent again, the stored answer is returned
   */
  commandId?: string | null;
  threadId: string;
  /**
   * Reject the command with a conflict unless the thread's `version` is this (0: the thread does not exist)
   */
  expectedVersion?: number | null;
  /**
   * The turn's id
   */
  id: string;
  /**
   * The error as a sentence
   */
  error: string;
}
/**
 * Stop a turn. If no turn is running, nothing changes.
 */
export interface InterruptTurn {
  type: "InterruptTurn";
  /**
   * Identifies this command forever. If it is sent again, the stored answer is returned
   */
  commandId?: string | null;
  threadId: string;
  /**
   * Reject the command with a conflict unless the thread's `version` is this (0: the thread does not exist)
   */
  expectedVersion?: number | null;
  /**
   * The turn's id. If missing, the turn that is running, if any
   */
  id?: string | null;
  /**
   * If missing, `interrupted by the client`
   */
  reason?: string | null;
}
/**
 * Add a message to a running turn.
 */
export interface AddMessage {
  type: "AddMessage";
  /**
   * Identifies this command forever. If it is sent again, the stored answer is returned
   */
  commandId?: string | null;
  threadId: string;
  /**
   * Reject the command with a conflict unless the thread's `version` is this (0: the thread does not exist)
   */
  expectedVersion?: number | null;
  /**
   * The message's id. Assigned if missing
   */
  id?: string | null;
  turnId: string;
  role: "user" | "assistant" | "system";
  /**
   * May be empty
   */
  text: string;
  /**
   * Whether text may be appended until the message is completed or its turn ends
   */
  streaming?: boolean | null;
}
/**
 * Append text to a streaming message.
 */
export interface AppendMessage {
  type: "AppendMessage";
  /**
   * Identifies this command forever. If it is sent again, the stored answer is returned
   */
  commandId?: string | null;
  threadId: string;
  /**
   * Reject the command with a conflict unless the thread's `version` is this (0: the thread does not exist)
   */
  expectedVersion?: number | null;
  /**
   * The message's id
   */
  id: string;
  /**
   * The text to append
   */
  text: string;
}
/**
 * Complete a streaming message. No text can be appended after this.
 */
export interface CompleteMessage {
  type: "CompleteMessage";
  /**
   * Identifies this command forever. If it is sent again, the stored answer is returned
   */
  commandId?: string | null;
  threadId: string;
  /**
   * Reject the command with a conflict unless the thread's `version` is this (0: the thread does not exist)
   */
  expectedVersion?: number | null;
  /**
   * The message's id
   */
  id: string;
}
/**
 * Record what else the agent shows. The same id in the same turn replaces the whole activity.
 */
export interface RecordActivity {
  type: "RecordActivity";
  /**
   * Identifies this command forever. If it is sent again, the stored answer is returned
   */
  commandId?: string | null;
  threadId: string;
  /**
   * Reject the command with a conflict unless the thread's `version` is this (0: the thread does not exist)
   */
  expectedVersion?: number | null;
  /**
   * The activity's id. Assigned if missing
   */
  id?: string | null;
  turnId: string;
  /**
   * A word of your choice: `tool_call`, `plan`, `thought`, …
   */
  kind: string;
  title: string;
  status: "pending" | "running" | "completed" | "failed";
  /**
   * Any JSON
   */
  detail?: unknown;
}
/**
 * Ask a question that the agent waits for.
 */
export interface RequestApproval {
  type: "RequestApproval";
  /**
   * Identifies this command forever. If it is sent again, the stored answer is returned
   */
  commandId?: string | null;
  threadId: string;
  /**
   * Reject the command with a conflict unless the thread's `version` is this (0: the thread does not exist)
   */
  expectedVersion?: number | null;
  /**
   * The approval's id. Assigned if missing
   */
  id?: string | null;
  turnId: string;
  title: string;
  /**
   * The options to choose from. The `id` of an option has 1 to 128 characters of any kind
   */
  options: ApprovalOption[];
  /**
   * Any JSON
   */
  detail?: unknown;
}
/**
 * One option of an approval.
 */
export interface ApprovalOption {
  /**
   * 1 to 128 characters of any kind
   */
  id: string;
  /**
   * The text to show
   */
  name: string;
  /**
   * What it does: in the Agent Client Protocol `allow_once`, `reject_always`, …
   */
  kind: string;
}
/**
 * Answer or cancel an approval.
 */
export interface ResolveApproval {
  type: "ResolveApproval";
  /**
   * Identifies this command forever. If it is sent again, the stored answer is returned
   */
  commandId?: string | null;
  threadId: string;
  /**
   * Reject the command with a conflict unless the thread's `version` is this (0: the thread does not exist)
   */
  expectedVersion?: number | null;
  /**
   * The approval's id
   */
  id: string;
  /**
   * The id of the chosen option. null cancels the approval
   */
  outcome: string | null;
}
/**
 * Record a git ref that holds the state of the workspace. treadle records it and does not run git.
 */
export interface CreateCheckpoint {
  type: "CreateCheckpoint";
  /**
   * Identifies this command forever. If it is sent again, the stored answer is returned
   */
  commandId?: string | null;
  threadId: string;
  /**
   * Reject the command with a conflict unless the thread's `version` is this (0: the thread does not exist)
   */
  expectedVersion?: number | null;
  /**
   * The checkpoint's id. Assigned if missing
   */
  id?: string | null;
  /**
   * The turn it belongs to, running or ended
   */
  turnId?: string | null;
  gitRef: string;
  message: string;
}
/**
 * Record that the workspace was restored to this checkpoint.
 */
export interface RestoreCheckpoint {
  type: "RestoreCheckpoint";
  /**
   * Identifies this command forever. If it is sent again, the stored answer is returned
   */
  commandId?: string | null;
  threadId: string;
  /**
   * Reject the command with a conflict unless the thread's `version` is this (0: the thread does not exist)
   */
  expectedVersion?: number | null;
  /**
   * The checkpoint's id
   */
  id: string;
}
/**
 * Set or remove a setting.
 */
export interface ChangeSetting {
  type: "ChangeSetting";
  /**
   * Identifies this command forever. If it is sent again, the stored answer is returned
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
   * The sequence of the last event, or of the log if the command changed nothing
   */
  sequence: number;
  events: StoredEvent[];
}
/**
 * An event and its position in the log. Sequences start at 1 and have no gaps.
 */
export interface StoredEvent {
  sequence: number;
  event: Event;
}
export interface ProjectCreated {
  type: "ProjectCreated";
  /**
   * When it was decided
   */
  at: string;
  id: string;
  name: string;
  path: string;
}
/**
 * Holds only the fields that changed.
 */
export interface ProjectUpdated {
  type: "ProjectUpdated";
  /**
   * When it was decided
   */
  at: string;
  id: string;
  name?: string | null;
  path?: string | null;
}
export interface ProjectDeleted {
  type: "ProjectDeleted";
  /**
   * When it was decided
   */
  at: string;
  id: string;
}
export interface ThreadCreated {
  type: "ThreadCreated";
  /**
   * When it was decided
   */
  at: string;
  threadId: string;
  projectId: string;
  title: string;
}
export interface ThreadRenamed {
  type: "ThreadRenamed";
  /**
   * When it was decided
   */
  at: string;
  threadId: string;
  title: string;
}
export interface ThreadArchived {
  type: "ThreadArchived";
  /**
   * When it was decided
   */
  at: string;
  threadId: string;
}
export interface ThreadUnarchived {
  type: "ThreadUnarchived";
  /**
   * When it was decided
   */
  at: string;
  threadId: string;
}
export interface ThreadDeleted {
  type: "ThreadDeleted";
  /**
   * When it was decided
   */
  at: string;
  threadId: string;
}
export interface TurnStarted {
  type: "TurnStarted";
  /**
   * When it was decided
   */
  at: string;
  threadId: string;
  id: string;
  /**
   * The daemon that runs the turn: the name of its lock file
   */
  runner: string;
}
export interface TurnCompleted {
  type: "TurnCompleted";
  /**
   * When it was decided
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
   * When it was decided
   */
  at: string;
  threadId: string;
  id: string;
  error: string;
}
export interface TurnInterrupted {
  type: "TurnInterrupted";
  /**
   * When it was decided
   */
  at: string;
  threadId: string;
  id: string;
  reason: string;
}
export interface MessageAdded {
  type: "MessageAdded";
  /**
   * When it was decided
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
   * When it was decided
   */
  at: string;
  threadId: string;
  id: string;
  text: string;
}
export interface MessageCompleted {
  type: "MessageCompleted";
  /**
   * When it was decided
   */
  at: string;
  threadId: string;
  id: string;
}
export interface ActivityRecorded {
  type: "ActivityRecorded";
  /**
   * When it was decided
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
   * When it was decided
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
 * One option of an approval, as in commands.ApprovalOption. A newer release may add members.
 */
export interface OfferedOption {
  id: string;
  name: string;
  kind: string;
}
export interface ApprovalResolved {
  type: "ApprovalResolved";
  /**
   * When it was decided
   */
  at: string;
  threadId: string;
  id: string;
  /**
   * The id of the chosen option, or null if it was cancelled
   */
  outcome: string | null;
}
export interface CheckpointCreated {
  type: "CheckpointCreated";
  /**
   * When it was decided
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
   * When it was decided
   */
  at: string;
  threadId: string;
  id: string;
}
export interface SettingChanged {
  type: "SettingChanged";
  /**
   * When it was decided
   */
  at: string;
  key: string;
  /**
   * null if the setting was removed
   */
  value: unknown;
}
export interface DispatchBatchParams {
  /**
   * Identifies the whole batch, which makes it idempotent
   */
  commandId?: string | null;
  /**
   * None of them may have a `commandId`
   *
   * @maxItems 1000
   */
  commands: Command[];
}
export interface BatchDispatched {
  /**
   * The sequence of the last event, or of the log if nothing changed
   */
  sequence: number;
  /**
   * One result per command, in the same order
   */
  results: Dispatched[];
}
export interface OpenProjectParams {
  /**
   * The absolute path of a folder
   */
  path: string;
}
export interface ProjectOpened {
  project: Project;
  /**
   * Whether the project was created by this request
   */
  created: boolean;
  /**
   * Whether the folder was moved since. `path` is its new path
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
   * The absolute path, normalised
   */
  path: string;
  createdAt: string;
  updatedAt: string;
}
export interface ListParams {
  /**
   * The maximum number of items. A page may end earlier, at 1 MiB
   */
  limit?: number | null;
  /**
   * `nextCursor` of the previous page
   */
  cursor?: string | null;
}
export interface ProjectPage {
  items: Project[];
  /**
   * The cursor of the next page, or null if this is the last one
   */
  nextCursor: string | null;
}
export interface ThreadListParams {
  /**
   * The maximum number of items. A page may end earlier, at 1 MiB
   */
  limit?: number | null;
  /**
   * `nextCursor` of the previous page
   */
  cursor?: string | null;
  /**
   * Only threads of this project
   */
  projectId?: string | null;
  /**
   * true: only archived threads. false: only those that are not archived
   */
  archived?: boolean | null;
}
export interface ThreadPage {
  items: Thread[];
  /**
   * The cursor of the next page, or null if this is the last one
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
   * The sequence of the thread's last event other than MessageAppended. Send it back as `expectedVersion`
   */
  version: number;
  createdAt: string;
  /**
   * The time of the event at `version`. Streamed text does not change it
   */
  updatedAt: string;
}
export interface ThreadReadParams {
  threadId: string;
  /**
   * The maximum number of turns. There are fewer if they exceed 1 MiB
   */
  turnLimit?: number | null;
  /**
   * A `beforeCursor`, to read the turns before it
   */
  before?: string | null;
}
/**
 * Each list is sorted oldest first.
 */
export interface ThreadSnapshot {
  /**
   * The sequence of the log when it was read
   */
  sequence: number;
  /**
   * The thread itself, as a list of one
   */
  threads: Thread[];
  turns: Turn[];
  messages: Message[];
  activities: Activity[];
  approvals: Approval[];
  checkpoints: Checkpoint[];
  /**
   * The cursor of the older turns, or null if there are none
   */
  beforeCursor: string | null;
}
/**
 * One exchange in a thread: a prompt, the agent's work and how it ended.
 */
export interface Turn {
  id: string;
  threadId: string;
  status: "running" | "completed" | "failed" | "interrupted";
  /**
   * Why the agent stopped, if the turn was completed
   */
  stopReason: string | null;
  /**
   * Why the turn was interrupted, if it was
   */
  reason: string | null;
  /**
   * What failed, if the turn failed
   */
  error: string | null;
  /**
   * As given in CompleteTurn
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
   * The text so far. Of a complete message at most the first 65,536 code points
   */
  text: string;
  /**
   * The size of the whole text if `text` is cut, otherwise null. `message/read` returns all of it
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
   * A word of the client's choice: `tool_call`, `plan`, `thought`, …
   */
  kind: string;
  title: string;
  status: "pending" | "running" | "completed" | "failed";
  /**
   * null if it has more than 65,536 characters: use `activity/read`
   */
  detail: unknown;
  /**
   * The size of a detail that was left out for its size, otherwise null
   */
  detailBytes: number | null;
  createdAt: string;
  updatedAt: string;
}
/**
 * A question that the agent waits for, and its answer.
 */
export interface Approval {
  id: string;
  threadId: string;
  turnId: string;
  title: string;
  /**
   * The options to choose from
   */
  options: OfferedOption[];
  detail: unknown;
  status: "pending" | "resolved" | "cancelled";
  /**
   * The id of the chosen option. null while the approval is pending, or if it was cancelled
   */
  outcome: string | null;
  createdAt: string;
  resolvedAt: string | null;
}
/**
 * A git ref that holds the state of the workspace at one moment.
 */
export interface Checkpoint {
  id: string;
  threadId: string;
  turnId: string | null;
  gitRef: string;
  message: string;
  createdAt: string;
  /**
   * When it was last restored
   */
  restoredAt: string | null;
}
export interface ReadParams {
  threadId: string;
  /**
   * The id of the message or activity
   */
  id: string;
}
export interface OfThreadParams {
  /**
   * The maximum number of items. A page may end earlier, at 1 MiB
   */
  limit?: number | null;
  /**
   * `nextCursor` of the previous page
   */
  cursor?: string | null;
  threadId: string;
}
export interface TurnPage {
  items: Turn[];
  /**
   * The cursor of the next page, or null if this is the last one
   */
  nextCursor: string | null;
}
export interface CheckpointPage {
  items: Checkpoint[];
  /**
   * The cursor of the next page, or null if this is the last one
   */
  nextCursor: string | null;
}
export interface SettingPage {
  items: Setting[];
  /**
   * The cursor of the next page, or null if this is the last one
   */
  nextCursor: string | null;
}
/**
 * A key and a JSON value.
 */
export interface Setting {
  key: string;
  /**
   * Never null: setting null removes the setting
   */
  value: unknown;
  updatedAt: string;
}
export interface EventListParams {
  /**
   * The maximum number of items. A page may end earlier, at 1 MiB
   */
  limit?: number | null;
  /**
   * `nextCursor` of the previous page
   */
  cursor?: string | null;
  /**
   * Where to start if there is no cursor
   */
  afterSequence?: number | null;
  /**
   * Only events of this thread
   */
  threadId?: string | null;
}
export interface StoredEventPage {
  items: StoredEvent[];
  /**
   * The cursor of the next page, or null if this is the last one
   */
  nextCursor: string | null;
}
export interface SearchParams {
  /**
   * The maximum number of results
   */
  limit?: number | null;
  /**
   * `nextCursor` of the previous page
   */
  cursor?: string | null;
  /**
   * Words that must all occur. The last one may be the beginning of a word
   */
  query: string;
  /**
   * Search only this project
   */
  projectId?: string | null;
  /**
   * Search only this thread
   */
  threadId?: string | null;
  /**
   * `plain`, or `fts5` for a query in the syntax of SQLite's FTS5
   */
  syntax?: ("plain" | "fts5") | null;
}
export interface HitPage {
  items: Hit[];
  /**
   * The cursor of the next page, or null if this is the last one
   */
  nextCursor: string | null;
}
/**
 * One search result.
 */
export interface Hit {
  /**
   * What was found
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
   * A piece of its text around the words
   */
  snippet: string;
  /**
   * Where the words are in the snippet
   */
  matches: Match[];
  /**
   * BM25. Lower is better
   */
  rank: number;
}
/**
 * Where a word was found in a snippet.
 */
export interface Match {
  /**
   * The offset of its first character, in code points
   */
  start: number;
  /**
   * The offset after its last character, in code points
   */
  end: number;
}
export interface OpenParams {
  topic: "index" | "thread" | "settings" | "events";
  /**
   * Required for `thread`. For `events`: only events of this thread. Not allowed for the other topics
   */
  threadId?: string | null;
  /**
   * For `thread`: the maximum number of turns in the snapshot
   */
  turnLimit?: number | null;
  /**
   * To resume: the sequence of the replica. For `events`: where to start
   */
  afterSequence?: number | null;
  /**
   * To resume: the log that `afterSequence` belongs to
   */
  logId?: string | null;
}
export interface SubscriptionOpened {
  subscriptionId: string;
  /**
   * The log that `sequence` belongs to
   */
  logId: string;
  /**
   * The sequence of the replica after it applied this result
   */
  sequence: number;
  /**
   * The topic at `sequence`. null for `events`, and if there are `changes` instead
   */
  snapshot: Snapshot | null;
  /**
   * What changed after `afterSequence`. null if there is a snapshot instead
   */
  changes: Change[] | null;
}
/**
 * Sorted newest first. Holds the 500 threads that changed last.
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
 * More text of a streaming message.
 */
export interface AppendChange {
  type: "append";
  entity: "message";
  id: string;
  text: string;
  /**
   * Where the text begins in the message, in code points
   */
  offset: number;
}
/**
 * The entity was removed. With a thread, everything in it was.
 */
export interface RemoveChange {
  type: "remove";
  entity: "project" | "thread" | "turn" | "message" | "activity" | "approval" | "checkpoint" | "setting";
  /**
   * The id of the entity, or the key of a setting
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
   * The version of the projections that filled the database's tables
   */
  projectionVersion: number;
  pythonVersion: string;
  sqliteVersion: string;
  /**
   * The daemon's process id
   */
  pid: number;
  dataDir: string;
  durability: "full" | "normal";
  logId: string;
  /**
   * The sequence of the last event in the log
   */
  sequence: number;
  sizes: Sizes;
  queues: Queues;
}
/**
 * Sizes on disk, in bytes.
 */
export interface Sizes {
  databaseBytes: number;
  walBytes: number;
}
export interface Queues {
  /**
   * Commands that wait for the engine
   */
  commands: number;
  /**
   * Requests that are not yet answered, including this one
   */
  requests: number;
  /**
   * Output that the client has not yet read, in bytes
   */
  outputBytes: number;
  /**
   * Open subscriptions
   */
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
export interface ProjectionChanged {
  subscriptionId: string;
  /**
   * The sequence of the replica after it applied all changes in order
   */
  sequence: number;
  changes: Change[];
}
export interface EventAppended {
  subscriptionId: string;
  /**
   * The last sequence covered by this notification
   */
  sequence: number;
  events: StoredEvent[];
}
/**
 * As in LSP.
 */
export interface Progress {
  /**
   * The `workDoneToken` of `initialize`
   */
  token: string | number;
  value: ProgressValue;
}
export interface ProgressValue {
  kind: "begin" | "report" | "end";
  message: string;
  /**
   * Only with `begin`
   */
  title?: string;
  /**
   * With `begin` and `report`
   */
  percentage?: number;
}
/**
 * As in LSP.
 */
export interface LogMessage {
  /**
   * 1: an error. 2: a warning
   */
  type: 1 | 2;
  message: string;
}
/**
 * The params of each notification that the daemon accepts.
 */
export interface FromClient {
  initialized: IgnoredParams;
  "$/setTrace": IgnoredParams;
  "$/cancelRequest": CancelParams;
  exit: IgnoredParams;
}
/**
 * Params that are accepted and not read.
 */
export interface IgnoredParams {
  [k: string]: unknown;
}
export interface CancelParams {
  /**
   * The id of the request
   */
  id: string | number;
  [k: string]: unknown;
}
/**
 * The error of an answer. Switch on `data.kind`; the message may be reworded.
 */
export interface ErrorObject {
  code: -32803 | -32800 | -32700 | -32603 | -32602 | -32601 | -32600 | -32012 | -32011 | -32010 | -32002 | -32001;
  message: string;
  data: ErrorData;
}
/**
 * -32700: The message is not valid JSON, or could not be framed. `id` is null. Fix the client.
 */
export interface ParseErrorData {
  kind: "parseError";
  reason: string;
}
/**
 * -32600: The message is JSON but not a valid JSON-RPC message. Or: the id is in flight, the batch is empty or has more than 1,000 messages, `initialize` was sent twice, or `shutdown` was sent before.
 */
export interface InvalidRequestData {
  kind: "invalidRequest";
  reason: string;
}
/**
 * -32600: The message was discarded unread. `id` is null. Send less, or raise `--max-message-bytes`.
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
 * -32603: A defect of the daemon. Its log has the details. Please report it.
 */
export interface InternalErrorData {
  kind: "internalError";
}
/**
 * -32803: The disk is full. Make room, then send it again.
 */
export interface DiskFullData {
  kind: "diskFull";
}
/**
 * -32803: The disk failed to read or write. Check its free space and its health.
 */
export interface IoErrorData {
  kind: "ioError";
}
/**
 * -32803: The database file is damaged. `treadle doctor` shows the damage, `treadle restore` restores a copy.
 */
export interface DatabaseCorruptData {
  kind: "databaseCorrupt";
}
/**
 * -32803: The data directory is not writable.
 */
export interface DatabaseReadOnlyData {
  kind: "databaseReadOnly";
}
/**
 * -32803: The data directory does not exist any more, was replaced, or is not readable.
 */
export interface DatabaseUnreachableData {
  kind: "databaseUnreachable";
}
/**
 * -32803: Another program has locked the database. Close it and try again.
 */
export interface DatabaseLockedData {
  kind: "databaseLocked";
}
/**
 * -32803: The search timed out after 10 seconds. Narrow the query.
 */
export interface SearchTimedOutData {
  kind: "searchTimedOut";
}
/**
 * -32803: A value is larger than SQLite can store.
 */
export interface TooBigData {
  kind: "tooBig";
}
/**
 * -32803: SQLite failed for another reason. The message has it.
 */
export interface StorageData {
  kind: "storage";
}
/**
 * -32803: This version of treadle cannot use or open the data directory. The message says what to do.
 */
export interface DatabaseRefusedData {
  kind: "databaseRefused";
}
/**
 * -32803: A newer version of treadle has upgraded the database. Start that version.
 */
export interface DatabaseNewerData {
  kind: "databaseNewer";
}
/**
 * -32001: A queue is full, or other processes keep the database busy. Nothing was done. Retry after `retryAfterMs` milliseconds.
 */
export interface OverloadedData {
  kind: "overloaded";
  reason: string;
  retryAfterMs: number;
}
/**
 * -32002: `initialize` has not succeeded yet.
 */
export interface NotInitializedData {
  kind: "notInitialized";
}
/**
 * -32010: The id is or was in use. Ids are never reused. Choose another one, or leave it out.
 */
export interface IdTakenData {
  kind: "idTaken";
  entity: string;
  id: string;
}
/**
 * -32010: The path of a project must begin with `/`.
 */
export interface PathNotAbsoluteData {
  kind: "pathNotAbsolute";
}
/**
 * -32010: The path does not exist, or is not a folder.
 */
export interface PathIsNoFolderData {
  kind: "pathIsNoFolder";
}
/**
 * -32010: The project `projectId` has this path. Use that project.
 */
export interface PathTakenData {
  kind: "pathTaken";
  projectId: string;
}
/**
 * -32010: The project has threads. Delete them first, or set `cascade`.
 */
export interface ProjectHasThreadsData {
  kind: "projectHasThreads";
  threads: number;
}
/**
 * -32010: The thread is archived. Unarchive it first.
 */
export interface ThreadArchivedData {
  kind: "threadArchived";
}
/**
 * -32010: A thread can run one turn at a time. Complete or interrupt `turnId` first.
 */
export interface TurnRunningData {
  kind: "turnRunning";
  turnId: string;
}
/**
 * -32010: The turn was completed, failed or was interrupted, perhaps by another process.
 */
export interface TurnEndedData {
  kind: "turnEnded";
  turnId: string;
}
/**
 * -32010: The message is complete. No text can be appended to it.
 */
export interface MessageCompleteData {
  kind: "messageComplete";
}
/**
 * -32010: Two options of the approval have the same id.
 */
export interface DuplicateOptionData {
  kind: "duplicateOption";
}
/**
 * -32010: The approval was already resolved or cancelled. `outcome` is its outcome.
 */
export interface ApprovalResolvedData {
  kind: "approvalResolved";
  outcome: string | null;
}
/**
 * -32010: The outcome must be one of the ids in `options`.
 */
export interface UnknownOptionData {
  kind: "unknownOption";
  options: string[];
}
/**
 * -32011: The entity does not exist, or was deleted.
 */
export interface NotFoundData {
  kind: "notFound";
  entity: string;
  id: string;
}
/**
 * -32012: The thread has changed. Read it again, then decide again.
 */
export interface VersionConflictData {
  kind: "versionConflict";
  expected: number;
  actual: number;
}
/**
 * -32012: The `commandId` belongs to another command. `expected` and `actual` are the digests of the two.
 */
export interface CommandIdConflictData {
  kind: "commandIdConflict";
  commandId: string;
  expected: string;
  actual: string;
}
/**
 * -32800: The request was cancelled with `$/cancelRequest`. It had no effect.
 */
export interface CancelledData {
  kind: "cancelled";
}
