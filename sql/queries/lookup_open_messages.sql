-- For deciding: what the running turn of a thread has to close.
SELECT id FROM projection_messages INDEXED BY idx_messages_open
WHERE thread_id = :thread AND status = 'streaming' ORDER BY sequence;
