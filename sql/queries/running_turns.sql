-- Every running turn, with the daemon that runs it.
SELECT thread_id, id, runner FROM projection_turns WHERE status = 'running';
