/**
 * Does with the extension what tests/test_editors.py says: a step a line of JSON on stdin, an answer a line on stdout.
 * VS Code is not there: `editor` stands in for what the extension takes of it.
 */

const Module = require("node:module");
const { resolve } = require("node:path");
const { createInterface } = require("node:readline");

const example = Module.createRequire(resolve(__dirname, "../../docs/clients/vscode/package.json"));
const { Emitter } = example("vscode-jsonrpc/node");

const say = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`);

const commands = new Map();
const nothing = { dispose() {} };
let provider;
let shown; // the URI of the document in the active editor
let beside = ""; // another document, that is shown beside it
let text = "";
let chosen; // what the user types or chooses next
let looked = () => {};

function refresh() {
  text = (shown ? provider.provideTextDocumentContent(shown) : "") + beside;
  looked();
}

const editor = {
  EventEmitter: Emitter,
  ViewColumn: { Beside: -2 },
  Uri: { from: (parts) => parts },
  commands: { registerCommand: (name, run) => (commands.set(name, run), nothing) },
  window: {
    get activeTextEditor() {
      return shown && { document: { uri: shown } };
    },
    showQuickPick: async (items) => items.find(({ label, description }) => [label, `${label} [${description}]`].includes(chosen)),
    showInputBox: async () => chosen,
    showTextDocument: async ({ uri, content }) => {
      if (content === undefined) return (shown = uri), refresh();
      beside = `\n${content}`;
      refresh();
    },
    showErrorMessage: async (message) => say({ message }),
    showWarningMessage: async (message, _options, ...items) => (say({ message }), items.find((item) => item === chosen)),
    showInformationMessage: async (message) => void say({ message }),
  },
  workspace: {
    getConfiguration: () => ({ get: () => JSON.parse(process.env.TREADLE_COMMAND) }),
    get workspaceFolders() {
      return [{ uri: { fsPath: process.cwd() } }];
    },
    openTextDocument: async (given) => ("content" in given ? given : { uri: given }),
    onDidCloseTextDocument: () => nothing,
    registerTextDocumentContentProvider(_scheme, given) {
      provider = given;
      provider.onDidChange((uri) => uri.path === shown?.path && refresh());
      return nothing;
    },
  },
};

const load = Module._load;
Module._load = (name, ...rest) => (name === "vscode" ? editor : load(name, ...rest));
const extension = example("./out/extension.js");
const { connected } = extension.activate({ subscriptions: [] });

const steps = {
  async until(wanted) {
    while (!text.includes(wanted)) await new Promise((resolve) => (looked = resolve));
    say({ text });
  },
  async request({ method, params }) {
    const client = await connected();
    client.request(method, params ?? undefined).then((result) => say({ result }), (error) => say({ error: error.message }));
    say({ sent: true });
  },
  async stop() {
    const client = await connected();
    await client.stop();
    say({ status: client.status });
  },
  async quit() {
    await extension.deactivate();
    process.exit();
  },
};
for (const name of commands.keys()) {
  steps[name.replace("treadle.", "")] = async (argument) => {
    chosen = argument;
    await commands.get(name)();
  };
}

(async () => {
  say({ pid: process.pid });
  for await (const line of createInterface({ input: process.stdin })) {
    const [name, argument] = JSON.parse(line);
    await steps[name](argument);
  }
})();
