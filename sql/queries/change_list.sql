-- The entities touched by events after a sequence.
SELECT sequence, event_type, thread_id, coalesce(payload ->> '$.id', payload ->> '$.key') AS id
FROM events WHERE sequence > :after ORDER BY sequence LIMIT :limit;
