-- For the decider: the running turn of a thread.
SELECT id, runner FROM projection_turns WHERE thread_id = :thread AND status = 'running';
