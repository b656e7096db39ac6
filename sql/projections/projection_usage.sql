-- projection_usage, by (thread_id, turn_id): UsageReported, ThreadDeleted. What a report does not say stays as it was.

-- What the turn used before is taken out of the sum, and what it used now is added. The currency of the sum is the first one that
-- there was; the cost of a turn in another one does not count, and if none counts there is no cost. Rounded, because a sum of fractions shows how it was made.
CREATE TRIGGER projection_usage_reported INSTEAD OF INSERT ON rare_projector
WHEN NEW.event_type = 'UsageReported' AND coalesce(NEW.payload ->> '$.cost', NEW.payload ->> '$.tokens') IS NOT NULL BEGIN
  INSERT INTO projection_usage (thread_id, turn_id, currency) VALUES (NEW.thread_id, '', NEW.payload ->> '$.currency')
  ON CONFLICT (thread_id, turn_id) DO UPDATE SET currency = coalesce(currency, excluded.currency);
  INSERT INTO projection_usage (thread_id, turn_id) VALUES (NEW.thread_id, NEW.payload ->> '$.id')
  ON CONFLICT (thread_id, turn_id) DO NOTHING;
  UPDATE projection_usage
  SET cost = iif(
    EXISTS (
      SELECT 1 FROM projection_usage AS other
      WHERE other.thread_id = NEW.thread_id AND other.turn_id NOT IN ('', turn.turn_id) AND other.cost IS NOT NULL
        AND coalesce(other.currency, projection_usage.currency) IS projection_usage.currency
    ), round(projection_usage.cost - turn.cost, 9), NULL
  )
  FROM projection_usage AS turn
  WHERE projection_usage.thread_id = NEW.thread_id AND projection_usage.turn_id = ''
    AND turn.thread_id = NEW.thread_id AND turn.turn_id = NEW.payload ->> '$.id' AND turn.cost IS NOT NULL
    AND coalesce(turn.currency, projection_usage.currency) IS projection_usage.currency;
  UPDATE projection_usage
  SET tokens = projection_usage.tokens - turn.tokens
  FROM projection_usage AS turn
  WHERE projection_usage.thread_id = NEW.thread_id AND projection_usage.turn_id = ''
    AND turn.thread_id = NEW.thread_id AND turn.turn_id = NEW.payload ->> '$.id' AND turn.tokens IS NOT NULL;
  UPDATE projection_usage
  SET cost = coalesce(NEW.payload ->> '$.cost', cost), currency = coalesce(NEW.payload ->> '$.currency', currency),
      tokens = coalesce(NEW.payload ->> '$.tokens', tokens)
  WHERE thread_id = NEW.thread_id AND turn_id = NEW.payload ->> '$.id';
  UPDATE projection_usage
  SET cost = round(coalesce(projection_usage.cost, 0) + turn.cost, 9)
  FROM projection_usage AS turn
  WHERE projection_usage.thread_id = NEW.thread_id AND projection_usage.turn_id = ''
    AND turn.thread_id = NEW.thread_id AND turn.turn_id = NEW.payload ->> '$.id' AND turn.cost IS NOT NULL
    AND coalesce(turn.currency, projection_usage.currency) IS projection_usage.currency;
  UPDATE projection_usage
  SET tokens = coalesce(projection_usage.tokens, 0) + turn.tokens
  FROM projection_usage AS turn
  WHERE projection_usage.thread_id = NEW.thread_id AND projection_usage.turn_id = ''
    AND turn.thread_id = NEW.thread_id AND turn.turn_id = NEW.payload ->> '$.id' AND turn.tokens IS NOT NULL;
END;

CREATE TRIGGER projection_usage_deleted INSTEAD OF INSERT ON rare_projector
WHEN NEW.event_type = 'ThreadDeleted' BEGIN
  DELETE FROM projection_usage WHERE thread_id = NEW.thread_id;
END;

CREATE VIEW turn_spent AS
  SELECT thread_id, turn_id, json_object('cost', cost, 'currency', currency, 'tokens', tokens) AS spent
  FROM projection_usage;
