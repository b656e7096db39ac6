-- projection_turns, by (thread_id, id): TurnStarted, TurnCancelling, TurnCompleted, TurnFailed, TurnInterrupted, ThreadDeleted.

CREATE TRIGGER projection_turns_started INSTEAD OF INSERT ON projector
WHEN NEW.event_type = 'TurnStarted' BEGIN
  INSERT INTO projection_turns (sequence, thread_id, id, runner, prompt_id, status, started_at)
  VALUES (NEW.sequence, NEW.thread_id, NEW.payload ->> '$.id', NEW.payload ->> '$.runner',
          NEW.payload ->> '$.promptId', 'running', NEW.at);
END;

CREATE TRIGGER projection_turns_cancelling INSTEAD OF INSERT ON rare_projector
WHEN NEW.event_type = 'TurnCancelling' BEGIN
  UPDATE projection_turns SET cancelled_by = NEW.payload ->> '$.by'
  WHERE thread_id = NEW.thread_id AND id = NEW.payload ->> '$.id';
END;

CREATE TRIGGER projection_turns_ended INSTEAD OF INSERT ON projector
WHEN NEW.event_type = 'TurnCompleted' OR NEW.event_type = 'TurnFailed' OR NEW.event_type = 'TurnInterrupted' BEGIN
  UPDATE projection_turns
  SET status = CASE NEW.event_type
        WHEN 'TurnCompleted' THEN 'completed' WHEN 'TurnFailed' THEN 'failed' ELSE 'interrupted' END,
      stop_reason = NEW.payload ->> '$.stopReason',
      reason = NEW.payload ->> '$.reason',
      by = NEW.payload ->> '$.by',
      confirmed = NEW.payload ->> '$.confirmed',
      error = NEW.payload ->> '$.error',
      error_kind = NEW.payload ->> '$.kind',
      usage = NEW.payload -> '$.usage',
      cancelled_by = NULL,
      ended_at = NEW.at
  WHERE thread_id = NEW.thread_id AND id = NEW.payload ->> '$.id';
END;

CREATE TRIGGER projection_turns_deleted INSTEAD OF INSERT ON projector
WHEN NEW.event_type = 'ThreadDeleted' BEGIN
  DELETE FROM projection_turns WHERE thread_id = NEW.thread_id;
END;

CREATE VIEW turn_entities AS
  SELECT sequence, thread_id, id, json_object(
    'sequence', sequence, 'id', id, 'threadId', thread_id, 'status', status, 'runner', runner,
    'promptId', prompt_id,
    'spent', (
      SELECT json(spent) FROM turn_spent WHERE thread_id = projection_turns.thread_id AND turn_id = projection_turns.id
    ),
    'stopReason', stop_reason, 'reason', reason, 'by', by, 'confirmed', json(iif(confirmed, 'true', iif(confirmed = 0, 'false', NULL))),
    'error', error, 'errorKind', error_kind, 'usage', json(usage), 'startedAt', started_at, 'endedAt', ended_at
  ) AS value
  FROM projection_turns;
