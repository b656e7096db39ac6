-- The sessions of a thread with these ids. CROSS JOIN keeps SQLite from scanning all sessions of the thread.
SELECT k.value AS id, e.value FROM json_each(:ids) AS k
CROSS JOIN session_entities AS e ON e.thread_id = :thread AND e.id = k.value;
