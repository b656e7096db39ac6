-- For the decider: the status of turns.
SELECT e.thread_id, e.id, e.status FROM json_each(:keys) AS k
JOIN projection_turns AS e ON e.thread_id = k.value ->> 1 AND e.id = k.value ->> 2;
