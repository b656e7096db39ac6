-- The event log, the answers of past commands, the tables of the projections and the search indexes.
-- Applied once, in one transaction with its record in schema_migrations. Never edit it after a release.

CREATE TABLE schema_migrations (
  version    INTEGER PRIMARY KEY,
  name       TEXT NOT NULL,
  checksum   TEXT NOT NULL,
  applied_at TEXT NOT NULL
) STRICT;

-- logId: random, identifies this log · machineId: random, identifies this copy of it · machineFile: the inode of the
-- database that has this machineId · formerMachineIds: those of the databases that it was copied from ·
-- projectionVersion, projectionChecksum: the projections that filled the tables below ·
-- purge: the sequence of the erasure up to which the bytes are gone, too · eraseAgain: commands for the next start of a database
-- that was restored, by which it erases what was erased since the backup
CREATE TABLE meta (
  key   TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
  sequence   INTEGER PRIMARY KEY AUTOINCREMENT,
  payload    TEXT NOT NULL,
  actor      TEXT, -- who caused it; NULL for the owner of the data directory
  event_type TEXT NOT NULL GENERATED ALWAYS AS (payload ->> '$.type') VIRTUAL,
  thread_id  TEXT GENERATED ALWAYS AS (payload ->> '$.threadId') VIRTUAL,
  at         TEXT NOT NULL GENERATED ALWAYS AS (payload ->> '$.at') VIRTUAL
) STRICT;

-- Every index on a rowid table ends with the rowid, here the sequence.
CREATE INDEX idx_events_thread ON events (thread_id) WHERE thread_id IS NOT NULL;

-- What was taken out of the log. sequence: of the event that says so. whole: the thread was erased, so that all of its events
-- before are skeletons; 0: only the events that it lists were rewritten, without something that should not be there. searched:
-- what was found of the texts in the files afterwards, as JSON; NULL until then.
CREATE TABLE erasures (
  sequence  INTEGER PRIMARY KEY,
  thread_id TEXT NOT NULL,
  whole     INTEGER NOT NULL,
  searched  TEXT
) STRICT;

-- Each event without its texts, names and numbers, as it is once its thread is erased: type, ids, time and what is needed to read it stay.
-- The skeleton of a skeleton is itself.
CREATE VIEW skeletons (sequence, payload) AS
  SELECT e.sequence, (
    SELECT json_set(json_group_object(m.key, json(
      CASE WHEN m.kept THEN e.payload -> ('$."' || m.key || '"') WHEN m.type = 'text' THEN '""' ELSE '[]' END
    )), '$.erased', json('true'))
    FROM (
      SELECT key, type, type IN ('null', 'true', 'false') OR key IN (
        'type', 'threadId', 'at', 'id', 'turnId', 'projectId', 'activityId', 'promptId', 'ruleId', 'before', 'runner',
        'sessionId', 'role', 'status', 'phase', 'how', 'when', 'scope', 'limit', 'position', 'amount', 'spent'
      ) AS kept
      FROM json_each(e.payload)
    ) AS m
    WHERE m.kept OR m.type = 'text' OR (m.type = 'array' AND m.key <> 'content')
  )
  FROM events AS e;

-- RAISE(ABORT) also survives INSERT OR IGNORE and OR REPLACE (SQLite, CREATE TRIGGER, section 6).
-- An event becomes its skeleton once its thread was erased, or what a later event of its thread says; nothing else.
CREATE TRIGGER events_refuse_update BEFORE UPDATE ON events
WHEN NEW.sequence IS NOT OLD.sequence OR NEW.actor IS NOT OLD.actor OR NOT EXISTS (
  SELECT 1 FROM erasures AS x
  WHERE x.thread_id = OLD.thread_id AND x.sequence > OLD.sequence AND iif(
    x.whole, NEW.payload IS (SELECT payload FROM skeletons WHERE sequence = OLD.sequence),
    NEW.payload ->> '$.type' = OLD.event_type AND NEW.payload ->> '$.threadId' = OLD.thread_id
      AND NEW.payload ->> '$.at' = OLD.at AND NEW.payload ->> '$.id' IS OLD.payload ->> '$.id' AND EXISTS (
        SELECT 1 FROM events AS r, json_each(r.payload, '$.events') AS v
        WHERE r.sequence = x.sequence AND v.value ->> '$.sequence' = OLD.sequence
          AND NEW.payload = json_set(v.value -> '$.event', '$.redacted', x.sequence)
      )
  )
) BEGIN
  SELECT RAISE(ABORT, 'events are never changed, but erased');
END;

CREATE TRIGGER events_refuse_delete BEFORE DELETE ON events BEGIN
  SELECT RAISE(ABORT, 'events are never deleted');
END;

-- REPLACE deletes rows without firing the trigger above. In a BEFORE trigger the sequence is -1 if SQLite will choose it.
CREATE TRIGGER events_refuse_replace BEFORE INSERT ON events
WHEN EXISTS (SELECT 1 FROM events WHERE sequence = NEW.sequence) BEGIN
  SELECT RAISE(ABORT, 'events are never replaced');
END;

CREATE TRIGGER events_refuse_gap AFTER INSERT ON events
WHEN NEW.sequence <> 1 + (SELECT coalesce(max(sequence), 0) FROM events WHERE sequence < NEW.sequence) BEGIN
  SELECT RAISE(ABORT, 'sequences have no gaps');
END;

-- The event types in the log, so that a start finds a type that this release does not know without a scan.
CREATE TABLE event_types (
  event_type     TEXT PRIMARY KEY,
  first_sequence INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TRIGGER events_note_type AFTER INSERT ON events
WHEN NOT EXISTS (SELECT 1 FROM event_types WHERE event_type = NEW.event_type) BEGIN
  INSERT INTO event_types (event_type, first_sequence) VALUES (NEW.event_type, NEW.sequence);
END;

-- A projection is a set of INSTEAD OF INSERT triggers on this view: see sql/projections/.
CREATE VIEW projector (sequence, payload, event_type, thread_id, at) AS
  SELECT sequence, payload, event_type, thread_id, at FROM events;

CREATE TRIGGER events_project AFTER INSERT ON events BEGIN
  INSERT INTO projector (sequence, payload, event_type, thread_id, at)
  VALUES (NEW.sequence, NEW.payload, NEW.event_type, NEW.thread_id, NEW.at);
END;

-- Triggers on this view get no events of the two types that agents stream: each trigger that has to refuse one costs it time.
CREATE VIEW rare_projector (sequence, payload, event_type, thread_id, at) AS
  SELECT sequence, payload, event_type, thread_id, at FROM events;

CREATE TRIGGER projector_project_rare INSTEAD OF INSERT ON projector
WHEN NEW.event_type <> 'MessageAppended' AND NEW.event_type <> 'ActivityUpdated' BEGIN
  INSERT INTO rare_projector (sequence, payload, event_type, thread_id, at)
  VALUES (NEW.sequence, NEW.payload, NEW.event_type, NEW.thread_id, NEW.at);
END;

-- Not triggers on events: each of those costs every event time. A rebuild finds the rows and does nothing here.
CREATE TRIGGER rare_projector_erase INSTEAD OF INSERT ON rare_projector
WHEN (NEW.event_type = 'ThreadErased' OR NEW.event_type = 'EventsRedacted')
  AND NOT EXISTS (SELECT 1 FROM erasures WHERE sequence = NEW.sequence) BEGIN
  INSERT INTO erasures (sequence, thread_id, whole)
  VALUES (NEW.sequence, NEW.thread_id, NEW.event_type = 'ThreadErased');
END;

-- Erases a thread, which was deleted before: its events become skeletons, in the transaction of the event that says so.
-- A digest of a short text can be guessed, so that of the commands goes as well.
CREATE TRIGGER erasures_erase AFTER INSERT ON erasures WHEN NEW.whole BEGIN
  UPDATE events SET payload = (SELECT s.payload FROM skeletons AS s WHERE s.sequence = events.sequence)
  WHERE thread_id = NEW.thread_id AND sequence < NEW.sequence AND payload ->> '$.erased' IS NULL;
  UPDATE commands SET digest = 'erased'
  WHERE EXISTS (
    SELECT 1 FROM events AS e WHERE e.thread_id = NEW.thread_id AND e.sequence < NEW.sequence
      AND e.sequence BETWEEN commands.first_sequence AND commands.last_sequence
  );
END;

-- Events that are projected again, within the trigger of another event. A trigger does not fire while it runs, which is so for
-- projector_project_rare then: so this does what that does.
CREATE VIEW projector_again (sequence, payload, event_type, thread_id, at) AS
  SELECT sequence, payload, event_type, thread_id, at FROM events;

CREATE TRIGGER projector_again_both INSTEAD OF INSERT ON projector_again BEGIN
  INSERT INTO projector (sequence, payload, event_type, thread_id, at)
  VALUES (NEW.sequence, NEW.payload, NEW.event_type, NEW.thread_id, NEW.at);
  INSERT INTO rare_projector (sequence, payload, event_type, thread_id, at)
  SELECT NEW.sequence, NEW.payload, NEW.event_type, NEW.thread_id, NEW.at
  WHERE NEW.event_type <> 'MessageAppended' AND NEW.event_type <> 'ActivityUpdated';
END;

-- Rewrites the events that the one at this sequence lists, and projects their thread again: first every table forgets it, with the
-- words of the old texts. A log that is appended again has the rewritten events already, perhaps by a later event than this one.
CREATE TRIGGER erasures_redact AFTER INSERT ON erasures WHEN NOT NEW.whole BEGIN
  INSERT INTO projector_again (sequence, payload, event_type, thread_id, at)
  SELECT sequence, payload, 'ThreadDeleted', thread_id, at FROM events WHERE sequence = NEW.sequence;
  DELETE FROM projection_threads WHERE id = NEW.thread_id;
  UPDATE events
  SET payload = json_set(v.value -> '$.event', '$.redacted', NEW.sequence)
  FROM events AS r, json_each(r.payload, '$.events') AS v
  WHERE r.sequence = NEW.sequence AND events.sequence = v.value ->> '$.sequence'
    AND events.thread_id = NEW.thread_id AND events.sequence < NEW.sequence
    AND events.payload ->> '$.erased' IS NULL AND coalesce(events.payload ->> '$.redacted', 0) < NEW.sequence;
  INSERT INTO projector_again (sequence, payload, event_type, thread_id, at)
  SELECT sequence, payload, event_type, thread_id, at FROM events
  WHERE thread_id = NEW.thread_id AND sequence <= NEW.sequence ORDER BY sequence;
  UPDATE commands SET digest = 'erased'
  WHERE EXISTS (
    SELECT 1 FROM events AS r, json_each(r.payload, '$.events') AS v
    WHERE r.sequence = NEW.sequence
      AND v.value ->> '$.sequence' BETWEEN commands.first_sequence AND commands.last_sequence
  );
END;

-- The answers of commands that had an id. A command without events has last_sequence = first_sequence - 1.
-- parts: for dispatchBatch, the number of events of each command, as a JSON array. digest: `erased` once one of its events was.
CREATE TABLE commands (
  command_id     TEXT PRIMARY KEY,
  digest         TEXT NOT NULL,
  first_sequence INTEGER NOT NULL,
  last_sequence  INTEGER NOT NULL,
  parts          TEXT
) STRICT, WITHOUT ROWID;

-- The folders of this machine for the projects of a shared log. No projection: the log does not have them.
CREATE TABLE project_folders (
  project_id TEXT PRIMARY KEY,
  path       TEXT NOT NULL UNIQUE
) STRICT, WITHOUT ROWID;

-- The tables of the projections. `sequence` is that of the event that created the row, the same in every rebuild.
-- Rows of deleted projects and threads stay, because an id is never used twice.

CREATE TABLE projection_projects (
  sequence   INTEGER PRIMARY KEY,
  id         TEXT NOT NULL UNIQUE,
  name       TEXT NOT NULL,
  path       TEXT, -- NULL in a shared log, where the remote identifies the project
  remote     TEXT,
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL,
  deleted    INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX idx_projects_path ON projection_projects (path) WHERE deleted = 0;
CREATE UNIQUE INDEX idx_projects_remote ON projection_projects (remote) WHERE deleted = 0 AND path IS NULL;
CREATE INDEX idx_projects_live ON projection_projects (sequence) WHERE deleted = 0;

CREATE TABLE projection_threads (
  sequence          INTEGER PRIMARY KEY,
  id                TEXT NOT NULL UNIQUE,
  project_id        TEXT NOT NULL,
  title             TEXT NOT NULL,
  version           INTEGER NOT NULL,
  origin            TEXT, -- JSON
  origin_tool       TEXT GENERATED ALWAYS AS (origin ->> '$.tool') VIRTUAL,
  origin_session    TEXT GENERATED ALWAYS AS (origin ->> '$.sessionId') VIRTUAL,
  turn_status       TEXT, -- of the running turn: running or cancelling
  pending_approvals INTEGER NOT NULL DEFAULT 0,
  agent             TEXT, -- JSON: name, mode, options
  queued            INTEGER NOT NULL DEFAULT 0, -- the number of queued prompts
  queue_paused      TEXT, -- why, if it is
  queue_runner      TEXT, -- the daemon that received the last prompt, or the command to resume
  auth_required     TEXT, -- JSON: agent, reason, methods
  worktree          TEXT, -- JSON: path, base
  removals          INTEGER NOT NULL DEFAULT 0, -- how often a worktree of it was removed
  created_at        TEXT NOT NULL,
  updated_at        TEXT NOT NULL,
  archived_at       TEXT,
  created_by        TEXT, -- the actor of its first event
  deleted           INTEGER NOT NULL DEFAULT 0,
  erased            INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX idx_threads_version ON projection_threads (archived_at IS NULL, version) WHERE deleted = 0;
CREATE INDEX idx_threads_updated ON projection_threads (archived_at IS NULL, updated_at) WHERE deleted = 0;
CREATE INDEX idx_threads_deleted ON projection_threads (id) WHERE deleted = 1;
CREATE INDEX idx_threads_project ON projection_threads (project_id, archived_at IS NULL, version) WHERE deleted = 0;
CREATE INDEX idx_threads_project_updated
  ON projection_threads (project_id, archived_at IS NULL, updated_at) WHERE deleted = 0;
CREATE INDEX idx_threads_worktree ON projection_threads (id) WHERE worktree ->> '$.path' IS NOT NULL;
CREATE INDEX idx_threads_origin
  ON projection_threads (origin_tool, origin_session) WHERE deleted = 0 AND origin_session IS NOT NULL;

CREATE TABLE projection_turns (
  sequence     INTEGER PRIMARY KEY,
  thread_id    TEXT NOT NULL,
  id           TEXT NOT NULL,
  runner       TEXT NOT NULL,
  prompt_id    TEXT,
  status       TEXT NOT NULL,
  cancelled_by TEXT, -- who asked it to stop, before it has
  stop_reason  TEXT,
  reason       TEXT,
  by           TEXT,
  confirmed    INTEGER,
  error        TEXT,
  error_kind   TEXT,
  usage        TEXT,
  started_at   TEXT NOT NULL,
  ended_at     TEXT,
  UNIQUE (thread_id, id)
) STRICT;
CREATE INDEX idx_turns_thread ON projection_turns (thread_id);
CREATE INDEX idx_turns_running ON projection_turns (thread_id) WHERE status = 'running';

CREATE TABLE projection_messages (
  sequence     INTEGER PRIMARY KEY,
  thread_id    TEXT NOT NULL,
  id           TEXT NOT NULL,
  turn_id      TEXT NOT NULL,
  role         TEXT NOT NULL,
  status       TEXT NOT NULL,
  text_bytes    INTEGER, -- of a complete text that has more than 65,536 characters, which lists cut
  content_bytes INTEGER, -- NULL without content
  created_at   TEXT NOT NULL,
  completed_at TEXT,
  UNIQUE (thread_id, id)
) STRICT;
CREATE INDEX idx_messages_thread ON projection_messages (thread_id);
CREATE INDEX idx_messages_open ON projection_messages (thread_id) WHERE status = 'streaming';

-- Where the log holds the text of a message and the members of an activity's detail, so that each text is stored once. An
-- entity without parts is whole in the event at its `base`, which for a message is its own sequence.
-- entity: the sequence of the row in projection_messages or projection_activities. member: of the detail; '' for a message.
-- sequence: the event that holds the part. size: what it adds to the detail, in bytes. text: of many parts that were folded into
-- one, else NULL.
CREATE TABLE parts (
  entity   INTEGER NOT NULL,
  member   TEXT NOT NULL,
  sequence INTEGER NOT NULL,
  size     INTEGER,
  text     TEXT,
  PRIMARY KEY (entity, member, sequence)
) STRICT, WITHOUT ROWID;

CREATE TABLE projection_activities (
  sequence   INTEGER PRIMARY KEY,
  thread_id  TEXT NOT NULL,
  id         TEXT NOT NULL,
  turn_id    TEXT NOT NULL,
  kind       TEXT NOT NULL,
  title      TEXT NOT NULL,
  status     TEXT NOT NULL,
  base       INTEGER NOT NULL, -- the event that last recorded it whole
  size       INTEGER NOT NULL, -- of the detail, in bytes
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL,
  UNIQUE (thread_id, id)
) STRICT;
CREATE INDEX idx_activities_thread ON projection_activities (thread_id);
CREATE INDEX idx_activities_unfinished
  ON projection_activities (thread_id) WHERE status IN ('pending', 'running');

CREATE TABLE projection_approvals (
  sequence    INTEGER PRIMARY KEY,
  thread_id   TEXT NOT NULL,
  id          TEXT NOT NULL,
  turn_id     TEXT NOT NULL,
  title       TEXT NOT NULL,
  options     TEXT NOT NULL,
  detail      TEXT,
  activity_id TEXT,
  status      TEXT NOT NULL,
  outcome     TEXT,
  by          TEXT,
  rule_id     TEXT,
  content     TEXT,
  created_at  TEXT NOT NULL,
  resolved_at TEXT,
  resolved_by TEXT, -- the actor of that event
  UNIQUE (thread_id, id)
) STRICT;
CREATE INDEX idx_approvals_thread ON projection_approvals (thread_id);
CREATE INDEX idx_approvals_pending ON projection_approvals (thread_id) WHERE status = 'pending';
CREATE INDEX idx_approvals_newest ON projection_approvals (sequence) WHERE status = 'pending';

CREATE TABLE checkpoints (
  sequence    INTEGER PRIMARY KEY,
  thread_id   TEXT NOT NULL,
  id          TEXT NOT NULL,
  turn_id     TEXT,
  git_ref     TEXT NOT NULL,
  message     TEXT NOT NULL,
  git_commit  TEXT,
  tree        TEXT,
  phase       TEXT NOT NULL,
  skipped     TEXT, -- JSON
  created_at  TEXT NOT NULL,
  restored_at TEXT,
  in_project  INTEGER NOT NULL DEFAULT 0,
  machine     TEXT, -- that has it, in a shared log
  pruned      INTEGER NOT NULL DEFAULT 0, -- the event that says so
  UNIQUE (thread_id, id)
) STRICT;
CREATE INDEX idx_checkpoints_thread ON checkpoints (thread_id, pruned);

CREATE TABLE restores (
  sequence  INTEGER PRIMARY KEY,
  thread_id TEXT NOT NULL
) STRICT;
CREATE INDEX idx_restores_thread ON restores (thread_id);

-- base: the event that last recorded the prompt whole, with its text and content. Rows of prompts that were sent or removed stay,
-- because an id is never used twice.
CREATE TABLE projection_prompts (
  sequence   INTEGER PRIMARY KEY,
  thread_id  TEXT NOT NULL,
  id         TEXT NOT NULL,
  base       INTEGER NOT NULL,
  position   REAL NOT NULL,
  queued     INTEGER NOT NULL DEFAULT 1,
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL,
  UNIQUE (thread_id, id)
) STRICT;
CREATE INDEX idx_prompts_thread ON projection_prompts (thread_id) WHERE queued = 1;
CREATE INDEX idx_prompts_newest ON projection_prompts (sequence) WHERE queued = 1;

-- base: the event that last gave the options. The capabilities are in the event at `sequence`.
CREATE TABLE projection_sessions (
  sequence     INTEGER PRIMARY KEY,
  thread_id    TEXT NOT NULL,
  id           TEXT NOT NULL,
  agent        TEXT NOT NULL,
  release      TEXT,
  session_id   TEXT NOT NULL,
  how          TEXT NOT NULL,
  runner       TEXT NOT NULL,
  base         INTEGER NOT NULL,
  context_lost TEXT,
  reason       TEXT,
  exit_status  INTEGER,
  stderr       TEXT,
  created_at   TEXT NOT NULL,
  ended_at     TEXT,
  UNIQUE (thread_id, id)
) STRICT;
CREATE INDEX idx_sessions_thread ON projection_sessions (thread_id);
CREATE INDEX idx_sessions_session ON projection_sessions (session_id);
CREATE INDEX idx_sessions_open ON projection_sessions (thread_id) WHERE ended_at IS NULL;

-- In which thread treadle ran a session of an agent first. Also of deleted threads, which an import must not bring back.
CREATE TABLE run_sessions (
  session_id TEXT PRIMARY KEY,
  sequence   INTEGER NOT NULL,
  thread_id  TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- What each turn used, as far as the agent said, and with turn_id '' the sum of the thread.
CREATE TABLE projection_usage (
  thread_id TEXT NOT NULL,
  turn_id   TEXT NOT NULL,
  cost      REAL,
  currency  TEXT,
  tokens    INTEGER,
  PRIMARY KEY (thread_id, turn_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE projection_rules (
  sequence   INTEGER PRIMARY KEY,
  id         TEXT NOT NULL UNIQUE,
  scope      TEXT NOT NULL, -- JSON
  agent      TEXT,
  match      TEXT NOT NULL, -- JSON
  decision   TEXT NOT NULL,
  until      TEXT,
  created_at TEXT NOT NULL,
  removed    INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX idx_rules_live ON projection_rules (sequence) WHERE removed = 0;

CREATE TABLE settings (
  key        TEXT PRIMARY KEY,
  sequence   INTEGER NOT NULL,
  value      TEXT NOT NULL,
  updated_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- The search indexes. They hold words only; the text stays in the log, and views beside the projections read it: their
-- external content (https://www.sqlite.org/fts5.html, section 4.4.3). The rowid is the sequence of the entity.

CREATE VIRTUAL TABLE thread_search USING fts5 (
  title, content = 'projection_threads', content_rowid = 'sequence', tokenize = 'unicode61 remove_diacritics 2'
);

CREATE VIRTUAL TABLE message_search USING fts5 (
  text, content = 'message_texts', content_rowid = 'sequence', tokenize = 'unicode61 remove_diacritics 2'
);

-- activity_texts: a view beside the projection, with the strings in the detail.
CREATE VIRTUAL TABLE activity_search USING fts5 (
  title, detail, content = 'activity_texts', content_rowid = 'sequence', tokenize = 'unicode61 remove_diacritics 2'
);

-- The words of one transaction stay in memory up to this size, 1 MiB by default: a rebuild merges fewer segments.
INSERT INTO message_search (message_search, rank) VALUES ('hashsize', 16777216);
INSERT INTO activity_search (activity_search, rank) VALUES ('hashsize', 16777216);
