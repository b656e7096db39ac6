-- The threads that were erased since the last purge.
SELECT thread_id FROM erasures
WHERE whole AND sequence > coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'purge'), 0);
