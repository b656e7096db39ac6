-- Events of one thread after a sequence.
SELECT sequence, payload, actor FROM events WHERE thread_id = :thread AND sequence > :after ORDER BY sequence LIMIT :limit;
