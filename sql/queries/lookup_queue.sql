-- For the decider: the queued prompts of a thread, in the order in which they are sent.
SELECT id, position FROM projection_prompts WHERE thread_id = :thread AND queued = 1 ORDER BY position;
