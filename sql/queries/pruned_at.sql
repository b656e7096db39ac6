-- When a checkpoint was pruned.
SELECT e.at FROM checkpoints AS c
CROSS JOIN events AS e ON e.sequence = c.pruned
WHERE c.thread_id = :thread AND c.id = :id AND c.pruned > 0;
