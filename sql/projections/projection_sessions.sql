-- projection_sessions, by (thread_id, id): SessionOpened, SessionChanged, SessionEnded, ContextLost, ThreadDeleted.

CREATE TRIGGER projection_sessions_opened INSTEAD OF INSERT ON rare_projector
WHEN NEW.event_type = 'SessionOpened' BEGIN
  INSERT INTO projection_sessions
    (sequence, thread_id, id, agent, release, session_id, how, runner, base, created_at)
  VALUES (NEW.sequence, NEW.thread_id, NEW.payload ->> '$.id', NEW.payload ->> '$.agent', NEW.payload ->> '$.release',
          NEW.payload ->> '$.sessionId', NEW.payload ->> '$.how', NEW.payload ->> '$.runner', NEW.sequence, NEW.at);
END;

CREATE TRIGGER projection_sessions_changed INSTEAD OF INSERT ON rare_projector
WHEN NEW.event_type = 'SessionChanged' BEGIN
  UPDATE projection_sessions SET base = NEW.sequence
  WHERE thread_id = NEW.thread_id AND id = NEW.payload ->> '$.id';
END;

CREATE TRIGGER projection_sessions_ended INSTEAD OF INSERT ON rare_projector
WHEN NEW.event_type = 'SessionEnded' BEGIN
  UPDATE projection_sessions
  SET reason = NEW.payload ->> '$.reason', exit_status = NEW.payload ->> '$.exitStatus',
      stderr = NEW.payload ->> '$.stderr', ended_at = NEW.at
  WHERE thread_id = NEW.thread_id AND id = NEW.payload ->> '$.id';
END;

CREATE TRIGGER projection_sessions_lost INSTEAD OF INSERT ON rare_projector
WHEN NEW.event_type = 'ContextLost' BEGIN
  UPDATE projection_sessions SET context_lost = NEW.payload ->> '$.reason'
  WHERE thread_id = NEW.thread_id AND id = NEW.payload ->> '$.id';
END;

CREATE TRIGGER projection_sessions_deleted INSTEAD OF INSERT ON rare_projector
WHEN NEW.event_type = 'ThreadDeleted' BEGIN
  DELETE FROM projection_sessions WHERE thread_id = NEW.thread_id;
END;

CREATE VIEW session_entities AS
  SELECT s.sequence, s.thread_id, s.id, json_object(
    'sequence', s.sequence, 'id', s.id, 'threadId', s.thread_id, 'agent', s.agent, 'release', s.release,
    'sessionId', s.session_id, 'how', s.how, 'capabilities', json(coalesce(o.payload -> '$.capabilities', '{}')),
    'options', json(coalesce(b.payload -> '$.options', '[]')), 'runner', s.runner, 'contextLost', s.context_lost,
    'reason', s.reason, 'exitStatus', s.exit_status, 'stderr', s.stderr, 'createdAt', s.created_at, 'endedAt', s.ended_at
  ) AS value
  FROM projection_sessions AS s
  CROSS JOIN events AS o ON o.sequence = s.sequence
  CROSS JOIN events AS b ON b.sequence = s.base;
