-- For the decider: the pending approvals that end with the running turn of a thread.
SELECT id FROM projection_approvals INDEXED BY idx_approvals_pending
WHERE thread_id = :thread AND status = 'pending' ORDER BY sequence;
