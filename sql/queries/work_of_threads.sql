-- What there is to do for the agents of the threads with these ids, one JSON each; also of deleted threads.
SELECT t.id, json_object(
  'threadId', t.id, 'projectId', t.project_id, 'folder', coalesce(p.path, f.path), 'remote', p.remote, 'title', t.title, 'agent', iif(t.deleted, NULL, json(t.agent)),
  'archived', t.archived_at IS NOT NULL, 'deleted', t.deleted,
  'queue', (
    SELECT json_group_array(json_object('id', q.id, 'when', q.sent, 'runner', q.runner, 'position', q.position)) FROM (
      SELECT q.id, q.position, o.payload ->> '$.runner' AS runner, coalesce(b.payload ->> '$.when', 'idle') AS sent
      FROM projection_prompts AS q
      CROSS JOIN events AS o ON o.sequence = q.sequence
      CROSS JOIN events AS b ON b.sequence = q.base
      WHERE q.thread_id = t.id AND q.queued = 1 ORDER BY q.position
    ) AS q
  ),
  'paused', iif(t.deleted, NULL, t.queue_paused), 'queueRunner', t.queue_runner, 'authRequired', t.auth_required IS NOT NULL AND t.deleted = 0,
  'turn', (
    SELECT json_object(
      'id', u.id, 'runner', u.runner, 'promptId', u.prompt_id, 'cancelling', t.turn_status = 'cancelling',
      'cancelledBy', u.cancelled_by
    )
    FROM projection_turns AS u WHERE u.thread_id = t.id AND u.status = 'running'
  ),
  'session', (
    SELECT json_object(
      'id', s.id, 'agent', s.agent, 'sessionId', s.session_id, 'runner', s.runner, 'open', s.ended_at IS NULL, 'how', s.how
    )
    FROM projection_sessions AS s WHERE s.thread_id = t.id ORDER BY s.sequence DESC LIMIT 1
  ),
  'restored', (
    SELECT json_group_array(json_object(
      'written', json(coalesce(r.payload -> '$.written', '[]')), 'removed', json(coalesce(r.payload -> '$.removed', '[]'))
    ))
    FROM restores AS c CROSS JOIN events AS r ON r.sequence = c.sequence
    WHERE c.thread_id = t.id
      AND c.sequence > coalesce((SELECT max(v.sequence) FROM projection_turns AS v WHERE v.thread_id = t.id), 0)
      AND NOT EXISTS (
        SELECT 1 FROM checkpoints AS k WHERE k.thread_id = t.id AND k.id = r.payload ->> '$.id' AND k.in_project
      )
  ),
  'worktree', json(t.worktree), 'removals', t.removals, 'origin', json(t.origin),
  'approvals', (
    SELECT json_group_array(a.id) FROM projection_approvals AS a INDEXED BY idx_approvals_pending
    WHERE a.thread_id = t.id AND a.status = 'pending'
  ),
  'usage', (SELECT json(n.spent) FROM turn_spent AS n WHERE n.thread_id = t.id AND n.turn_id = '')
) AS work
FROM json_each(:ids) AS k
CROSS JOIN projection_threads AS t ON t.id = k.value
CROSS JOIN projection_projects AS p ON p.id = t.project_id
LEFT JOIN project_folders AS f ON f.project_id = p.id AND p.path IS NULL;
