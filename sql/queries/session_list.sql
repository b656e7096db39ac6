-- Sessions of a thread, newest first, opened before :before.
SELECT sequence AS position, value FROM session_entities
WHERE thread_id = :thread AND sequence < :before ORDER BY sequence DESC LIMIT :limit;
