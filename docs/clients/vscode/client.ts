/** A client of treadle: the connection, and views that follow a topic. It does not need VS Code. */

import { spawn } from "node:child_process";
import {
  type CancellationToken, createMessageConnection, Emitter, ErrorCodes, type MessageConnection, ResponseError,
  StreamMessageReader, StreamMessageWriter,
} from "vscode-jsonrpc/node";
import type {
  Change, Command, Dispatched, ProjectionChanged, Snapshot, SubscriptionOpened, UpsertChange,
} from "./treadle";

type Kind = UpsertChange["entity"];
type Value<K extends Kind> = Extract<UpsertChange, { entity: K }>["value"];
type Entity = { [K in Kind]: { kind: K; value: Value<K> } }[Kind];

const keyOf = (kind: Kind, value: Value<Kind>) => `${kind} ${"id" in value ? value.id : ""}`;

const KINDS: [string, Kind][] = [
  ["projects", "project"], ["threads", "thread"], ["turns", "turn"], ["messages", "message"],
  ["activities", "activity"], ["approvals", "approval"], ["checkpoints", "checkpoint"], ["prompts", "prompt"],
];

/** How a turn ended and why, on one line. */
function ending({ status, by, confirmed, stopReason, reason, error, errorKind }: Value<"turn">): string {
  const why = stopReason ?? reason ?? error;
  const unconfirmed = confirmed === false ? "; the agent did not confirm" : "";
  return `${status}${by ? ` by ${by}` : ""}${why ? ` (${errorKind ? `${errorKind}: ` : ""}${why})` : ""}${unconfirmed}`;
}

/** The content blocks of a message that are not text, such as images, as lines. */
function attached({ content, contentBytes }: Value<"message">): string[] {
  const blocks = ((content ?? []) as Record<string, string>[]).filter(({ type }) => type !== "text");
  const lines = blocks.map(({ type, name, mimeType, uri }) => `[${name ?? mimeType ?? type}${uri ? `, ${uri}` : ""}]`);
  return contentBytes ? [`[${contentBytes} bytes of content]`] : lines;
}

/** The content of a topic: its entities, kept up to date by notifications. */
export class View {
  /** By kind and id. */
  private readonly entities = new Map<string, Entity>();
  /** Why the view is no longer updated, once that is the case. */
  ended: string | undefined;
  private readonly changed = new Emitter<void>();
  readonly onDidChange = this.changed.event;

  constructor(readonly topic: string, readonly threadId?: string) {}

  /** All entities, in the order in which they were created: times do not tell it. */
  sorted(): Entity[] {
    return [...this.entities.values()].sort((a, b) => a.value.sequence - b.value.sequence);
  }

  of<K extends Kind>(kind: K): Value<K>[] {
    return this.sorted().filter((entity) => entity.kind === kind).map((entity) => entity.value as Value<K>);
  }

  load(snapshot: Snapshot): void {
    const lists = new Map<string, Entity["value"][]>(Object.entries(snapshot));
    this.entities.clear();
    for (const [plural, kind] of KINDS) {
      for (const value of lists.get(plural) ?? []) this.entities.set(keyOf(kind, value), { kind, value } as Entity);
    }
  }

  /** Applies a change; false if it does not fit because an earlier one was lost. */
  apply(change: Change): boolean {
    if (change.type === "upsert") {
      this.entities.set(keyOf(change.entity, change.value), { kind: change.entity, value: change.value } as Entity);
    } else if (change.type === "remove") {
      this.entities.delete(`${change.entity} ${change.id}`);
    } else {
      const message = this.entities.get(`message ${change.id}`)?.value as Value<"message"> | undefined;
      if (!message || [...message.text].length !== change.offset) return false; // code points; .length is UTF-16 units
      message.text += change.text;
    }
    return true;
  }

  tell(): void {
    this.changed.fire();
  }

  /** The thread as text. */
  text(): string {
    const thread = this.of("thread").find(({ id }) => id === this.threadId);
    const agent = thread?.agent ? ` (${thread.agent.name})` : "";
    const lines = [thread ? `# ${thread.title}${agent} [${thread.status}]` : "(deleted)"];
    const entities = this.sorted();
    for (const turn of this.of("turn")) {
      for (const { kind, value } of entities) {
        if (!("turnId" in value) || value.turnId !== turn.id) continue;
        if (kind === "message") {
          lines.push(`${value.role}> ${value.text}${value.status === "streaming" ? "▌" : ""}`, ...attached(value));
        } else if (kind === "checkpoint") lines.push(`* ${value.message} [${value.gitRef}]`);
        else if (kind === "approval") lines.push(`* ${value.title} [${value.outcome ?? value.status}]`);
        else if (kind === "activity") lines.push(`* ${value.title} [${value.status}]`);
      }
      lines.push(`-- ${ending(turn)}`);
    }
    for (const { when, text } of this.of("prompt").sort((a, b) => a.position - b.position)) {
      lines.push(`${when === "steer" ? "steer" : "queued"}> ${text}`);
    }
    if (thread?.queuePaused) lines.push(`|| paused: ${thread.queuePaused}`);
    if (this.ended) lines.push(`!! ${this.ended}`);
    return lines.join("\n");
  }
}

/** Starts a daemon and connects to it. */
export class Client {
  /** Resolves with the reason when the daemon has exited. */
  readonly ended: Promise<string>;
  status: number | undefined;
  isGone = false;
  private readonly views = new Map<string, View>();
  private readonly connection: MessageConnection;
  private readonly logged = new Emitter<string>();
  /** Warnings and errors of the daemon. */
  readonly onDidLog = this.logged.event;

  constructor(command: readonly string[] = ["treadle", "serve"]) {
    const [program = "treadle", ...parameters] = command;
    const daemon = spawn(program, parameters, { stdio: ["pipe", "pipe", "inherit"] });
    this.connection = createMessageConnection(new StreamMessageReader(daemon.stdout), new StreamMessageWriter(daemon.stdin));
    this.connection.onNotification("projection/changed", (params: ProjectionChanged) => this.take(params));
    this.connection.onNotification("window/logMessage", ({ message }: { message: string }) => this.logged.fire(message));
    this.connection.listen();
    this.ended = new Promise((resolve) => {
      const end = (how: string) => {
        this.isGone = true;
        this.connection.dispose(); // rejects unanswered requests, which would never settle
        for (const view of this.views.values()) {
          view.ended = how;
          view.tell();
        }
        resolve(how);
      };
      daemon.on("error", (error) => end(`${program} failed to start: ${error.message}`));
      daemon.on("close", (status, signal) => {
        this.status = status ?? undefined;
        end(`the daemon ended with ${signal ?? `status ${status}`}`);
      });
    });
  }

  /** Must be called first. Throws if the data directory was refused or the daemon could not be started. */
  async initialize(): Promise<void> {
    await this.request("initialize", { processId: process.pid }).catch(async (error) => {
      await this.stop();
      throw error;
    });
    await this.connection.sendNotification("initialized", {});
  }

  /** The result of a request. Rejects with a ResponseError from the daemon, or an Error if it has exited. */
  async request<Result>(method: string, params: object = {}, token?: CancellationToken): Promise<Result> {
    try {
      // An undefined token or undefined params would be sent as an extra positional parameter.
      return await (token ? this.connection.sendRequest(method, params, token) : this.connection.sendRequest(method, params));
    } catch (error) {
      if (error instanceof ResponseError && error.code !== ErrorCodes.PendingResponseRejected) throw error;
      throw new Error(await this.ended);
    }
  }

  dispatch(command: Command): Promise<Dispatched> {
    return this.request("command/dispatch", command);
  }

  /** Subscribes to a topic. */
  async follow(topic: "index" | "thread", threadId?: string): Promise<View> {
    const view = new View(topic, threadId);
    await this.open(view);
    return view;
  }

  async unfollow(view: View): Promise<void> {
    for (const [subscriptionId, followed] of this.views) {
      if (followed !== view) continue;
      this.views.delete(subscriptionId);
      await this.request("subscription/close", { subscriptionId });
    }
  }

  /** Shuts the daemon down and waits until it has exited. */
  async stop(): Promise<string> {
    if (!this.isGone) {
      await this.request("shutdown").catch(() => undefined);
      await this.connection.sendNotification("exit").catch(() => undefined);
    }
    return this.ended;
  }

  private async open(view: View): Promise<void> {
    const { topic, threadId } = view;
    const opened = await this.request<SubscriptionOpened>("subscription/open", { topic, ...(threadId && { threadId }) });
    if (opened.type === "snapshot") view.load(opened.snapshot);
    this.views.set(opened.subscriptionId, view);
  }

  private take({ subscriptionId, changes }: ProjectionChanged): void {
    const view = this.views.get(subscriptionId);
    if (!view) return;
    if (changes.every((change) => view.apply(change))) return view.tell();
    this.unfollow(view).then(() => this.open(view)).then(() => view.tell(), (error) => this.logged.fire(String(error)));
  }
}
