-- For the decider: prompts as they were given, including those that were sent or removed.
SELECT p.thread_id, p.id, p.queued, coalesce(e.payload ->> '$.text', ''), e.payload -> '$.content',
       coalesce(e.payload ->> '$.when', 'idle')
FROM json_each(:keys) AS k
CROSS JOIN projection_prompts AS p ON p.thread_id = k.value ->> 1 AND p.id = k.value ->> 2
CROSS JOIN events AS e ON e.sequence = p.base;
