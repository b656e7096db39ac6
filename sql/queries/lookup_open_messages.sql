-- For the decider: the streaming messages that end with the running turn of a thread.
SELECT id FROM projection_messages WHERE thread_id = :thread AND status = 'streaming' ORDER BY sequence;
