-- For the decider: the status of messages.
SELECT e.thread_id, e.id, e.status FROM json_each(:keys) AS k
JOIN projection_messages AS e ON e.thread_id = k.value ->> 1 AND e.id = k.value ->> 2;
