-- For the decider: the running turn of a thread.
SELECT id, runner, prompt_id FROM projection_turns WHERE thread_id = :thread AND status = 'running';
