-- Every queue that is not paused, of a thread without an open session, with the daemon that is to send its prompts. CROSS JOIN
-- keeps the order of the tables.
SELECT DISTINCT t.id, t.version, t.queue_runner
FROM projection_prompts AS q CROSS JOIN projection_threads AS t ON t.id = q.thread_id
WHERE q.queued = 1 AND t.queue_paused IS NULL
  AND NOT EXISTS (SELECT 1 FROM projection_sessions AS s WHERE s.thread_id = t.id AND s.ended_at IS NULL);
