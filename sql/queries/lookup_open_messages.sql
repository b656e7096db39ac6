-- For the decider: the streaming messages that end with the running turn of a thread.
SELECT id FROM projection_messages INDEXED BY idx_messages_open
WHERE thread_id = :thread AND status = 'streaming' ORDER BY sequence;
