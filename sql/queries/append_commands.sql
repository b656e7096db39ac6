-- The answers of the commands of an append, beside their events; nothing, if the log is not at :sequence. One that
-- another process has remembered meanwhile is left out, which the caller sees by the count.
INSERT INTO commands (command_id, digest, first_sequence, last_sequence, parts)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4 FROM json_each(:batch)
WHERE (SELECT coalesce(max(sequence), 0) FROM events) = :sequence
ON CONFLICT (command_id) DO NOTHING;
