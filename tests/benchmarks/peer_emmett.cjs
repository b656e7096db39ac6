// Events/s that emmett-sqlite appends, with an inline projection into rows of threads, turns and messages:
//
//     peer_emmett.cjs FOLDER DATABASE EVENTS COUNT SIZE (projected | bare)
//
// The library opens the database anew for each append, and leaves `synchronous` at SQLite's default, FULL.
const { readFileSync } = require("node:fs");
const { createRequire } = require("node:module");

const [folder, fileName, path, count, size, projected] = process.argv.slice(2);
const { getSQLiteEventStore } = createRequire(folder + "/package.json")("@event-driven-io/emmett-sqlite");
const BATCH = 500;

const events = readFileSync(path, "utf8").trimEnd().split("\n").map((line) => {
  const { type, ...data } = JSON.parse(line);
  return { type, data };
});

// One statement a table: emmett has no executemany, and a statement an event would cost a hop between threads each.
const PROJECTION = {
  ThreadCreated: `
    INSERT INTO projection_threads (id, project_id, title, version, created_at, updated_at)
    SELECT value ->> 'threadId', value ->> 'projectId', value ->> 'title', 1, value ->> 'at', value ->> 'at'
    FROM json_each(?)`,
  TurnStarted: `
    INSERT INTO projection_turns (thread_id, id, runner, status, started_at)
    SELECT value ->> 'threadId', value ->> 'id', value ->> 'runner', 'running', value ->> 'at' FROM json_each(?)`,
  MessageAdded: `
    INSERT INTO projection_messages (thread_id, id, turn_id, role, text, status, created_at, completed_at)
    SELECT value ->> 'threadId', value ->> 'id', value ->> 'turnId', value ->> 'role', value ->> 'text', 'complete',
           value ->> 'at', value ->> 'at'
    FROM json_each(?)`,
  TurnCompleted: `
    UPDATE projection_turns SET status = 'completed', stop_reason = e.value ->> 'stopReason', ended_at = e.value ->> 'at'
    FROM json_each(?) AS e WHERE thread_id = e.value ->> 'threadId' AND projection_turns.id = e.value ->> 'id'`,
};
const CHANGED = `
  UPDATE projection_threads
  SET version = version + ?, updated_at = ?,
      turn_status = CASE ? WHEN 'TurnStarted' THEN 'running' WHEN 'TurnCompleted' THEN NULL ELSE turn_status END
  WHERE id = ?`;

const projection = {
  canHandle: Object.keys(PROJECTION),
  handle: async (batch, { connection }) => {
    for (const [type, statement] of Object.entries(PROJECTION)) {
      const of = batch.filter((event) => event.type === type).map((event) => event.data);
      if (of.length) await connection.command(statement, [JSON.stringify(of)]);
    }
    // All events of an append belong to one thread.
    const turn = batch.findLast((event) => event.type === "TurnStarted" || event.type === "TurnCompleted");
    const { threadId, at } = batch.at(-1).data;
    const changes = batch.filter((event) => event.type !== "ThreadCreated").length;
    await connection.command(CHANGED, [changes, at, turn ? turn.type : null, threadId]);
  },
};

(async () => {
  const projections = projected === "projected" ? [{ type: "inline", projection }] : [];
  const store = getSQLiteEventStore({ fileName, schema: { autoMigration: "CreateOrUpdate" }, projections });
  const append = (start, end) => store.appendToStream(events[start].data.threadId, events.slice(start, end));
  await append(0, BATCH);
  const began = process.hrtime.bigint();
  for (let start = BATCH; start < BATCH + Number(count); start += Number(size)) await append(start, start + Number(size));
  const seconds = Number(process.hrtime.bigint() - began) / 1e9;
  console.log(count / seconds);
  process.exit(0);
})();
