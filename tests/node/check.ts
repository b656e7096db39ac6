// What a client in TypeScript does with the generated treadle.d.ts. Only compiled: tests/test_contract.py.

import type {
  Change,
  ClientMethods,
  Command,
  ErrorData,
  Event,
  FromClient,
  Methods,
  SubscriptionOpened,
  Thread,
  ToClient,
} from "./treadle.js";

declare function call<M extends keyof Methods>(method: M, params: Methods[M]["params"]): Promise<Methods[M]["result"]>;
declare function onRequest<M extends keyof ClientMethods>(
  method: M,
  ask: (params: ClientMethods[M]["params"]) => ClientMethods[M]["result"],
): void;
declare function notify<N extends keyof FromClient>(notification: N, params: FromClient[N]): void;
declare function on<N extends keyof ToClient>(notification: N, listener: (params: ToClient[N]) => void): void;

export async function used(): Promise<string[]> {
  const hello = await call("initialize", { processId: 4242, capabilities: {} });
  const version: number = hello.protocolVersion;
  notify("initialized", {});

  const start: Command = { type: "StartTurn", threadId: "t", prompt: "Hello?" };
  const answer = await call("command/dispatch", start);
  const sequence: number = answer.sequence;

  const threads: Thread[] = (await call("thread/list", { archived: false, limit: 20 })).items;
  const nothing: null = await call("subscription/close", { subscriptionId: "sub-1" });

  const held: string = opened(await call("subscription/open", { topic: "index" }));

  on("projection/changed", ({ changes }) => changes.map(told));
  onRequest("window/showMessageRequest", ({ actions }) => actions[0] ?? null);
  onRequest("window/workDoneProgress/create", () => null);
  on("event/appended", ({ events }) => events.map(({ event }) => happened(event)));
  return [...threads.map((thread) => thread.title), `${version} ${sequence} ${nothing} ${held}`];
}

function opened(answer: SubscriptionOpened): string {
  switch (answer.type) {
    case "snapshot":
      return "threads" in answer.snapshot ? `${answer.snapshot.threads.length} threads` : "settings";
    case "changes":
      return answer.changes.map(told).join();
    case "position":
      return `after ${answer.sequence}`;
  }
}

function told(change: Change): string {
  switch (change.type) {
    case "append":
      return change.text;
    case "remove":
      return change.id;
    case "upsert":
      // `entity` tells of what sort the value is.
      return change.entity === "message" ? change.value.text : change.entity === "setting" ? change.value.key : "";
  }
}

function happened(event: Event): string {
  return event.type === "MessageAppended" ? event.text : event.at;
}

export function advice(data: ErrorData): string {
  switch (data.kind) {
    case "turnRunning":
      return data.turnId;
    case "overloaded":
      return `in ${data.retryAfterMs} ms`;
    default:
      return data.kind;
  }
}

export async function wrong(thread: Thread, change: Change, answer: SubscriptionOpened): Promise<void> {
  // @ts-expect-error: no such method
  await call("thread/open", {});
  // @ts-expect-error: not an action
  onRequest("window/showMessageRequest", ({ actions }) => actions[0].title);
  // @ts-expect-error: a param is missing
  await call("thread/read", {});
  // @ts-expect-error: a param is misspelt
  await call("thread/list", { archve: true });
  // @ts-expect-error: no such command
  await call("command/dispatch", { type: "Explode" });
  // @ts-expect-error: a field of another command
  await call("command/dispatch", { type: "ArchiveThread", threadId: "t", title: "x" });
  // @ts-expect-error: not a status
  thread.status = "busy";
  // @ts-expect-error: a thread has no name
  void thread.name;
  // @ts-expect-error: not every change has text
  void change.text;
  // @ts-expect-error: not every answer has a snapshot
  void answer.snapshot;
}
