-- projection_messages, by (thread_id, id), with parts and message_search: MessageAdded, MessageAppended, MessageCompleted,
-- ThreadDeleted.

CREATE TRIGGER projection_messages_added INSTEAD OF INSERT ON projector
WHEN NEW.event_type = 'MessageAdded' BEGIN
  INSERT INTO projection_messages 
    (sequence, thread_id, id, turn_id, role, status, text_bytes, content_bytes, created_at, completed_at)
  SELECT NEW.sequence, NEW.thread_id, NEW.payload ->> '$.id', NEW.payload ->> '$.turnId', NEW.payload ->> '$.role',
    iif(NEW.payload ->> '$.streaming', 'streaming', 'complete'),
    (
      SELECT length(CAST(text AS BLOB)) FROM message_parts
      WHERE sequence = NEW.sequence AND length(NEW.payload) > 65536 AND length(text) > 65536
        AND NOT coalesce(NEW.payload ->> '$.streaming', 0)
    ),
    length(CAST(NEW.payload -> '$.content' AS BLOB)), NEW.at, iif(NEW.payload ->> '$.streaming', NULL, NEW.at);
  INSERT INTO parts (entity, member, sequence)
  SELECT NEW.sequence, '', NEW.sequence WHERE NEW.payload ->> '$.streaming';
  INSERT INTO message_search (rowid, text)
  SELECT NEW.sequence,
    coalesce(NEW.payload ->> '$.text', (SELECT text FROM message_parts WHERE sequence = NEW.sequence))
  WHERE NOT coalesce(NEW.payload ->> '$.streaming', 0);
END;

CREATE TRIGGER projection_messages_appended INSTEAD OF INSERT ON projector
WHEN NEW.event_type = 'MessageAppended' BEGIN
  INSERT INTO parts (entity, member, sequence)
  SELECT sequence, '', NEW.sequence FROM projection_messages
  WHERE thread_id = NEW.thread_id AND id = NEW.payload ->> '$.id';
END;

-- A message of many small parts is folded into one, because a read would look up each of them.
CREATE TRIGGER projection_messages_completed INSTEAD OF INSERT ON projector
WHEN NEW.event_type = 'MessageCompleted' BEGIN
  INSERT INTO parts (entity, member, sequence, text)
  SELECT m.sequence, '', NEW.sequence, t.text
  FROM projection_messages AS m CROSS JOIN message_texts AS t ON t.sequence = m.sequence
  WHERE m.thread_id = NEW.thread_id AND m.id = NEW.payload ->> '$.id'
    AND (SELECT count(*) FROM parts WHERE entity = m.sequence) > max(16, length(t.text) / 256);
  DELETE FROM parts
  WHERE entity = (
    SELECT m.sequence FROM projection_messages AS m
    JOIN parts AS folded ON folded.entity = m.sequence AND folded.member = '' AND folded.sequence = NEW.sequence
    WHERE m.thread_id = NEW.thread_id AND m.id = NEW.payload ->> '$.id'
  ) AND sequence < NEW.sequence;
  UPDATE projection_messages
  SET status = 'complete', completed_at = NEW.at,
      text_bytes = (
        SELECT iif(length(text) > 65536, length(CAST(text AS BLOB)), NULL) FROM message_texts AS t
        WHERE t.sequence = projection_messages.sequence
      )
  WHERE thread_id = NEW.thread_id AND id = NEW.payload ->> '$.id';
  INSERT INTO message_search (rowid, text)
  SELECT m.sequence, t.text FROM projection_messages AS m CROSS JOIN message_texts AS t ON t.sequence = m.sequence
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

-- Whose prompt a message is, if it is one: another login's daemon may have sent it. A turn begins with its prompt.
CREATE VIEW prompt_authors AS
  SELECT m.sequence, o.actor
  FROM projection_messages AS m
  CROSS JOIN events AS e ON e.sequence = m.sequence
  LEFT JOIN projection_turns AS u ON u.sequence = m.sequence - 1
  CROSS JOIN projection_prompts AS q ON q.thread_id = m.thread_id AND q.id = coalesce(e.payload ->> '$.promptId', u.prompt_id)
  CROSS JOIN events AS o ON o.sequence = q.sequence;

-- value: what lists and snapshots show, with the first 65,536 characters of a complete text. whole: with all of it.
-- The text of an open message is always whole, since clients append to it. Each expression names the text once, because
-- SQLite would look it up each time.
CREATE VIEW message_entities AS
  SELECT sequence, thread_id, id, turn_id, status,
    iif(actor IS NULL, value, json_set(value, '$.createdBy', actor)) AS value,
    iif(actor IS NULL, whole, json_set(whole, '$.createdBy', actor)) AS whole
  FROM (SELECT m.sequence, m.thread_id, m.id, m.turn_id, m.status,
    iif(e.actor IS NULL, NULL, coalesce((SELECT a.actor FROM prompt_authors AS a WHERE a.sequence = m.sequence), e.actor)) AS actor,
    json_object(
    'sequence', m.sequence, 'id', m.id, 'threadId', m.thread_id, 'turnId', m.turn_id, 'role', m.role,
    'text', substr(t.text, 1, iif(m.text_bytes IS NULL, 2147483647, 65536)), 'textBytes', m.text_bytes,
    'content', iif(m.content_bytes <= 65536, json(e.payload -> '$.content'), NULL),
    'contentBytes', iif(m.content_bytes > 65536, m.content_bytes, NULL),
    'promptId', e.payload ->> '$.promptId', 'status', m.status, 'createdAt', m.created_at, 'completedAt', m.completed_at
  ) AS value, json_object(
    'sequence', m.sequence, 'id', m.id, 'threadId', m.thread_id, 'turnId', m.turn_id, 'role', m.role,
    'text', t.text, 'textBytes', NULL, 'content', json(e.payload -> '$.content'), 'contentBytes', NULL,
    'promptId', e.payload ->> '$.promptId', 'status', m.status, 'createdAt', m.created_at, 'completedAt', m.completed_at
  ) AS whole
  FROM projection_messages AS m
  CROSS JOIN message_texts AS t ON t.sequence = m.sequence
  CROSS JOIN events AS e ON e.sequence = m.sequence);
