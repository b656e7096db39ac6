-- As latest_threads: activities, in up to 10,000 rows of the threads that changed after :after.
SELECT sequence FROM (
  SELECT a.sequence, a.created_at
  FROM projection_threads AS t CROSS JOIN projection_activities AS a ON a.thread_id = t.id
  WHERE t.deleted = 0 AND (t.archived_at IS NULL) = 1 AND t.updated_at > :after
    AND (:project IS NULL OR t.project_id = :project) AND a.sequence < :before
  ORDER BY t.updated_at DESC, t.sequence DESC, a.sequence DESC LIMIT 10000
) WHERE created_at > :after;
