-- Threads of a project, most recently changed first, below version :before.
SELECT version AS position, value FROM thread_entities
WHERE project_id = :project AND version < :before ORDER BY version DESC LIMIT :limit;
