-- restores, by the sequence of the event: CheckpointRestored, ThreadDeleted. The files of each, which the next prompt names,
-- are in the log.

CREATE TRIGGER restores_restored INSTEAD OF INSERT ON rare_projector
WHEN NEW.event_type = 'CheckpointRestored' BEGIN
  INSERT INTO restores (sequence, thread_id) VALUES (NEW.sequence, NEW.thread_id);
END;

CREATE TRIGGER restores_deleted INSTEAD OF INSERT ON rare_projector
WHEN NEW.event_type = 'ThreadDeleted' BEGIN
  DELETE FROM restores WHERE thread_id = NEW.thread_id;
END;
