-- As thread_list, of :project.
SELECT version AS position, value FROM thread_entities
WHERE project_id = :project AND (archived_at IS NULL) = 1 AND :archived IS NOT 1 AND version < :before
  AND (:tool IS NULL OR origin_tool = :tool)
UNION ALL
SELECT version AS position, value FROM thread_entities
WHERE project_id = :project AND (archived_at IS NULL) = 0 AND :archived IS NOT 0 AND version < :before
  AND (:tool IS NULL OR origin_tool = :tool)
ORDER BY position DESC LIMIT :limit;
