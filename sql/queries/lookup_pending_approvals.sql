-- For deciding: what the running turn of a thread has to cancel.
SELECT id FROM projection_approvals INDEXED BY idx_approvals_pending
WHERE thread_id = :thread AND status = 'pending' ORDER BY sequence;
