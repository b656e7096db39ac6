-- Turns of a thread, oldest first, started after :after.
SELECT sequence AS position, value, id FROM turn_entities
WHERE thread_id = :thread AND sequence > :after ORDER BY sequence LIMIT :limit;
