-- Pending approvals of all threads, newest first, created before :before.
SELECT sequence AS position, value FROM approval_entities
WHERE status = 'pending' AND sequence < :before ORDER BY sequence DESC LIMIT :limit;
