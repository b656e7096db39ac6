-- The number and the bytes of events of each type in a slice of the log. Only for `treadle stats`.
SELECT event_type, count(*) AS events, sum(length(CAST(payload AS BLOB))) AS bytes
FROM events WHERE sequence > :after AND sequence <= :upto GROUP BY event_type;
