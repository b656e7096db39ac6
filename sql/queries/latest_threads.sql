-- What is earlier in the log than :before, yet later than :after by its time, because a history was imported after it: up to
-- 10,000 threads that are not archived, latest first.
SELECT sequence FROM projection_threads
WHERE deleted = 0 AND (archived_at IS NULL) = 1 AND updated_at > :after
  AND (:project IS NULL OR project_id = :project) AND sequence < :before
ORDER BY updated_at DESC, sequence DESC LIMIT 10000;
