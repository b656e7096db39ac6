-- The thread in which treadle ran this session of an agent first, also if it was deleted.
SELECT thread_id FROM run_sessions WHERE session_id = :session;
