-- One thread.
SELECT value FROM thread_entities WHERE id = :thread;
