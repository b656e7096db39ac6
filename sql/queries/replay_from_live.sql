-- The same from the attached database, into an empty copy of the projections.
INSERT INTO projector (sequence, payload, event_type, thread_id, at)
SELECT sequence, payload, event_type, thread_id, at FROM live.events WHERE sequence > :after AND sequence <= :upto
ORDER BY sequence;
