-- projection_messages, by (thread_id, id), with message_chunks and message_search: MessageAdded, MessageAppended, MessageCompleted,
-- ThreadDeleted.

CREATE TRIGGER projection_messages_added INSTEAD OF INSERT ON projector
WHEN NEW.event_type = 'MessageAdded' BEGIN
  INSERT INTO projection_messages (sequence, thread_id, id, turn_id, role, text, status, created_at, completed_at)
  VALUES (NEW.sequence, NEW.thread_id, NEW.payload ->> '$.id', NEW.payload ->> '$.turnId', NEW.payload ->> '$.role',
          NEW.payload ->> '$.text', iif(NEW.payload ->> '$.streaming', 'streaming', 'complete'), NEW.at,
          iif(NEW.payload ->> '$.streaming', NULL, NEW.at));
  INSERT INTO message_search (rowid, text)
  SELECT NEW.sequence, NEW.payload ->> '$.text' WHERE NOT NEW.payload ->> '$.streaming';
END;

CREATE TRIGGER projection_messages_appended INSTEAD OF INSERT ON projector
WHEN NEW.event_type = 'MessageAppended' BEGIN
  INSERT INTO message_chunks (message, sequence, text)
  SELECT sequence, NEW.sequence, NEW.payload ->> '$.text' FROM projection_messages
  WHERE thread_id = NEW.thread_id AND id = NEW.payload ->> '$.id';
END;

-- The chunks are stored in the order of their primary key, which group_concat follows.
CREATE TRIGGER projection_messages_completed INSTEAD OF INSERT ON projector
WHEN NEW.event_type = 'MessageCompleted' BEGIN
  UPDATE projection_messages
  SET status = 'complete', completed_at = NEW.at,
      text = text || coalesce((
        SELECT group_concat(text, '') FROM (
          SELECT text FROM message_chunks WHERE message = projection_messages.sequence ORDER BY sequence
        )
      ), '')
  WHERE thread_id = NEW.thread_id AND id = NEW.payload ->> '$.id';
  INSERT INTO message_search (rowid, text)
  SELECT sequence, text FROM projection_messages WHERE thread_id = NEW.thread_id AND id = NEW.payload ->> '$.id';
  DELETE FROM message_chunks WHERE message = (
    SELECT sequence FROM projection_messages WHERE thread_id = NEW.thread_id AND id = NEW.payload ->> '$.id'
  );
END;

-- FTS5 removes the words of a row only with the exact text that was indexed.
CREATE TRIGGER projection_messages_deleted INSTEAD OF INSERT ON projector
WHEN NEW.event_type = 'ThreadDeleted' BEGIN
  INSERT INTO message_search (message_search, rowid, text)
  SELECT 'delete', sequence, text FROM projection_messages WHERE thread_id = NEW.thread_id AND status = 'complete';
  DELETE FROM message_chunks WHERE message IN (
    SELECT sequence FROM projection_messages WHERE thread_id = NEW.thread_id AND status = 'streaming'
  );
  DELETE FROM projection_messages WHERE thread_id = NEW.thread_id;
END;

CREATE VIEW message_texts AS
  SELECT sequence, text || coalesce((
    SELECT group_concat(text, '') FROM (
      SELECT text FROM message_chunks WHERE message = projection_messages.sequence ORDER BY sequence
    )
  ), '') AS text
  FROM projection_messages;

-- value: what lists and snapshots show, with the first 65,536 characters of a complete text. whole: with all of it.
-- The text of an open message is always whole, since clients append to it.
CREATE VIEW message_entities AS
  SELECT sequence, thread_id, id, turn_id, status, json_object(
    'id', id, 'threadId', thread_id, 'turnId', turn_id, 'role', role,
    'text', iif(status = 'complete', substr(text, 1, 65536), (
      SELECT t.text FROM message_texts AS t WHERE t.sequence = projection_messages.sequence
    )),
    'textBytes', iif(status = 'complete' AND length(text) > 65536, length(CAST(text AS BLOB)), NULL),
    'status', status, 'createdAt', created_at, 'completedAt', completed_at
  ) AS value, json_object(
    'id', id, 'threadId', thread_id, 'turnId', turn_id, 'role', role,
    'text', iif(status = 'complete', text, (
      SELECT t.text FROM message_texts AS t WHERE t.sequence = projection_messages.sequence
    )),
    'textBytes', NULL, 'status', status, 'createdAt', created_at, 'completedAt', completed_at
  ) AS whole
  FROM projection_messages;
