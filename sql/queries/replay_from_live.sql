-- Projects one slice of the attached database's log into an empty copy of the projections.
INSERT INTO projector (sequence, payload, event_type, thread_id, at)
SELECT sequence, payload, event_type, thread_id, at FROM live.events WHERE sequence > :after AND sequence <= :upto
ORDER BY sequence;
