-- For the decider: which checkpoints exist, and which were pruned.
SELECT e.thread_id, e.id, e.pruned = 0 FROM json_each(:keys) AS k
JOIN checkpoints AS e ON e.thread_id = k.value ->> 1 AND e.id = k.value ->> 2;
