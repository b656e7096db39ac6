-- checkpoints, by (thread_id, id): CheckpointCreated, CheckpointRestored, CheckpointPruned, ThreadDeleted. A row stays
-- when the checkpoint is pruned, because an id is never used twice.

CREATE TRIGGER checkpoints_created INSTEAD OF INSERT ON projector
WHEN NEW.event_type = 'CheckpointCreated' BEGIN
  INSERT INTO checkpoints (sequence, thread_id, id, turn_id, git_ref, message, git_commit, tree, phase, skipped, in_project, machine, created_at)
  VALUES (NEW.sequence, NEW.thread_id, NEW.payload ->> '$.id', NEW.payload ->> '$.turnId', NEW.payload ->> '$.gitRef',
          NEW.payload ->> '$.message', NEW.payload ->> '$.commit', NEW.payload ->> '$.tree',
          coalesce(NEW.payload ->> '$.phase', 'manual'), NEW.payload -> '$.skipped',
          coalesce(NEW.payload ->> '$.inProject', 0), NEW.payload ->> '$.machine', NEW.at);
END;

CREATE TRIGGER checkpoints_restored INSTEAD OF INSERT ON projector
WHEN NEW.event_type = 'CheckpointRestored' BEGIN
  UPDATE checkpoints SET restored_at = NEW.at
  WHERE thread_id = NEW.thread_id AND id = NEW.payload ->> '$.id';
END;

CREATE TRIGGER checkpoints_pruned INSTEAD OF INSERT ON rare_projector
WHEN NEW.event_type = 'CheckpointPruned' BEGIN
  UPDATE checkpoints SET pruned = NEW.sequence
  WHERE thread_id = NEW.thread_id AND id = NEW.payload ->> '$.id' AND pruned = 0;
END;

CREATE TRIGGER checkpoints_deleted INSTEAD OF INSERT ON projector
WHEN NEW.event_type = 'ThreadDeleted' BEGIN
  DELETE FROM checkpoints WHERE thread_id = NEW.thread_id;
END;

CREATE VIEW checkpoint_entities AS
  SELECT sequence, thread_id, id, iif(machine IS NULL, value, json_set(value, '$.machine', machine)) AS value
  FROM (SELECT *, json_object(
    'sequence', sequence, 'id', id, 'threadId', thread_id, 'turnId', turn_id, 'gitRef', git_ref, 'message', message,
    'commit', git_commit, 'tree', tree, 'phase', phase,
    'skipped', json(coalesce(skipped, '[]')), 'inProject', json(iif(in_project, 'true', 'false')), 'createdAt', created_at, 'restoredAt', restored_at
  ) AS value
  FROM checkpoints WHERE pruned = 0);
