-- One thread's part of the log after a sequence.
SELECT sequence, payload FROM events WHERE thread_id = :thread AND sequence > :after ORDER BY sequence LIMIT :limit;
