-- For the decider: the options of sessions, and whether they are open.
SELECT s.thread_id, s.id, coalesce(e.payload -> '$.options', '[]'), s.ended_at IS NULL AS open
FROM json_each(:keys) AS k
CROSS JOIN projection_sessions AS s ON s.thread_id = k.value ->> 1 AND s.id = k.value ->> 2
CROSS JOIN events AS e ON e.sequence = s.base;
