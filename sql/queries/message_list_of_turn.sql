-- Messages of a turn, oldest first.
SELECT value FROM message_entities WHERE thread_id = :thread AND turn_id = :turn ORDER BY sequence;
