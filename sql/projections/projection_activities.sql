-- projection_activities, by (thread_id, id), with activity_search: ActivityRecorded (the same id
-- again: the row is overwritten), ThreadDeleted.

CREATE TRIGGER projection_activities_recorded INSTEAD OF INSERT ON projector
WHEN NEW.event_type = 'ActivityRecorded' BEGIN
  INSERT INTO activity_search (activity_search, rowid, title, detail)
  SELECT 'delete', sequence, title, detail FROM activity_texts
  WHERE thread_id = NEW.thread_id AND id = NEW.payload ->> '$.id';
  INSERT INTO projection_activities
    (sequence, thread_id, id, turn_id, kind, title, status, detail, created_at, updated_at)
  VALUES (NEW.sequence, NEW.thread_id, NEW.payload ->> '$.id', NEW.payload ->> '$.turnId', NEW.payload ->> '$.kind',
          NEW.payload ->> '$.title', NEW.payload ->> '$.status', NEW.payload -> '$.detail', NEW.at, NEW.at)
  ON CONFLICT (thread_id, id) DO UPDATE
  SET kind = excluded.kind, title = excluded.title, status = excluded.status, detail = excluded.detail,
      updated_at = excluded.updated_at;
  INSERT INTO activity_search (rowid, title, detail)
  SELECT sequence, title, detail FROM activity_texts
  WHERE thread_id = NEW.thread_id AND id = NEW.payload ->> '$.id';
END;

CREATE TRIGGER projection_activities_deleted INSTEAD OF INSERT ON projector
WHEN NEW.event_type = 'ThreadDeleted' BEGIN
  INSERT INTO activity_search (activity_search, rowid, title, detail)
  SELECT 'delete', sequence, title, detail FROM activity_texts WHERE thread_id = NEW.thread_id;
  DELETE FROM projection_activities WHERE thread_id = NEW.thread_id;
END;

-- The searchable text of an ended activity: its title, and the strings in its detail without member names.
CREATE VIEW activity_texts AS
  SELECT sequence, thread_id, id, title,
    (SELECT group_concat(atom, ' ') FROM json_tree(projection_activities.detail) WHERE type = 'text') AS detail
  FROM projection_activities WHERE status IN ('completed', 'failed');

-- value: what lists and snapshots show, without a detail of more than 65,536 characters. whole: with it.
CREATE VIEW activity_entities AS
  SELECT sequence, thread_id, id, turn_id, json_object(
    'id', id, 'threadId', thread_id, 'turnId', turn_id, 'kind', kind, 'title', title, 'status', status,
    'detail', iif(length(detail) > 65536, NULL, json(detail)),
    'detailBytes', iif(length(detail) > 65536, length(CAST(detail AS BLOB)), NULL),
    'createdAt', created_at, 'updatedAt', updated_at
  ) AS value, json_object(
    'id', id, 'threadId', thread_id, 'turnId', turn_id, 'kind', kind, 'title', title, 'status', status,
    'detail', json(detail), 'detailBytes', NULL, 'createdAt', created_at, 'updatedAt', updated_at
  ) AS whole
  FROM projection_activities;
