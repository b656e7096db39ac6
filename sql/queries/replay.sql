-- Projects one slice of the log again. Sliced because a trigger materialises the whole SELECT.
INSERT INTO projector (sequence, payload, event_type, thread_id, at)
SELECT sequence, payload, event_type, thread_id, at FROM events WHERE sequence > :after AND sequence <= :upto
ORDER BY sequence;
