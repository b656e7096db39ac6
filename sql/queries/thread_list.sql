-- Threads, most recently changed first, below version :before. An index has the archived ones and the others each in order, so
-- any of :archived (1, 0, or NULL for both) is a merge of the two. An index for each tool would cost every event an update: a
-- tool has many of the threads, so a page of its threads passes few others.
SELECT version AS position, value FROM thread_entities
WHERE (archived_at IS NULL) = 1 AND :archived IS NOT 1 AND version < :before
  AND (:tool IS NULL OR origin_tool = :tool)
UNION ALL
SELECT version AS position, value FROM thread_entities
WHERE (archived_at IS NULL) = 0 AND :archived IS NOT 0 AND version < :before
  AND (:tool IS NULL OR origin_tool = :tool)
ORDER BY position DESC LIMIT :limit;
