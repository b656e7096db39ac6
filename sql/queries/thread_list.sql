-- Threads, most recently changed first, below version :before.
SELECT version AS position, value FROM thread_entities WHERE version < :before ORDER BY version DESC LIMIT :limit;
