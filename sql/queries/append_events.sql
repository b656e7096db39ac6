-- The only statement that adds to the log; inserts nothing if the log is no longer at :expected.
-- Payloads are passed as JSON strings, so that they are stored byte for byte. :actors: an object, who caused the event at each
-- index where that is not the owner.
INSERT INTO events (sequence, payload, actor)
SELECT :expected + 1 + key, value, :actors ->> ('$.' || key) FROM json_each(:batch)
WHERE (SELECT coalesce(max(sequence), 0) FROM events) = :expected ORDER BY key;
