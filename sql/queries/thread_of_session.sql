-- The thread in which treadle ran this session of an agent first.
SELECT thread_id FROM projection_sessions WHERE session_id = :session ORDER BY sequence LIMIT 1;
