-- As thread_list_by_time, of :project.
SELECT sequence AS position, value, updated_at FROM thread_entities
WHERE project_id = :project AND (archived_at IS NULL) = 1 AND :archived IS NOT 1 AND (updated_at, sequence) < (:updated, :before)
  AND (:tool IS NULL OR origin_tool = :tool)
UNION ALL
SELECT sequence AS position, value, updated_at FROM thread_entities
WHERE project_id = :project AND (archived_at IS NULL) = 0 AND :archived IS NOT 0 AND (updated_at, sequence) < (:updated, :before)
  AND (:tool IS NULL OR origin_tool = :tool)
ORDER BY updated_at DESC, position DESC LIMIT :limit;
