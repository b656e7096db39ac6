-- Threads that come from one session of a tool. They are few, so they are filtered and sorted without an index for each order.
SELECT iif(:by_time, sequence, version) AS position, value, updated_at FROM thread_entities
WHERE origin_tool = :tool AND origin_session = :session
  AND (:project IS NULL OR project_id = :project) AND (:archived IS NULL OR (archived_at IS NOT NULL) = :archived)
  AND iif(:by_time, (updated_at, sequence) < (:updated, :before), version < :before)
ORDER BY iif(:by_time, updated_at, NULL) DESC, position DESC LIMIT :limit;
