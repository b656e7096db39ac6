-- Which log it is, and when it begins and ends.
SELECT (SELECT value FROM meta WHERE key = 'logId') AS log_id,
       (SELECT at FROM events WHERE sequence = 1) AS first_at,
       (SELECT at FROM events WHERE sequence = (SELECT max(sequence) FROM events)) AS last_at;
