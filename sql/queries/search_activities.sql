-- As search_threads.
SELECT a.sequence, s.rank, a.created_at AS at, julianday(a.created_at) AS day
FROM activity_search AS s CROSS JOIN projection_activities AS a ON a.sequence = s.rowid
WHERE s.activity_search MATCH :query AND s.rowid BETWEEN :since AND :upto
  AND (:among IS NULL OR +s.rowid IN (SELECT value FROM json_each(:among)))
  AND (:project IS NULL OR :project = (SELECT project_id FROM projection_threads WHERE id = a.thread_id))
  AND (:thread IS NULL OR a.thread_id = :thread)
ORDER BY s.rowid DESC LIMIT 1000;
