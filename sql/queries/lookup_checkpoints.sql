-- For the decider: which checkpoints exist.
SELECT e.thread_id, e.id FROM json_each(:keys) AS k
JOIN checkpoints AS e ON e.thread_id = k.value ->> 1 AND e.id = k.value ->> 2;
