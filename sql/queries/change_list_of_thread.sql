-- Which entities of one thread the log after a sequence names.
SELECT sequence, event_type, thread_id, payload ->> '$.id' AS id
FROM events WHERE thread_id = :thread AND sequence > :after ORDER BY sequence LIMIT :limit;
