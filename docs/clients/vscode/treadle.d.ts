/* The part of the protocol that the example speaks. */

export interface Project {
  id: string;
  name: string;
  path: string;
  createdAt: string;
}
export interface Thread {
  id: string;
  projectId: string;
  title: string;
  status: "idle" | "running" | "waiting";
  version: number;
  createdAt: string;
}
export interface Turn {
  id: string;
  threadId: string;
  status: "running" | "completed" | "failed" | "interrupted";
  stopReason: string | null;
  error: string | null;
  startedAt: string;
}
export interface Message {
  id: string;
  turnId: string;
  role: "user" | "assistant" | "system";
  text: string;
  status: "streaming" | "complete";
  createdAt: string;
}
export interface Activity {
  id: string;
  turnId: string;
  title: string;
  status: "pending" | "running" | "completed" | "failed";
  createdAt: string;
}
export interface Approval {
  id: string;
  turnId: string;
  title: string;
  status: "pending" | "resolved" | "cancelled";
  outcome: string | null;
  createdAt: string;
}
export interface Checkpoint {
  id: string;
  turnId: string | null;
  gitRef: string;
  message: string;
  createdAt: string;
}
export type UpsertChange =
  | { type: "upsert"; entity: "project"; value: Project }
  | { type: "upsert"; entity: "thread"; value: Thread }
  | { type: "upsert"; entity: "turn"; value: Turn }
  | { type: "upsert"; entity: "message"; value: Message }
  | { type: "upsert"; entity: "activity"; value: Activity }
  | { type: "upsert"; entity: "approval"; value: Approval }
  | { type: "upsert"; entity: "checkpoint"; value: Checkpoint };
export interface AppendChange {
  type: "append";
  entity: "message";
  id: string;
  text: string;
  /** where it begins, in code points */
  offset: number;
}
export interface RemoveChange {
  type: "remove";
  entity: UpsertChange["entity"];
  id: string;
}
export type Change = UpsertChange | AppendChange | RemoveChange;
export interface ProjectionChanged {
  subscriptionId: string;
  sequence: number;
  changes: Change[];
}
export interface IndexSnapshot {
  sequence: number;
  projects: Project[];
  threads: Thread[];
}
export interface ThreadSnapshot {
  sequence: number;
  threads: Thread[];
  turns: Turn[];
  messages: Message[];
  activities: Activity[];
  approvals: Approval[];
  checkpoints: Checkpoint[];
}
export type Snapshot = IndexSnapshot | ThreadSnapshot;
export interface SubscriptionOpened {
  subscriptionId: string;
  snapshot: Snapshot | null;
}
export type Command =
  | { type: "CreateProject"; id?: string; name: string; path: string }
  | { type: "CreateThread"; threadId?: string; projectId: string; title: string }
  | { type: "StartTurn"; threadId: string; prompt: string }
  | { type: "InterruptTurn"; threadId: string; reason?: string };
export interface Dispatched {
  sequence: number;
  events: { sequence: number; event: { type: string } }[];
}
