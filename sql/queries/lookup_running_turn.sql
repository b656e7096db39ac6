-- For deciding: the turn that runs in a thread.
SELECT id, runner FROM projection_turns WHERE thread_id = :thread AND status = 'running';
