-- For the decider: whole activities, to tell what changes.
SELECT a.thread_id, a.id, a.turn_id, a.kind, a.title, a.status, d.detail FROM json_each(:keys) AS k
CROSS JOIN projection_activities AS a ON a.thread_id = k.value ->> 1 AND a.id = k.value ->> 2
CROSS JOIN activity_details AS d ON d.sequence = a.sequence;
