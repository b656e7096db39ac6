-- When each turn of a thread was run that answers a queued prompt or was recorded beside an editor (mapper.py gives its id).
SELECT started_at, ended_at FROM projection_turns
WHERE thread_id = :thread AND (prompt_id IS NOT NULL OR id GLOB 'turn-*') ORDER BY sequence;
