-- The threads :ids with a snippet, as in hits_messages.
SELECT s.rowid, t.id, t.id, NULL, t.project_id, t.title, snippet(thread_search, -1, char(2), char(3), '…', 24)
FROM thread_search AS s CROSS JOIN projection_threads AS t ON t.sequence = s.rowid
WHERE s.thread_search MATCH :query AND s.rowid BETWEEN :oldest AND :newest
  AND +s.rowid IN (SELECT value FROM json_each(:ids));
