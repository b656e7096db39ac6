-- Appends one slice of the attached database's log to an empty one, which projects it.
INSERT INTO events (sequence, payload, actor)
SELECT sequence, payload, actor FROM live.events WHERE sequence > :after AND sequence <= :upto ORDER BY sequence;
