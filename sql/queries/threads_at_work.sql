-- The threads with queued prompts, an open session, or a running turn of a queued prompt.
SELECT thread_id FROM projection_prompts WHERE queued = 1
UNION SELECT thread_id FROM projection_sessions WHERE ended_at IS NULL
UNION SELECT thread_id FROM projection_turns WHERE status = 'running' AND prompt_id IS NOT NULL;
