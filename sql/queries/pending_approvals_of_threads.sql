-- The approvals that wait for an answer in the threads that have these ids. CROSS JOIN keeps the order of the tables.
SELECT a.sequence, a.thread_id, a.id, substr(a.title, 1, 1000), substr(t.title, 1, 200), a.options
FROM json_each(:threads) AS k CROSS JOIN projection_approvals AS a ON a.thread_id = k.value
CROSS JOIN projection_threads AS t ON t.id = a.thread_id
WHERE a.status = 'pending';
