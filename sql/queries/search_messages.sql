-- As search_threads.
SELECT m.sequence, s.rank, m.created_at AS at, julianday(m.created_at) AS day
FROM message_search AS s CROSS JOIN projection_messages AS m ON m.sequence = s.rowid
WHERE s.message_search MATCH :query AND s.rowid BETWEEN :since AND :upto
  AND (:among IS NULL OR +s.rowid IN (SELECT value FROM json_each(:among)))
  AND (:project IS NULL OR :project = (SELECT project_id FROM projection_threads WHERE id = m.thread_id))
  AND (:thread IS NULL OR m.thread_id = :thread)
ORDER BY s.rowid DESC LIMIT 1000;
