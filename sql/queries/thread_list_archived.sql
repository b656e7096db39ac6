-- Threads that are archived (:live = 0) or not (:live = 1), most recently changed first, below version :before.
SELECT version AS position, value FROM thread_entities
WHERE (archived_at IS NULL) = :live AND version < :before ORDER BY version DESC LIMIT :limit;
