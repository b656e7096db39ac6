-- Stores the answers of the commands of an append, in its transaction; inserts nothing if the log is not at :sequence. An id
-- that another process has stored in the meantime is skipped, which the caller detects from the row count.
-- A command whose events are erased by a later one of the same append leaves no digest.
INSERT INTO commands (command_id, digest, first_sequence, last_sequence, parts)
SELECT value ->> 0, iif(EXISTS (
  SELECT 1 FROM erasures AS x CROSS JOIN events AS e
  WHERE x.sequence > value ->> 3 AND x.whole AND e.thread_id = x.thread_id AND e.sequence BETWEEN value ->> 2 AND value ->> 3
), 'erased', value ->> 1), value ->> 2, value ->> 3, value ->> 4 FROM json_each(:batch)
WHERE (SELECT coalesce(max(sequence), 0) FROM events) = :sequence
ON CONFLICT (command_id) DO NOTHING;
