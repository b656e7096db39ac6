-- Whether the log knows a thread.
SELECT 1 FROM events WHERE thread_id = :thread LIMIT 1;
