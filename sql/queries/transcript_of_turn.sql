-- The items of a turn, of all kinds, oldest first; checkpoints between :after and :before, the start of the next turn.
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
