/** treadle in VS Code: choose a thread and an agent, send prompts, follow the work live. A starting point for your extension. */

import * as vscode from "vscode";
import { randomUUID } from "node:crypto";
import { Client, type View } from "./client";
import type { CheckpointDiff, Command, ConfiguredAgents, ProjectOpened, Restoration } from "./treadle";

const SCHEME = "treadle";
let client: Promise<Client> | undefined;
let index: View | undefined;
const threads = new Map<string, View>();
const changed = new vscode.EventEmitter<vscode.Uri>();

/** The client; starts a daemon if none is running. */
function connected(): Promise<Client> {
  return (client ??= connect());
}

async function connect(): Promise<Client> {
  const made = new Client(vscode.workspace.getConfiguration("treadle").get<string[]>("command"));
  made.onDidLog((message) => void vscode.window.showWarningMessage(`treadle: ${message}`));
  void made.ended.then(() => (client = undefined));
  await made.initialize();
  return made;
}

/** Lets the user choose a thread, newest first, and shows it. */
async function pick(): Promise<void> {
  const daemon = await connected();
  if (!index || index.ended) index = await daemon.follow("index");
  const items = index.of("thread").sort((a, b) => b.version - a.version)
    .map(({ id, title, status }) => ({ label: title, description: status, id }));
  const chosen = await vscode.window.showQuickPick(items, { placeHolder: "Thread" });
  if (chosen) await show(chosen.id);
}

/** Shows a thread in a document and updates it live. */
async function show(threadId: string): Promise<void> {
  const daemon = await connected();
  const uri = vscode.Uri.from({ scheme: SCHEME, path: `/${threadId}` });
  if (threads.get(threadId)?.ended !== undefined || !threads.has(threadId)) {
    const view = await daemon.follow("thread", threadId);
    threads.set(threadId, view);
    view.onDidChange(() => changed.fire(uri));
    changed.fire(uri);
  }
  await vscode.window.showTextDocument(await vscode.workspace.openTextDocument(uri), { preview: false });
}

/** Creates a thread in the project of the open folder, and shows it. */
async function create(): Promise<void> {
  const path = vscode.workspace.workspaceFolders?.[0]?.uri.fsPath;
  if (!path) throw new Error("open a folder first");
  const title = await vscode.window.showInputBox({ prompt: "Title" });
  if (!title) return;
  const daemon = await connected();
  const { project } = await daemon.request<ProjectOpened>("project/open", { path });
  const threadId = randomUUID();
  await daemon.dispatch({ type: "CreateThread", threadId, projectId: project.id, title });
  await show(threadId);
}

/** The thread shown by the active document. */
function current(): string {
  const uri = vscode.window.activeTextEditor?.document.uri;
  if (uri?.scheme !== SCHEME) throw new Error("the active document is not a thread");
  return uri.path.slice(1);
}

async function dispatch(command: Command): Promise<void> {
  await (await connected()).dispatch(command);
}

/** Lets the user choose the agent of that thread. */
async function agent(): Promise<void> {
  const threadId = current();
  const { agents } = await (await connected()).request<ConfiguredAgents>("agent/list");
  const items = agents.map(({ name, command }) => ({ label: name, description: command }));
  const chosen = await vscode.window.showQuickPick(items, { placeHolder: "Agent" });
  if (chosen) await dispatch({ type: "AssignAgent", threadId, agent: chosen.label });
}

/** Queues a prompt: `idle` is sent once the turn before has ended, `steer` goes into the running turn. */
async function queue(when: "idle" | "steer"): Promise<void> {
  const threadId = current();
  const text = await vscode.window.showInputBox({ prompt: when === "steer" ? "Steer" : "Prompt" });
  if (text) await dispatch({ type: "QueuePrompt", threadId, text, when });
}

/** Answers the oldest question of the agent. */
async function approve(): Promise<void> {
  const threadId = current();
  const approval = threads.get(threadId)?.of("approval").find(({ status }) => status === "pending");
  if (!approval) return;
  const items = approval.options.map(({ id, name, kind }) => ({ label: name, description: kind, id }));
  const chosen = await vscode.window.showQuickPick(items, { placeHolder: approval.title });
  if (chosen) await dispatch({ type: "ResolveApproval", threadId, id: approval.id, outcome: chosen.id });
}

/** The checkpoints before and after the last turn that has one before it. While it runs, there is none after it. */
function checkpoints(threadId: string): { before: string; after?: string } {
  const found = threads.get(threadId)?.of("checkpoint") ?? [];
  const before = found.filter(({ phase }) => phase === "before").pop();
  if (!before) throw new Error("no turn has a checkpoint");
  return { before: before.id, after: found.find(({ phase, turnId }) => phase === "after" && turnId === before.turnId)?.id };
}

/** Shows beside the thread what its last turn changed in the files. */
async function diff(): Promise<void> {
  const threadId = current();
  const { before, after } = checkpoints(threadId);
  const daemon = await connected();
  let content = "";
  let cursor: string | null | undefined;
  do {
    const asked = { threadId, from: before, to: after, patches: true, cursor };
    const page: CheckpointDiff = await daemon.request<CheckpointDiff>("checkpoint/diff", asked);
    for (const { patch, cut } of page.files) content += `${patch}${cut ? "(cut)\n" : ""}`;
    cursor = page.nextCursor;
  } while (cursor);
  const document = await vscode.workspace.openTextDocument({ language: "diff", content: content || "(nothing was changed)" });
  await vscode.window.showTextDocument(document, { viewColumn: vscode.ViewColumn.Beside, preserveFocus: true });
}

/** Puts the files back to what they were before the last turn, or to a checkpoint, after asking. */
async function undo(checkpoint?: string): Promise<void> {
  const threadId = current();
  const asked = { threadId, id: checkpoint ?? checkpoints(threadId).before };
  const daemon = await connected();
  const plan = await daemon.request<Restoration>("checkpoint/restore", { ...asked, dryRun: true });
  const question = `Write [${plan.written.join(", ")}], remove [${plan.removed.join(", ")}]?`;
  if ((await vscode.window.showWarningMessage(question, { modal: true }, "Put back")) !== "Put back") return;
  const { before } = await daemon.request<Restoration>("checkpoint/restore", asked);
  const redo = await vscode.window.showInformationMessage("The files were put back.", "Undo this");
  if (redo && before) await undo(before);
}

const USER_COMMANDS = {
  pick, new: create, agent, send: () => queue("idle"), steer: () => queue("steer"), approve, diff, undo: () => undo(),
  /** Interrupts the running turn, which pauses the queue. */
  interrupt: async () => dispatch({ type: "InterruptTurn", threadId: current(), by: "user" }),
  /** Sends the queued prompts again after an interruption or a failure. */
  resume: async () => dispatch({ type: "ResumeQueue", threadId: current() }),
};

/** Returns the API for other extensions. */
export function activate(context: vscode.ExtensionContext): { connected: typeof connected } {
  for (const [name, run] of Object.entries(USER_COMMANDS)) {
    const reported = () => run().catch((error: Error) => vscode.window.showErrorMessage(`treadle: ${error.message}`));
    context.subscriptions.push(vscode.commands.registerCommand(`treadle.${name}`, reported));
  }
  context.subscriptions.push(vscode.workspace.onDidCloseTextDocument(({ uri }) => {
    const view = uri.scheme === SCHEME && threads.get(uri.path.slice(1));
    if (view && threads.delete(uri.path.slice(1))) void connected().then((daemon) => daemon.unfollow(view));
  }));
  const provideTextDocumentContent = ({ path }: vscode.Uri) => threads.get(path.slice(1))?.text() ?? "(not followed)";
  const provider = { onDidChange: changed.event, provideTextDocumentContent };
  context.subscriptions.push(vscode.workspace.registerTextDocumentContentProvider(SCHEME, provider));
  return { connected };
}

/** VS Code waits for this when it exits. */
export async function deactivate(): Promise<void> {
  await (await client)?.stop();
}
