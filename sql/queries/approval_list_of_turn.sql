-- Approvals of a turn, oldest first.
SELECT value FROM approval_entities WHERE thread_id = :thread AND turn_id = :turn ORDER BY sequence;
