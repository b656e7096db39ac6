-- Queued prompts of all threads, newest first, created before :before.
SELECT sequence AS position, value FROM prompt_entities WHERE sequence < :before ORDER BY sequence DESC LIMIT :limit;
