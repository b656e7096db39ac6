-- Threads whose id has a prefix: from :first, and below :beyond.
SELECT id, value FROM thread_entities WHERE id >= :first AND id < :beyond ORDER BY id LIMIT :limit;
