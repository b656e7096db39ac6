-- Queued prompts of a thread, newest first, created before :before.
SELECT sequence AS position, value FROM prompt_entities
WHERE thread_id = :thread AND sequence < :before ORDER BY sequence DESC LIMIT :limit;
