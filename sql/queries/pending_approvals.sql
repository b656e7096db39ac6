-- The approvals that wait for an answer, in every thread.
SELECT a.sequence, a.thread_id, a.id, substr(a.title, 1, 1000), substr(t.title, 1, 200), a.options
FROM projection_approvals AS a JOIN projection_threads AS t ON t.id = a.thread_id
WHERE a.status = 'pending';
