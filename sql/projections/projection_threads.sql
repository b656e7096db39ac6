-- projection_threads, by id: every event of a thread but MessageAppended moves its version; beside the thread's own
-- events it folds those of turns and approvals, for its status.

CREATE TRIGGER projection_threads_created INSTEAD OF INSERT ON projector
WHEN NEW.event_type = 'ThreadCreated' BEGIN
  INSERT INTO projection_threads (sequence, id, project_id, title, version, created_at, updated_at)
  VALUES (NEW.sequence, NEW.thread_id, NEW.payload ->> '$.projectId', NEW.payload ->> '$.title',
          NEW.sequence, NEW.at, NEW.at);
END;

CREATE TRIGGER projection_threads_changed INSTEAD OF INSERT ON projector
WHEN NEW.event_type IN ('ThreadRenamed', 'ThreadArchived', 'ThreadUnarchived', 'ThreadDeleted') BEGIN
  UPDATE projection_threads
  SET version = NEW.sequence, updated_at = NEW.at,
      title = coalesce(NEW.payload ->> '$.title', title),
      archived_at = CASE NEW.event_type
        WHEN 'ThreadArchived' THEN NEW.at WHEN 'ThreadUnarchived' THEN NULL ELSE archived_at END,
      deleted = NEW.event_type = 'ThreadDeleted'
  WHERE id = NEW.thread_id;
END;

CREATE TRIGGER projection_threads_turn INSTEAD OF INSERT ON projector
WHEN NEW.event_type IN ('TurnStarted', 'TurnCompleted', 'TurnFailed', 'TurnInterrupted') BEGIN
  UPDATE projection_threads
  SET version = NEW.sequence, updated_at = NEW.at, running = NEW.event_type = 'TurnStarted'
  WHERE id = NEW.thread_id;
END;

CREATE TRIGGER projection_threads_approval INSTEAD OF INSERT ON projector
WHEN NEW.event_type IN ('ApprovalRequested', 'ApprovalResolved') BEGIN
  UPDATE projection_threads
  SET version = NEW.sequence, updated_at = NEW.at,
      pending_approvals = pending_approvals + iif(NEW.event_type = 'ApprovalRequested', 1, -1)
  WHERE id = NEW.thread_id;
END;

CREATE TRIGGER projection_threads_version INSTEAD OF INSERT ON projector
WHEN NEW.event_type IN ('MessageAdded', 'MessageCompleted', 'ActivityRecorded', 'CheckpointCreated',
                        'CheckpointRestored') BEGIN
  UPDATE projection_threads SET version = NEW.sequence, updated_at = NEW.at WHERE id = NEW.thread_id;
END;

CREATE VIEW thread_entities AS
  SELECT id, project_id, version, archived_at, json_object(
    'id', id, 'projectId', project_id, 'title', title,
    'status', CASE WHEN NOT running THEN 'idle' WHEN pending_approvals > 0 THEN 'waiting' ELSE 'running' END,
    'archivedAt', archived_at, 'version', version, 'createdAt', created_at, 'updatedAt', updated_at
  ) AS value
  FROM projection_threads WHERE deleted = 0;
