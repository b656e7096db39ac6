-- The messages :ids with a snippet, in which each matched word is between U+0002 and U+0003. One pass over the matches from :oldest
-- to :newest, because a prefix search costs the same for one row as for all.
SELECT s.rowid, m.id, m.thread_id, m.turn_id, t.project_id, t.title, snippet(message_search, -1, char(2), char(3), '…', 24)
FROM message_search AS s CROSS JOIN projection_messages AS m ON m.sequence = s.rowid
  CROSS JOIN projection_threads AS t ON t.id = m.thread_id
WHERE s.message_search MATCH :query AND s.rowid BETWEEN :oldest AND :newest
  AND +s.rowid IN (SELECT value FROM json_each(:ids));
