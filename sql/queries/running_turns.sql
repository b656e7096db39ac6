-- Every running turn, with the daemon that runs it, and whether it was asked to stop.
SELECT u.thread_id, u.id, u.runner, t.turn_status = 'cancelling'
FROM projection_turns u JOIN projection_threads t ON t.id = u.thread_id WHERE u.status = 'running';
