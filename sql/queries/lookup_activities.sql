-- For the decider: whole activities, to tell whether they change.
SELECT e.thread_id, e.id, e.turn_id, e.kind, e.title, e.status, e.detail FROM json_each(:keys) AS k
JOIN projection_activities AS e ON e.thread_id = k.value ->> 1 AND e.id = k.value ->> 2;
