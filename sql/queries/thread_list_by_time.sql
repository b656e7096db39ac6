-- As thread_list, but latest :updated first; of threads with the same time, the last created first.
SELECT sequence AS position, value, updated_at FROM thread_entities
WHERE (archived_at IS NULL) = 1 AND :archived IS NOT 1 AND (updated_at, sequence) < (:updated, :before)
  AND (:tool IS NULL OR origin_tool = :tool)
UNION ALL
SELECT sequence AS position, value, updated_at FROM thread_entities
WHERE (archived_at IS NULL) = 0 AND :archived IS NOT 0 AND (updated_at, sequence) < (:updated, :before)
  AND (:tool IS NULL OR origin_tool = :tool)
ORDER BY updated_at DESC, position DESC LIMIT :limit;
