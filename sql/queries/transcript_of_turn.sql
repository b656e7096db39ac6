-- What a turn holds, of all kinds, in the order of its making; checkpoints between :after and :before, where the next
-- turn begins.
SELECT sequence AS position, 'message' AS entity, value FROM message_entities
WHERE thread_id = :thread AND turn_id = :turn
UNION ALL
SELECT sequence, 'activity', value FROM activity_entities WHERE thread_id = :thread AND turn_id = :turn
UNION ALL
SELECT sequence, 'approval', value FROM approval_entities WHERE thread_id = :thread AND turn_id = :turn
UNION ALL
SELECT sequence, 'checkpoint', value FROM checkpoint_entities
WHERE thread_id = :thread AND sequence > :after AND sequence < :before
ORDER BY position;
