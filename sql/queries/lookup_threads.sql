-- For the decider: threads, including deleted ones.
SELECT t.id, t.project_id, t.title, t.version, t.archived_at IS NOT NULL AS archived, t.deleted, t.turn_status
FROM json_each(:keys) AS k JOIN projection_threads AS t ON t.id = k.value ->> 1;
