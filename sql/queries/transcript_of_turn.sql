-- The items of a thread between :after and :before, of all kinds and uncut, oldest first: the items of a turn, if one turn
-- starts at :after and the next one at :before.
SELECT sequence AS position, 'message' AS entity, whole AS value FROM message_entities
WHERE thread_id = :thread AND sequence > :after AND sequence < :before
UNION ALL
SELECT sequence, 'activity', whole FROM activity_entities
WHERE thread_id = :thread AND sequence > :after AND sequence < :before
UNION ALL
SELECT sequence, 'approval', value FROM approval_entities
WHERE thread_id = :thread AND sequence > :after AND sequence < :before
UNION ALL
SELECT sequence, 'checkpoint', value FROM checkpoint_entities
WHERE thread_id = :thread AND sequence > :after AND sequence < :before
ORDER BY position;
