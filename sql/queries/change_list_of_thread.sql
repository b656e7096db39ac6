-- The entities of one thread touched by events after a sequence.
SELECT sequence, event_type, thread_id, payload ->> '$.id' AS id
FROM events WHERE thread_id = :thread AND sequence > :after ORDER BY sequence LIMIT :limit;
