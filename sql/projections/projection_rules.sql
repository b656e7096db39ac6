-- projection_rules, by id: RuleAdded, RuleRemoved.

CREATE TRIGGER projection_rules_added INSTEAD OF INSERT ON rare_projector
WHEN NEW.event_type = 'RuleAdded' BEGIN
  INSERT INTO projection_rules (sequence, id, scope, agent, match, decision, until, created_at)
  VALUES (NEW.sequence, NEW.payload ->> '$.id', coalesce(NEW.payload -> '$.scope', '{}'), NEW.payload ->> '$.agent',
          NEW.payload -> '$.match', NEW.payload ->> '$.decision', NEW.payload ->> '$.until', NEW.at);
END;

CREATE TRIGGER projection_rules_removed INSTEAD OF INSERT ON rare_projector
WHEN NEW.event_type = 'RuleRemoved' BEGIN
  UPDATE projection_rules SET removed = 1 WHERE id = NEW.payload ->> '$.id';
END;

CREATE VIEW rule_entities AS
  SELECT sequence, id, json_object(
    'sequence', sequence, 'id', id, 'scope', json(scope), 'agent', agent, 'match', json(match), 'decision', decision,
    'until', until, 'createdAt', created_at
  ) AS value
  FROM projection_rules WHERE removed = 0;
