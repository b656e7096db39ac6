-- The activities :ids with a snippet, in which each matched word is between U+0002 and U+0003. One pass over the matches from :oldest
-- to :newest, because a prefix search costs the same for one row as for all.
SELECT s.rowid, a.id, a.thread_id, a.turn_id, t.project_id, t.title, snippet(activity_search, -1, char(2), char(3), '…', 24)
FROM activity_search AS s CROSS JOIN projection_activities AS a ON a.sequence = s.rowid
  CROSS JOIN projection_threads AS t ON t.id = a.thread_id
WHERE s.activity_search MATCH :query AND s.rowid BETWEEN :oldest AND :newest
  AND +s.rowid IN (SELECT value FROM json_each(:ids));
