-- The id of the log, and the times of its first and last event.
SELECT (SELECT value FROM meta WHERE key = 'logId') AS log_id,
       (SELECT at FROM events WHERE sequence = 1) AS first_at,
       (SELECT at FROM events WHERE sequence = (SELECT max(sequence) FROM events)) AS last_at;
