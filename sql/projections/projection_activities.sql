-- projection_activities, by (thread_id, id), with parts and activity_search: ActivityRecorded (the same id again: the row is
-- overwritten), ActivityUpdated, ThreadDeleted.

CREATE TRIGGER projection_activities_recorded INSTEAD OF INSERT ON projector
WHEN NEW.event_type = 'ActivityRecorded' BEGIN
  INSERT INTO activity_search (activity_search, rowid, title, detail)
  SELECT 'delete', sequence, title, detail FROM activity_texts
  WHERE thread_id = NEW.thread_id AND id = NEW.payload ->> '$.id';
  DELETE FROM parts WHERE entity = (
    SELECT sequence FROM projection_activities WHERE thread_id = NEW.thread_id AND id = NEW.payload ->> '$.id'
  );
  INSERT INTO projection_activities
    (sequence, thread_id, id, turn_id, kind, title, status, base, size, created_at, updated_at)
  VALUES (NEW.sequence, NEW.thread_id, NEW.payload ->> '$.id', NEW.payload ->> '$.turnId', NEW.payload ->> '$.kind',
          NEW.payload ->> '$.title', NEW.payload ->> '$.status', NEW.sequence,
          coalesce(length(CAST(NEW.payload -> '$.detail' AS BLOB)), 0), NEW.at, NEW.at)
  ON CONFLICT (thread_id, id) DO UPDATE
  SET kind = excluded.kind, title = excluded.title, status = excluded.status, base = excluded.base,
      size = excluded.size, updated_at = excluded.updated_at;
  INSERT INTO activity_search (rowid, title, detail)
  SELECT sequence, title, detail FROM activity_texts
  WHERE thread_id = NEW.thread_id AND id = NEW.payload ->> '$.id';
END;

-- A detail that changes for the first time becomes one part for each of its members. A member of many small parts is folded
-- into one when the activity ends, because a read would look up each of them. Conditions on the event alone are tested once,
-- before the tables are read. The size of a member that is set is that of `"name":value,`.
CREATE TRIGGER projection_activities_updated INSTEAD OF INSERT ON projector
WHEN NEW.event_type = 'ActivityUpdated' BEGIN
  INSERT INTO activity_search (activity_search, rowid, title, detail)
  SELECT 'delete', sequence, title, detail FROM activity_texts
  WHERE thread_id = NEW.thread_id AND id = NEW.payload ->> '$.id';
  INSERT INTO parts (entity, member, sequence, size)
  SELECT a.sequence, m.key, a.base, length(CAST(e.payload -> ('$.detail.' || m.key) AS BLOB)) + length(m.key) + 4
  FROM projection_activities AS a JOIN events AS e ON e.sequence = a.base, json_each(e.payload, '$.detail') AS m
  WHERE a.thread_id = NEW.thread_id AND a.id = NEW.payload ->> '$.id' AND m.key IS NOT NULL
    AND coalesce(NEW.payload -> '$.detail', NEW.payload -> '$.append') IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM parts WHERE entity = a.sequence);
  DELETE FROM parts
  WHERE entity = (
    SELECT sequence FROM projection_activities WHERE thread_id = NEW.thread_id AND id = NEW.payload ->> '$.id'
  ) AND member IN (SELECT key FROM json_each(NEW.payload, '$.detail')) AND NEW.payload -> '$.detail' IS NOT NULL;
  INSERT INTO parts (entity, member, sequence, size)
  SELECT a.sequence, m.key, NEW.sequence,
    length(CAST(NEW.payload -> ('$.detail.' || m.key) AS BLOB)) + length(m.key) + 4
  FROM projection_activities AS a, json_each(NEW.payload, '$.detail') AS m
  WHERE a.thread_id = NEW.thread_id AND a.id = NEW.payload ->> '$.id' AND m.type <> 'null'
    AND NEW.payload -> '$.detail' IS NOT NULL;
  INSERT INTO parts (entity, member, sequence, size)
  SELECT a.sequence, m.key, NEW.sequence, length(CAST(NEW.payload -> ('$.append.' || m.key) AS BLOB)) - 2
  FROM projection_activities AS a, json_each(NEW.payload, '$.append') AS m
  WHERE a.thread_id = NEW.thread_id AND a.id = NEW.payload ->> '$.id' AND NEW.payload -> '$.append' IS NOT NULL;
  UPDATE parts
  SET text = (
        SELECT group_concat(p.value ->> '$', '') FROM activity_parts AS p
        WHERE p.entity = parts.entity AND p.member = parts.member
      ),
      size = (SELECT sum(size) FROM parts AS p WHERE p.entity = parts.entity AND p.member = parts.member)
  WHERE entity = (
    SELECT sequence FROM projection_activities WHERE thread_id = NEW.thread_id AND id = NEW.payload ->> '$.id'
  ) AND NEW.payload ->> '$.status' IN ('completed', 'failed')
    AND sequence = (SELECT max(sequence) FROM parts AS p WHERE p.entity = parts.entity AND p.member = parts.member)
    AND (
      SELECT count(*) > max(16, sum(size) / 256) FROM parts AS p
      WHERE p.entity = parts.entity AND p.member = parts.member
    );
  DELETE FROM parts
  WHERE entity = (
    SELECT sequence FROM projection_activities WHERE thread_id = NEW.thread_id AND id = NEW.payload ->> '$.id'
  ) AND NEW.payload ->> '$.status' IN ('completed', 'failed')
    AND sequence < (
      SELECT iif(p.text IS NULL, 0, p.sequence) FROM parts AS p
      WHERE p.entity = parts.entity AND p.member = parts.member ORDER BY p.sequence DESC LIMIT 1
    );
  UPDATE projection_activities
  SET kind = coalesce(NEW.payload ->> '$.kind', kind), title = coalesce(NEW.payload ->> '$.title', title),
      status = coalesce(NEW.payload ->> '$.status', status), updated_at = NEW.at,
      size = CASE
        WHEN NEW.payload -> '$.detail' IS NOT NULL
        THEN 1 + coalesce((SELECT sum(p.size) FROM parts AS p WHERE p.entity = projection_activities.sequence), 0)
        WHEN NEW.payload -> '$.append' IS NOT NULL
        THEN size + (
          SELECT sum(length(CAST(NEW.payload -> ('$.append.' || key) AS BLOB)) - 2) FROM json_each(NEW.payload, '$.append')
        )
        ELSE size END
  WHERE thread_id = NEW.thread_id AND id = NEW.payload ->> '$.id';
  INSERT INTO activity_search (rowid, title, detail)
  SELECT sequence, title, detail FROM activity_texts
  WHERE thread_id = NEW.thread_id AND id = NEW.payload ->> '$.id';
END;

CREATE TRIGGER projection_activities_deleted INSTEAD OF INSERT ON projector
WHEN NEW.event_type = 'ThreadDeleted' BEGIN
  INSERT INTO activity_search (activity_search, rowid, title, detail)
  SELECT 'delete', sequence, title, detail FROM activity_texts WHERE thread_id = NEW.thread_id;
  DELETE FROM parts WHERE entity IN (SELECT sequence FROM projection_activities WHERE thread_id = NEW.thread_id);
  DELETE FROM projection_activities WHERE thread_id = NEW.thread_id;
END;

-- Each part as JSON, in the order of the primary key of `parts`, which is that of the log. An unquoted name is a path of its
-- own, because names of parts are letters, digits, `_` and `-`.
CREATE VIEW activity_parts AS
  SELECT p.entity, p.member, iif(
    p.text IS NOT NULL, json_quote(p.text),
    coalesce(e.payload -> ('$.detail.' || p.member), e.payload -> ('$.append.' || p.member))
  ) AS value
  FROM parts AS p CROSS JOIN events AS e ON e.sequence = p.sequence;

-- The detail as JSON: the one in the event at `base`, or its members from their parts. A member with several parts is a text
-- that was appended to.
CREATE VIEW activity_details AS
  SELECT a.sequence, iif(
    NOT EXISTS (SELECT 1 FROM parts WHERE entity = a.sequence),
    (SELECT payload -> '$.detail' FROM events WHERE sequence = a.base),
    (
      SELECT json_group_object(member, json(value)) FROM (
        SELECT member, iif(count(*) = 1, max(p.value), json_quote(group_concat(p.value ->> '$', ''))) AS value
        FROM activity_parts AS p
        WHERE p.entity = a.sequence
        GROUP BY p.member
      )
    )
  ) AS detail
  FROM projection_activities AS a;

-- The searchable text of an ended activity: its title, and the strings in its detail without member names.
CREATE VIEW activity_texts AS
  SELECT a.sequence, a.thread_id, a.id, a.title,
    (SELECT group_concat(atom, ' ') FROM json_tree(d.detail) WHERE type = 'text') AS detail
  FROM projection_activities AS a JOIN activity_details AS d ON d.sequence = a.sequence
  WHERE a.status IN ('completed', 'failed');

-- value: what lists and snapshots show, without a detail of more than 65,536 bytes. whole: with it.
CREATE VIEW activity_entities AS
  SELECT a.sequence, a.thread_id, a.id, a.turn_id, json_object(
    'sequence', a.sequence, 'id', a.id, 'threadId', a.thread_id, 'turnId', a.turn_id, 'kind', a.kind, 'title', a.title,
    'status', a.status, 'detail', iif(a.size > 65536, NULL, json(d.detail)),
    'detailBytes', iif(a.size > 65536, a.size, NULL),
    'createdAt', a.created_at, 'updatedAt', a.updated_at
  ) AS value, json_object(
    'sequence', a.sequence, 'id', a.id, 'threadId', a.thread_id, 'turnId', a.turn_id, 'kind', a.kind, 'title', a.title,
    'status', a.status, 'detail', json(d.detail), 'detailBytes', NULL,
    'createdAt', a.created_at, 'updatedAt', a.updated_at
  ) AS whole
  FROM projection_activities AS a CROSS JOIN activity_details AS d ON d.sequence = a.sequence;
