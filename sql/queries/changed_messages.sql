-- The messages of a thread that have these ids.
SELECT k.value AS id, e.value FROM json_each(:ids) AS k
JOIN message_entities AS e ON e.thread_id = :thread AND e.id = k.value;
