-- For the decider: threads, including deleted ones.
SELECT t.id, t.project_id, t.title, t.version, t.archived_at IS NOT NULL AS archived, t.deleted, t.turn_status, t.agent, t.queued,
       t.queue_paused, t.auth_required IS NOT NULL AS auth_required,
       (SELECT s.id FROM projection_sessions AS s WHERE s.thread_id = t.id AND s.ended_at IS NULL) AS session,
       iif(t.worktree IS NULL, NULL, iif(t.worktree ->> '$.path' IS NULL, 'wanted', 'made')) AS worktree, t.erased
FROM json_each(:keys) AS k JOIN projection_threads AS t ON t.id = k.value ->> 1;
