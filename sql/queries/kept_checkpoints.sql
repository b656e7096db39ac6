-- The checkpoints of the threads of these projects that were not pruned; whether their turn runs, whether they are of the
-- folder of the project, and whether another machine made them.
SELECT c.sequence, c.thread_id, c.id, c.git_ref, c.git_commit, c.turn_id, c.phase, c.created_at,
       u.status IS NOT NULL AND u.status = 'running', t.worktree IS NULL OR c.in_project,
       c.machine IS NOT NULL AND c.machine <> (SELECT value FROM meta WHERE key = 'machineId')
FROM json_each(:projects) AS k
CROSS JOIN projection_threads AS t ON t.project_id = k.value AND t.deleted = 0
CROSS JOIN checkpoints AS c ON c.thread_id = t.id AND c.pruned = 0
LEFT JOIN projection_turns AS u ON u.thread_id = c.thread_id AND u.id = c.turn_id;
