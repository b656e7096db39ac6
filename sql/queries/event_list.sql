-- Events after a sequence.
SELECT sequence, payload FROM events WHERE sequence > :after ORDER BY sequence LIMIT :limit;
