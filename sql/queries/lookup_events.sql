-- For the decider: events that are to be rewritten.
SELECT e.thread_id, e.sequence, e.payload FROM json_each(:keys) AS k
CROSS JOIN events AS e ON e.sequence = CAST(k.value ->> 2 AS INTEGER) AND e.thread_id = k.value ->> 1;
