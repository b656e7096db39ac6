-- For deciding: what the running turn of a thread has to cancel.
SELECT id FROM projection_approvals WHERE thread_id = :thread AND status = 'pending' ORDER BY sequence;
