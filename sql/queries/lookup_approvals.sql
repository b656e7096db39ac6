-- For the decider: approvals with their options.
SELECT e.thread_id, e.id, e.options, e.status = 'pending' AS pending, e.outcome FROM json_each(:keys) AS k
JOIN projection_approvals AS e ON e.thread_id = k.value ->> 1 AND e.id = k.value ->> 2;
