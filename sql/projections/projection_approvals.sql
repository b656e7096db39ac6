-- projection_approvals, by (thread_id, id): ApprovalRequested, ApprovalResolved (outcome null: cancelled),
-- ThreadDeleted.

CREATE TRIGGER projection_approvals_requested INSTEAD OF INSERT ON projector
WHEN NEW.event_type = 'ApprovalRequested' BEGIN
  INSERT INTO projection_approvals
    (sequence, thread_id, id, turn_id, title, options, detail, activity_id, status, created_at)
  VALUES (NEW.sequence, NEW.thread_id, NEW.payload ->> '$.id', NEW.payload ->> '$.turnId',
          NEW.payload ->> '$.title', NEW.payload -> '$.options', NEW.payload -> '$.detail',
          NEW.payload ->> '$.activityId', 'pending', NEW.at);
END;

CREATE TRIGGER projection_approvals_resolved INSTEAD OF INSERT ON projector
WHEN NEW.event_type = 'ApprovalResolved' BEGIN
  UPDATE projection_approvals
  SET outcome = NEW.payload ->> '$.outcome', by = NEW.payload ->> '$.by', rule_id = NEW.payload ->> '$.ruleId',
      content = NEW.payload -> '$.content', resolved_at = NEW.at,
      resolved_by = (SELECT actor FROM events WHERE sequence = NEW.sequence),
      status = iif(NEW.payload ->> '$.outcome' IS NULL, 'cancelled', 'resolved')
  WHERE thread_id = NEW.thread_id AND id = NEW.payload ->> '$.id';
END;

CREATE TRIGGER projection_approvals_deleted INSTEAD OF INSERT ON projector
WHEN NEW.event_type = 'ThreadDeleted' BEGIN
  DELETE FROM projection_approvals WHERE thread_id = NEW.thread_id;
END;

CREATE VIEW approval_entities AS
  SELECT sequence, thread_id, id, turn_id, status,
    iif(resolved_by IS NULL, value, json_set(value, '$.resolvedBy', resolved_by)) AS value
  FROM (SELECT *, json_object(
    'sequence', sequence, 'id', id, 'threadId', thread_id, 'turnId', turn_id, 'title', title, 'options', json(options),
    'detail', json(detail), 'status', status, 'outcome', outcome, 'activityId', activity_id, 'by', by, 'ruleId', rule_id,
    'content', json(content), 'createdAt', created_at, 'resolvedAt', resolved_at
  ) AS value
  FROM projection_approvals);
