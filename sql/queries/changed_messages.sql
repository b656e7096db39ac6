-- The messages of a thread that have these ids. CROSS JOIN, for SQLite would else look at all that the thread has.
SELECT k.value AS id, e.value FROM json_each(:ids) AS k
CROSS JOIN message_entities AS e ON e.thread_id = :thread AND e.id = k.value;
