-- Turns of a thread, newest first, started before :before.
SELECT sequence AS position, value, id FROM turn_entities
WHERE thread_id = :thread AND sequence < :before ORDER BY sequence DESC LIMIT :limit;
