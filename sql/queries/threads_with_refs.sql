-- The threads that may have refs in the repository of these projects: theirs, and every one that was deleted.
SELECT t.id, t.deleted FROM json_each(:projects) AS k
CROSS JOIN projection_threads AS t ON t.project_id = k.value AND t.deleted = 0
UNION ALL
SELECT d.id, d.deleted FROM projection_threads AS d INDEXED BY idx_threads_deleted WHERE d.deleted = 1;
