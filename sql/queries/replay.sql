-- One slice of the log through the projector. A trigger materialises the whole SELECT, hence slices.
INSERT INTO projector (sequence, payload, event_type, thread_id, at)
SELECT sequence, payload, event_type, thread_id, at FROM events WHERE sequence > :after AND sequence <= :upto
ORDER BY sequence;
