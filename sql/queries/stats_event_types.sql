-- How many events of each type a slice of the log holds, and their bytes. For `treadle stats` alone.
SELECT event_type, count(*) AS events, sum(length(CAST(payload AS BLOB))) AS bytes
FROM events WHERE sequence > :after AND sequence <= :upto GROUP BY event_type;
