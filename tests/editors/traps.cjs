/** What docs/clients.md says of vscode-jsonrpc, tried; prints what came of it as JSON. */

const Module = require("node:module");
const { spawn } = require("node:child_process");
const { once } = require("node:events");
const { resolve } = require("node:path");

const example = Module.createRequire(resolve(__dirname, "../../docs/clients/vscode/package.json"));
const rpc = example("vscode-jsonrpc/node");

const turn = () => new Promise(setImmediate);

async function main() {
  const [program, ...parameters] = JSON.parse(process.env.TREADLE_COMMAND);
  const daemon = spawn(program, parameters, { stdio: ["pipe", "pipe", "inherit"] });
  const connection = rpc.createMessageConnection(
    new rpc.StreamMessageReader(daemon.stdout), new rpc.StreamMessageWriter(daemon.stdin),
  );
  const closed = new Promise((resolve) => connection.onClose(resolve));
  connection.listen();
  await connection.sendRequest("initialize", {});
  const kind = ({ data }) => data.kind;
  const params = await connection.sendRequest("thread/list", undefined).catch(kind);
  const token = await connection.sendRequest("thread/list", {}, undefined).catch(kind);

  daemon.kill("SIGSTOP");
  let answer = "none";
  connection.sendRequest("thread/list", {}).catch(() => (answer = "rejected"));
  await turn();
  daemon.kill("SIGKILL");
  await Promise.all([once(daemon, "close"), closed]);
  await turn();
  const afterTheEnd = answer;
  connection.dispose();
  await turn();
  console.log(JSON.stringify({ params, token, afterTheEnd, afterDispose: answer }));
}

main();
