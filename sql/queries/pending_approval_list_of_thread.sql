-- Pending approvals of a thread, newest first, created before :before.
SELECT sequence AS position, value FROM approval_entities
WHERE thread_id = :thread AND status = 'pending' AND sequence < :before ORDER BY sequence DESC LIMIT :limit;
