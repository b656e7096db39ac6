-- The last 1,000 threads in the log that match :query, from :since to :upto, each with its time and that as a number of days. The
-- bound keeps a common word in a long history from blocking other searches. :among: only these rows, as JSON, or NULL.
-- CROSS JOIN keeps the word index as the outer loop, in row order.
SELECT t.sequence, s.rank, t.updated_at AS at, julianday(t.updated_at) AS day
FROM thread_search AS s CROSS JOIN projection_threads AS t ON t.sequence = s.rowid
WHERE s.thread_search MATCH :query AND s.rowid BETWEEN :since AND :upto
  AND (:among IS NULL OR +s.rowid IN (SELECT value FROM json_each(:among)))
  AND (:project IS NULL OR t.project_id = :project) AND (:thread IS NULL OR t.id = :thread)
ORDER BY s.rowid DESC LIMIT 1000;
