-- run_sessions, by the agent's own id of the session: SessionOpened.

CREATE TRIGGER run_sessions_opened INSTEAD OF INSERT ON rare_projector
WHEN NEW.event_type = 'SessionOpened' BEGIN
  INSERT INTO run_sessions (session_id, sequence, thread_id)
  VALUES (NEW.payload ->> '$.sessionId', NEW.sequence, NEW.thread_id) ON CONFLICT (session_id) DO NOTHING;
END;
