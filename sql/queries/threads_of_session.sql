-- The threads whose agent had the session with this id, which is the agent's own.
SELECT thread_id FROM projection_sessions WHERE session_id = :session;
