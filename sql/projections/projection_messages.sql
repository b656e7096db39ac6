-- projection_messages, by (thread_id, id), with parts and message_search: MessageAdded, MessageAppended, MessageCompleted,
-- ThreadDeleted.

CREATE TRIGGER projection_messages_added INSTEAD OF INSERT ON projector
WHEN NEW.event_type = 'MessageAdded' BEGIN
  INSERT INTO projection_messages (sequence, thread_id, id, turn_id, role, status, created_at, completed_at)
  VALUES (NEW.sequence, NEW.thread_id, NEW.payload ->> '$.id', NEW.payload ->> '$.turnId', NEW.payload ->> '$.role',
          iif(NEW.payload ->> '$.streaming', 'streaming', 'complete'), NEW.at,
          iif(NEW.payload ->> '$.streaming', NULL, NEW.at));
  INSERT INTO message_search (rowid, text)
  SELECT sequence, text FROM message_texts WHERE sequence = NEW.sequence AND NOT coalesce(NEW.payload ->> '$.streaming', 0);
END;

-- The first part is the text that the message began with.
CREATE TRIGGER projection_messages_appended INSTEAD OF INSERT ON projector
WHEN NEW.event_type = 'MessageAppended' BEGIN
  INSERT INTO parts (entity, member, sequence)
  SELECT m.sequence, '', m.sequence FROM projection_messages AS m
  WHERE m.thread_id = NEW.thread_id AND m.id = NEW.payload ->> '$.id'
    AND NOT EXISTS (SELECT 1 FROM parts WHERE entity = m.sequence);
  INSERT INTO parts (entity, member, sequence)
  SELECT sequence, '', NEW.sequence FROM projection_messages
  WHERE thread_id = NEW.thread_id AND id = NEW.payload ->> '$.id';
END;

-- A message of many parts is folded into one, because a read would look up each of them.
CREATE TRIGGER projection_messages_completed INSTEAD OF INSERT ON projector
WHEN NEW.event_type = 'MessageCompleted' BEGIN
  UPDATE projection_messages SET status = 'complete', completed_at = NEW.at
  WHERE thread_id = NEW.thread_id AND id = NEW.payload ->> '$.id';
  INSERT INTO parts (entity, member, sequence, text)
  SELECT m.sequence, '', NEW.sequence, t.text
  FROM projection_messages AS m JOIN message_texts AS t ON t.sequence = m.sequence
  WHERE m.thread_id = NEW.thread_id AND m.id = NEW.payload ->> '$.id'
    AND (SELECT count(*) FROM parts WHERE entity = m.sequence) > 16;
  DELETE FROM parts
  WHERE entity = (
    SELECT sequence FROM projection_messages WHERE thread_id = NEW.thread_id AND id = NEW.payload ->> '$.id'
  ) AND sequence < NEW.sequence
    AND EXISTS (SELECT 1 FROM parts AS folded WHERE folded.entity = parts.entity AND folded.text IS NOT NULL);
  INSERT INTO message_search (rowid, text)
  SELECT m.sequence, t.text FROM projection_messages AS m JOIN message_texts AS t ON t.sequence = m.sequence
  WHERE m.thread_id = NEW.thread_id AND m.id = NEW.payload ->> '$.id';
END;

-- FTS5 removes the words of a row only with the exact text that was indexed.
CREATE TRIGGER projection_messages_deleted INSTEAD OF INSERT ON projector
WHEN NEW.event_type = 'ThreadDeleted' BEGIN
  INSERT INTO message_search (message_search, rowid, text)
  SELECT 'delete', m.sequence, t.text FROM projection_messages AS m JOIN message_texts AS t ON t.sequence = m.sequence
  WHERE m.thread_id = NEW.thread_id AND m.status = 'complete';
  DELETE FROM parts WHERE entity IN (SELECT sequence FROM projection_messages WHERE thread_id = NEW.thread_id);
  DELETE FROM projection_messages WHERE thread_id = NEW.thread_id;
END;

-- The text in one event of a message: of its content blocks if they hold it, one on a line.
CREATE VIEW message_parts AS
  SELECT sequence, coalesce(payload ->> '$.text', (
    SELECT group_concat(value ->> '$.text', char(10)) FROM json_each(events.payload, '$.content')
    WHERE value ->> '$.type' = 'text'
  ), '') AS text
  FROM events;

CREATE VIEW message_texts AS
  SELECT sequence, coalesce((
    SELECT group_concat(text, '') FROM (
      SELECT coalesce(p.text, t.text) AS text FROM parts AS p LEFT JOIN message_parts AS t ON t.sequence = p.sequence
      WHERE p.entity = m.sequence AND p.member = '' ORDER BY p.sequence
    )
  ), (SELECT text FROM message_parts AS t WHERE t.sequence = m.sequence)) AS text
  FROM projection_messages AS m;

-- value: what lists and snapshots show, with the first 65,536 characters of a complete text. whole: with all of it.
-- The text of an open message is always whole, since clients append to it.
CREATE VIEW message_entities AS
  SELECT sequence, thread_id, id, turn_id, status, json_object(
    'sequence', sequence, 'id', id, 'threadId', thread_id, 'turnId', turn_id, 'role', role,
    'text', iif(status = 'complete', substr(text, 1, 65536), text),
    'textBytes', iif(status = 'complete' AND length(text) > 65536, length(CAST(text AS BLOB)), NULL),
    'content', iif(length(content) > 65536, NULL, json(content)),
    'contentBytes', iif(length(content) > 65536, length(CAST(content AS BLOB)), NULL),
    'status', status, 'createdAt', created_at, 'completedAt', completed_at
  ) AS value, json_object(
    'sequence', sequence, 'id', id, 'threadId', thread_id, 'turnId', turn_id, 'role', role, 'text', text,
    'textBytes', NULL, 'content', json(content), 'contentBytes', NULL,
    'status', status, 'createdAt', created_at, 'completedAt', completed_at
  ) AS whole
  FROM (
    SELECT m.sequence, m.thread_id, m.id, m.turn_id, m.role, m.status, m.created_at, m.completed_at, t.text,
      e.payload -> '$.content' AS content
    FROM projection_messages AS m
    CROSS JOIN message_texts AS t ON t.sequence = m.sequence
    CROSS JOIN events AS e ON e.sequence = m.sequence
  );
