/** Shows a thread in a terminal, without VS Code, after each change; every line that is typed is a prompt. */

import { createInterface } from "node:readline";
import { Client } from "./client";

async function main(threadId: string | undefined, command: string[]): Promise<number> {
  const client = new Client(command.length ? command : undefined);
  await client.initialize();
  if (!threadId) {
    for (const thread of (await client.follow("index")).of("thread")) console.log(`${thread.id}  ${thread.title}`);
  } else {
    const view = await client.follow("thread", threadId);
    console.log(view.text());
    view.onDidChange(() => console.log(`\n${view.text()}`));
    const lines = createInterface({ input: process.stdin });
    void client.ended.then(() => lines.close());
    for await (const text of lines) {
      await client.dispatch({ type: "QueuePrompt", threadId, text }).catch((error: Error) => console.error(error.message));
    }
  }
  await client.stop();
  return client.status ?? 1;
}

const [threadId, ...command] = process.argv.slice(2);
main(threadId, command).then((status) => (process.exitCode = status), (error: Error) => {
  console.error(`treadle: ${error.message}`);
  process.exitCode = 1;
});
