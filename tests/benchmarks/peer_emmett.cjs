// Prints the events/s that emmett-sqlite appends: peer_emmett.cjs FOLDER DATABASE BATCHES SIZE
const { createRequire } = require("node:module");

const [folder, fileName, batches, size] = process.argv.slice(2);
const { getSQLiteEventStore } = createRequire(folder + "/package.json")("@event-driven-io/emmett-sqlite");
const text = "The delay doubles each time, so that a service which is down is not asked too often by all. ";

const batchOf = (b) =>
  Array.from({ length: Number(size) }, (_, n) => ({
    type: "MessageAdded",
    data: { id: `message-${b}-${n}`, threadId: "thread", turnId: "turn", role: "assistant", text },
  }));

(async () => {
  const store = getSQLiteEventStore({ fileName, schema: { autoMigration: "CreateOrUpdate" } });
  await store.appendToStream("thread", batchOf("first"));
  const all = Array.from({ length: Number(batches) }, (_, b) => batchOf(b));
  const began = process.hrtime.bigint();
  for (const batch of all) await store.appendToStream("thread", batch);
  const seconds = Number(process.hrtime.bigint() - began) / 1e9;
  console.log((batches * size) / seconds);
  process.exit(0);
})();
