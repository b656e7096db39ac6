-- What a turn holds, in the order of its making.
SELECT value FROM message_entities WHERE thread_id = :thread AND turn_id = :turn ORDER BY sequence;
