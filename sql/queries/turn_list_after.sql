-- Turns of a thread, oldest first, begun after :after.
SELECT sequence AS position, value, id FROM turn_entities
WHERE thread_id = :thread AND sequence > :after ORDER BY sequence LIMIT :limit;
