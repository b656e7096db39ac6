/**
 * Attaches to treadle as vscode-languageclient does, with the library below it (vscode-languageserver-protocol), and
 * cancels a request. Prints what came of it as JSON.
 */

const Module = require("node:module");
const { spawn } = require("node:child_process");
const { once } = require("node:events");
const { resolve } = require("node:path");

const example = Module.createRequire(resolve(__dirname, "../../docs/clients/vscode/package.json"));
const lsp = example("vscode-languageserver-protocol/node");

const approvals = process.argv[2] === "approvals";
const ThreadList = new lsp.ProtocolRequestType("thread/list");
const Dispatch = new lsp.ProtocolRequestType("command/dispatch");

async function main() {
  const [program, ...parameters] = JSON.parse(process.env.TREADLE_COMMAND);
  const daemon = spawn(program, parameters, { stdio: ["pipe", "pipe", "inherit"] });
  const ended = once(daemon, "exit");
  const connection = lsp.createProtocolConnection(
    new lsp.StreamMessageReader(daemon.stdout), new lsp.StreamMessageWriter(daemon.stdin), console,
  );
  connection.listen();
  const initialized = await connection.sendRequest(lsp.InitializeRequest.type, {
    processId: process.pid,
    clientInfo: { name: "test", version: "1" },
    locale: "en",
    rootPath: null,
    rootUri: null,
    capabilities: { window: { workDoneProgress: true, showMessage: { messageActionItem: {} } }, textDocument: { synchronization: { didSave: true } } },
    initializationOptions: approvals ? { approvals: "all" } : {},
    trace: "off",
    workspaceFolders: null,
  });
  await connection.sendNotification(lsp.InitializedNotification.type, {});
  await connection.sendNotification(lsp.DidOpenTextDocumentNotification.type, {
    textDocument: { uri: "file:///a", languageId: "text", version: 1, text: "" },
  });
  const threads = await connection.sendRequest(ThreadList, { limit: 5 });
  const refused = await connection.sendRequest(ThreadList, { limit: 5000 }).catch(({ code, data }) => ({ code, data }));

  const shown = [];
  if (approvals) {
    const asked = new Promise((resolve) => {
      connection.onRequest(lsp.ShowMessageRequest.type, (params) => {
        shown.push(params);
        resolve();
        return params.actions[1];
      });
    });
    for (const command of [
      { type: "CreateProject", id: "p", name: "p", path: process.cwd() },
      { type: "CreateThread", threadId: "t", projectId: "p", title: "T" },
      { type: "AssignAgent", threadId: "t", agent: "scripted" },
    ]) {
      await connection.sendRequest(Dispatch, command);
    }
    const resolved = new Promise((resolve) => {
      connection.onNotification("projection/changed", (params) => {
        const found = params.changes.find(({ entity, value }) => entity === "approval" && value.status === "resolved");
        if (found) {
          resolve(found.value.outcome);
        }
      });
    });
    await connection.sendRequest("subscription/open", { topic: "thread", threadId: "t" });
    await connection.sendRequest(Dispatch, { type: "QueuePrompt", threadId: "t", text: "script=ask" });
    await asked;
    console.log(JSON.stringify({ shown, outcome: await resolved }));
    await connection.sendRequest(lsp.ShutdownRequest.type);
    await connection.sendNotification(lsp.ExitNotification.type);
    await ended;
    return;
  }

  daemon.kill("SIGSTOP"); // it finds both when it goes on
  const source = new lsp.CancellationTokenSource();
  const command = { type: "ChangeSetting", key: "k", value: 1 };
  const cancelled = connection.sendRequest(Dispatch, command, source.token).catch(({ code, data }) => ({ code, data }));
  source.cancel();
  await connection.sendNotification("$/setTrace", { value: "off" }); // written after them
  daemon.kill("SIGCONT");

  const result = { initialized, threads, refused, cancelled: await cancelled };
  await connection.sendRequest(lsp.ShutdownRequest.type);
  await connection.sendNotification(lsp.ExitNotification.type);
  const [status] = await ended;
  console.log(JSON.stringify({ ...result, status }));
}

main();
