-- The one statement that adds to the log: nothing, if the log has moved on from :expected.
-- Payloads are strings in the batch, so that they are stored as they were written.
INSERT INTO events (sequence, payload)
SELECT :expected + 1 + key, value FROM json_each(:batch)
WHERE (SELECT coalesce(max(sequence), 0) FROM events) = :expected ORDER BY key;
