-- The queued prompts of a thread, in the order in which they are sent.
SELECT position, value FROM prompt_entities WHERE thread_id = :thread ORDER BY position;
