-- projection_activities, by (thread_id, id): ActivityRecorded (again by the same id: the row is written anew),
-- ThreadDeleted.

CREATE TRIGGER projection_activities_recorded INSTEAD OF INSERT ON projector
WHEN NEW.event_type = 'ActivityRecorded' BEGIN
  INSERT INTO projection_activities
    (sequence, thread_id, id, turn_id, kind, title, status, detail, created_at, updated_at)
  VALUES (NEW.sequence, NEW.thread_id, NEW.payload ->> '$.id', NEW.payload ->> '$.turnId', NEW.payload ->> '$.kind',
          NEW.payload ->> '$.title', NEW.payload ->> '$.status', NEW.payload -> '$.detail', NEW.at, NEW.at)
  ON CONFLICT (thread_id, id) DO UPDATE
  SET kind = excluded.kind, title = excluded.title, status = excluded.status, detail = excluded.detail,
      updated_at = excluded.updated_at;
END;

CREATE TRIGGER projection_activities_deleted INSTEAD OF INSERT ON projector
WHEN NEW.event_type = 'ThreadDeleted' BEGIN
  DELETE FROM projection_activities WHERE thread_id = NEW.thread_id;
END;

CREATE VIEW activity_entities AS
  SELECT sequence, thread_id, id, turn_id, json_object(
    'id', id, 'threadId', thread_id, 'turnId', turn_id, 'kind', kind, 'title', title, 'status', status,
    'detail', json(detail), 'createdAt', created_at, 'updatedAt', updated_at
  ) AS value
  FROM projection_activities;
