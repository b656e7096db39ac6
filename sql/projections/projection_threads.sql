-- projection_threads, by id, with thread_search: every event of a thread except MessageAppended moves its version.
-- Beside the events of the thread and its worktree it folds those of turns, approvals and prompts, for its status.

CREATE TRIGGER projection_threads_created INSTEAD OF INSERT ON projector
WHEN NEW.event_type = 'ThreadCreated' BEGIN
  INSERT INTO projection_threads (sequence, id, project_id, title, version, origin, worktree, created_at, updated_at, created_by)
  VALUES (NEW.sequence, NEW.thread_id, NEW.payload ->> '$.projectId', NEW.payload ->> '$.title',
          NEW.sequence, NEW.payload -> '$.origin',
          iif(NEW.payload ->> '$.worktree', '{"path":null,"base":null}', NULL), NEW.at, NEW.at,
          (SELECT actor FROM events WHERE sequence = NEW.sequence));
  INSERT INTO thread_search (rowid, title) VALUES (NEW.sequence, NEW.payload ->> '$.title');
END;

CREATE TRIGGER projection_threads_renamed INSTEAD OF INSERT ON projector
WHEN NEW.event_type = 'ThreadRenamed' BEGIN
  INSERT INTO thread_search (thread_search, rowid, title)
  SELECT 'delete', sequence, title FROM projection_threads WHERE id = NEW.thread_id;
  UPDATE projection_threads SET title = NEW.payload ->> '$.title' WHERE id = NEW.thread_id;
  INSERT INTO thread_search (rowid, title)
  SELECT sequence, title FROM projection_threads WHERE id = NEW.thread_id;
END;

CREATE TRIGGER projection_threads_deleted INSTEAD OF INSERT ON projector
WHEN NEW.event_type = 'ThreadDeleted' BEGIN
  INSERT INTO thread_search (thread_search, rowid, title)
  SELECT 'delete', sequence, title FROM projection_threads WHERE id = NEW.thread_id;
END;

-- What the thread deleted before may still have of its texts. The events of a thread are skeletons after this one.
CREATE TRIGGER projection_threads_erased INSTEAD OF INSERT ON rare_projector
WHEN NEW.event_type = 'ThreadErased' BEGIN
  UPDATE projection_threads
  SET title = '', origin = NULL, agent = NULL, queue_paused = NULL, auth_required = NULL, erased = 1,
      worktree = iif(worktree ->> '$.path' IS NULL, NULL, '{"path":"","base":""}') -- it may still have to be removed
  WHERE id = NEW.thread_id;
END;

CREATE TRIGGER projection_threads_changed INSTEAD OF INSERT ON projector
WHEN NEW.thread_id IS NOT NULL AND NEW.event_type NOT IN ('ThreadCreated', 'MessageAppended') BEGIN
  UPDATE projection_threads
  SET version = NEW.sequence, updated_at = max(updated_at, NEW.at),
      turn_status = CASE NEW.event_type WHEN 'TurnStarted' THEN 'running' WHEN 'TurnCancelling' THEN 'cancelling'
        WHEN 'TurnCompleted' THEN NULL WHEN 'TurnFailed' THEN NULL WHEN 'TurnInterrupted' THEN NULL ELSE turn_status END,
      pending_approvals = pending_approvals
        + CASE NEW.event_type WHEN 'ApprovalRequested' THEN 1 WHEN 'ApprovalResolved' THEN -1 ELSE 0 END,
      archived_at = CASE NEW.event_type
        WHEN 'ThreadArchived' THEN NEW.at WHEN 'ThreadUnarchived' THEN NULL ELSE archived_at END,
      deleted = deleted OR NEW.event_type = 'ThreadDeleted'
  WHERE id = NEW.thread_id;
END;

CREATE TRIGGER projection_threads_agent INSTEAD OF INSERT ON rare_projector
WHEN NEW.event_type = 'AgentAssigned' BEGIN
  UPDATE projection_threads
  SET auth_required = iif(agent ->> '$.name' = NEW.payload ->> '$.agent', auth_required, NULL),
      agent = json_object(
        'name', NEW.payload ->> '$.agent', 'mode', NEW.payload ->> '$.mode',
        'options', json(coalesce(NEW.payload -> '$.options', '{}'))
      )
  WHERE id = NEW.thread_id;
END;

CREATE TRIGGER projection_threads_option INSTEAD OF INSERT ON rare_projector
WHEN NEW.event_type = 'ThreadOptionSet' BEGIN
  UPDATE projection_threads
  SET agent = json_patch(
    agent, json_object('options', json_object(NEW.payload ->> '$.id', json(NEW.payload -> '$.value')))
  )
  WHERE id = NEW.thread_id;
END;

-- A queue that is empty is not paused. The daemon that is about to send the prompts of a queue is not changed by another one.
CREATE TRIGGER projection_threads_queue INSTEAD OF INSERT ON rare_projector
WHEN NEW.event_type = 'PromptQueued' OR NEW.event_type = 'PromptRemoved' OR NEW.event_type = 'PromptSent' BEGIN
  UPDATE projection_threads
  SET queued = queued + iif(NEW.event_type = 'PromptQueued', 1, -1),
      queue_paused = iif(NEW.event_type = 'PromptQueued' OR queued > 1, queue_paused, NULL),
      queue_runner = iif(
        NEW.event_type = 'PromptQueued' AND (queued = 0 OR queue_paused IS NOT NULL), NEW.payload ->> '$.runner', queue_runner
      )
  WHERE id = NEW.thread_id;
END;

CREATE TRIGGER projection_threads_paused INSTEAD OF INSERT ON rare_projector
WHEN NEW.event_type = 'QueuePaused' BEGIN
  UPDATE projection_threads SET queue_paused = NEW.payload ->> '$.reason' WHERE id = NEW.thread_id;
END;

CREATE TRIGGER projection_threads_resumed INSTEAD OF INSERT ON rare_projector
WHEN NEW.event_type = 'QueueResumed' BEGIN
  UPDATE projection_threads
  SET queue_paused = NULL, queue_runner = NEW.payload ->> '$.runner', auth_required = NULL WHERE id = NEW.thread_id;
END;

CREATE TRIGGER projection_threads_auth INSTEAD OF INSERT ON rare_projector
WHEN NEW.event_type = 'AuthRequired' BEGIN
  UPDATE projection_threads
  SET auth_required = json_object(
    'agent', NEW.payload ->> '$.agent', 'reason', NEW.payload ->> '$.reason',
    'methods', json(coalesce(NEW.payload -> '$.methods', '[]'))
  )
  WHERE id = NEW.thread_id;
END;

CREATE TRIGGER projection_threads_session INSTEAD OF INSERT ON rare_projector
WHEN NEW.event_type = 'SessionOpened' BEGIN
  UPDATE projection_threads SET auth_required = NULL WHERE id = NEW.thread_id;
END;

CREATE TRIGGER projection_threads_worktree INSTEAD OF INSERT ON rare_projector
WHEN NEW.event_type = 'WorktreeCreated' BEGIN
  UPDATE projection_threads
  SET worktree = json_object('path', NEW.payload ->> '$.path', 'base', NEW.payload ->> '$.base')
  WHERE id = NEW.thread_id;
END;

CREATE TRIGGER projection_threads_no_worktree INSTEAD OF INSERT ON rare_projector
WHEN NEW.event_type = 'WorktreeRemoved' BEGIN
  UPDATE projection_threads SET worktree = json_set(worktree, '$.path', NULL), removals = removals + 1
  WHERE id = NEW.thread_id;
END;

-- A private log has no actors, and its entities no member for them.
CREATE VIEW thread_entities AS
  SELECT sequence, id, project_id, version, updated_at, archived_at, origin, origin_tool, origin_session,
    iif(created_by IS NULL, value, json_set(value, '$.createdBy', created_by)) AS value
  FROM (SELECT *, json_object(
    'sequence', sequence, 'id', id, 'projectId', project_id, 'title', title,
    'status', CASE
      WHEN turn_status = 'running' AND pending_approvals > 0 THEN 'waiting' WHEN turn_status IS NOT NULL THEN turn_status
      WHEN auth_required IS NOT NULL THEN 'needsAuth' WHEN queued = 0 THEN 'idle'
      WHEN queue_paused IS NOT NULL THEN 'paused' ELSE 'queued' END,
    'agent', json(agent), 'queued', queued, 'queuePaused', queue_paused, 'authRequired', json(auth_required),
    'usage', (SELECT json(spent) FROM turn_spent WHERE thread_id = projection_threads.id AND turn_id = ''), 'origin', json(origin),
    'worktree', json(worktree),
    'archivedAt', archived_at, 'version', version, 'createdAt', created_at, 'updatedAt', updated_at
  ) AS value
  FROM projection_threads WHERE deleted = 0);
