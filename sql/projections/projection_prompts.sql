-- projection_prompts, by (thread_id, id): PromptQueued, PromptEdited, PromptMoved, PromptRemoved, PromptSent, ThreadDeleted.

CREATE TRIGGER projection_prompts_queued INSTEAD OF INSERT ON rare_projector
WHEN NEW.event_type = 'PromptQueued' BEGIN
  INSERT INTO projection_prompts (sequence, thread_id, id, base, position, created_at, updated_at)
  VALUES (NEW.sequence, NEW.thread_id, NEW.payload ->> '$.id', NEW.sequence, NEW.sequence, NEW.at, NEW.at);
END;

CREATE TRIGGER projection_prompts_edited INSTEAD OF INSERT ON rare_projector
WHEN NEW.event_type = 'PromptEdited' BEGIN
  UPDATE projection_prompts SET base = NEW.sequence, updated_at = max(updated_at, NEW.at)
  WHERE thread_id = NEW.thread_id AND id = NEW.payload ->> '$.id';
END;

CREATE TRIGGER projection_prompts_moved INSTEAD OF INSERT ON rare_projector
WHEN NEW.event_type = 'PromptMoved' BEGIN
  UPDATE projection_prompts SET position = NEW.payload ->> '$.position', updated_at = max(updated_at, NEW.at)
  WHERE thread_id = NEW.thread_id AND id = NEW.payload ->> '$.id';
END;

CREATE TRIGGER projection_prompts_left INSTEAD OF INSERT ON rare_projector
WHEN NEW.event_type = 'PromptRemoved' OR NEW.event_type = 'PromptSent' BEGIN
  UPDATE projection_prompts SET queued = 0 WHERE thread_id = NEW.thread_id AND id = NEW.payload ->> '$.id';
END;

CREATE TRIGGER projection_prompts_deleted INSTEAD OF INSERT ON rare_projector
WHEN NEW.event_type = 'ThreadDeleted' BEGIN
  DELETE FROM projection_prompts WHERE thread_id = NEW.thread_id;
END;

CREATE VIEW prompt_entities AS
  SELECT p.sequence, p.thread_id, p.id, p.position, json_object(
    'sequence', p.sequence, 'id', p.id, 'threadId', p.thread_id, 'text', t.text,
    'content', json(e.payload -> '$.content'), 'when', coalesce(e.payload ->> '$.when', 'idle'), 'position', p.position,
    'createdAt', p.created_at, 'updatedAt', p.updated_at
  ) AS value
  FROM projection_prompts AS p
  CROSS JOIN message_parts AS t ON t.sequence = p.base
  CROSS JOIN events AS e ON e.sequence = p.base
  WHERE p.queued = 1;
