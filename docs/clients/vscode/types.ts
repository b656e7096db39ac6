/** The part of the protocol that the example speaks; docs/protocol.md has all of it. */

export interface Entities {
  project: { id: string; name: string; path: string; createdAt: string };
  thread: { id: string; title: string; status: "idle" | "running" | "waiting"; version: number; createdAt: string };
  turn: { id: string; status: string; stopReason: string | null; error: string | null; startedAt: string };
  message: { id: string; turnId: string; role: string; text: string; status: "streaming" | "complete"; createdAt: string };
  activity: { id: string; turnId: string; title: string; status: string; createdAt: string };
  approval: { id: string; turnId: string; title: string; status: string; outcome: string | null; createdAt: string };
  checkpoint: { id: string; turnId: string | null; message: string; gitRef: string; createdAt: string };
}

export type Kind = keyof Entities;
export type Entity = { [K in Kind]: { kind: K; value: Entities[K] } }[Kind];

export type Change =
  | { [K in Kind]: { type: "upsert"; entity: K; value: Entities[K] } }[Kind]
  | { type: "append"; entity: "message"; id: string; text: string; offset: number }
  | { type: "remove"; entity: Kind; id: string };

export interface Changed {
  subscriptionId: string;
  sequence: number;
  changes: Change[];
}

export interface Opened {
  subscriptionId: string;
  snapshot: { [plural: string]: unknown };
}

export interface Dispatched {
  sequence: number;
  events: { sequence: number; event: { type: string; id?: string; threadId?: string } }[];
}

export type Command = { type: string; [field: string]: unknown };
