-- Events after a sequence.
SELECT sequence, payload, actor FROM events WHERE sequence > :after ORDER BY sequence LIMIT :limit;
