-- Snippets of the rows :ids, with each matched word between U+0002 and U+0003. One pass over the matches from :oldest to
-- :newest, because a prefix search costs the same for one row as for all.
SELECT rowid, snippet(thread_search, -1, char(2), char(3), '…', 24) FROM thread_search
WHERE thread_search MATCH :query AND rowid BETWEEN :oldest AND :newest
  AND +rowid IN (SELECT value FROM json_each(:ids));
